package archive

import (
	"slices"

	"github.com/pagetrail/pagetrail/journal"
)

// stretch is what a timeline contributes to the history.
type stretch struct {
	timeline journal.Timeline
	first    journal.TXID // batches from here on
	until    journal.TXID // and before here
	bases    journal.TXID // bases up to here
}

// batch and base say whether objects of the timeline are of the history.
func (s *stretch) batch(first journal.TXID) bool { return first >= s.first && first < s.until }
func (s *stretch) base(id journal.TXID) bool     { return id <= s.bases }

// live says that a batch is read, and not what was made of it.
func (h *Head) live(first journal.TXID) bool { return first >= h.Start && h.superseded(first) == nil }

// chain is the history as stretches of timelines, oldest first. Each timeline left the history that those before it
// made, whichever of them wrote that part of it.
func (h *Head) chain() []stretch {
	var out []stretch
	until, bases := journal.MaxTXID+1, journal.MaxTXID
	for _, l := range slices.Backward(h.Lines) {
		out = append(out, stretch{l.Timeline, max(l.First, 1), until, bases})
		if l.Parent != nil {
			until, bases = min(until, max(l.From, 1)), min(bases, l.Parent.TXID)
		}
	}
	slices.Reverse(out)
	return out
}

// superseded is the segment that a transaction is in; nil when it is in none.
func (h *Head) superseded(id journal.TXID) *Segment {
	i, _ := slices.BinarySearchFunc(h.Segments, id, func(s Segment, id journal.TXID) int {
		if s.Last < id {
			return -1
		}
		return 1
	})
	if i < len(h.Segments) && h.Segments[i].First <= id {
		return &h.Segments[i]
	}
	return nil
}

// uncovered is the first transaction of a stretch whose batch is still part of the history.
func (h *Head) uncovered(s stretch) journal.TXID {
	id := max(s.first, h.Start)
	for seg := h.superseded(id); seg != nil; seg = h.superseded(id) {
		id = seg.Last + 1
	}
	return id
}

// end is where the listed segments end: all that comes later is batches.
func (h *Head) end() journal.TXID {
	if n := len(h.Segments); n > 0 {
		return h.Segments[n-1].Last
	}
	return 0
}
