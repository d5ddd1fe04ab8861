package archive

import (
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
)

// recentMost is how many batches a head describes at the most: each takes about 30 bytes of every head that is written.
// Those before are looked at by whoever wants to know what they hold, unless they were merged: see Maintain.
const recentMost = 4 * HintEvery

// Recent is what the head says of the batches that were shipped last, so that a reader need not open those that it does
// not read: what their footers say, as far as the names and sizes of a list do not.
type Recent struct {
	Timeline journal.Timeline `json:"timeline"` // of all of them
	First    journal.TXID     `json:"first"`    // of the first
	Time     journal.Time     `json:"time"`     // that the first number of the first one counts from
	Batches  []recentBatch    `json:"batches"`
}

// recentBatch is a batch after the one before: how many transactions it holds; by how much the time of its first is later
// than that of the last before, and that of its last than that of its first; its size, and that of its patches,
// uncompressed. With nothing but the first of these it is so many transactions of which nothing is said.
type recentBatch []int64

const (
	recentCount = iota
	recentGap
	recentSpan
	recentSize
	recentRaw
	recentFields
)

// end is the transaction after those that are described.
func (r *Recent) end() journal.TXID {
	id := r.First
	for _, b := range r.Batches {
		id += journal.TXID(b[recentCount])
	}
	return id
}

// each yields the batches of which something is said, as the segments that they are.
func (r *Recent) each(yield func(s *Segment) bool) {
	id, at := r.First, r.Time
	for _, b := range r.Batches {
		s := Segment{Timeline: r.Timeline, First: id}
		id += journal.TXID(b[recentCount])
		s.Last = id - 1
		if len(b) < recentFields {
			continue
		}
		s.FirstTime = at + journal.Time(b[recentGap])
		s.LastTime = s.FirstTime + journal.Time(b[recentSpan])
		s.Size, s.Raw, at = b[recentSize], b[recentRaw], s.LastTime
		if !yield(&s) {
			return
		}
	}
}

// begins says that a batch begins within a range of transactions.
func (r *Recent) begins(first, last journal.TXID) bool {
	if r == nil {
		return false
	}
	id := r.First
	for _, b := range r.Batches {
		if id >= first && id <= last {
			return true
		}
		id += journal.TXID(b[recentCount])
	}
	return false
}

// lastTime is the time that the next batch counts from.
func (r *Recent) lastTime() journal.Time {
	at := r.Time
	for s := range r.each {
		at = s.LastTime
	}
	return at
}

// with is what becomes of r, which may be nil and is left as it is, when batches were shipped in a timeline.
func (r *Recent) with(t journal.Timeline, batches []*journal.Batch) *Recent {
	if len(batches) == 0 {
		return r
	}
	var n Recent
	if r != nil && r.Timeline == t && r.end() <= batches[0].First {
		n = *r
		n.Batches = append(make([]recentBatch, 0, len(r.Batches)+len(batches)+1), r.Batches...)
	} else {
		n = Recent{Timeline: t, First: batches[0].First, Time: batches[0].FirstTime}
	}
	next, at := n.end(), n.lastTime()
	for _, b := range batches {
		if b.First > next { // shipped by a process that ended before it said so
			n.Batches = append(n.Batches, recentBatch{int64(b.First - next)})
		}
		d := recentBatch{int64(b.Last-b.First) + 1}
		plain := len(b.Points) == 0 && len(b.Bases) == 0 && b.Folded == 0 // else its footer says more than there is room for
		if plain && b.FirstTime >= at && b.LastTime >= b.FirstTime {
			d = append(d, int64(b.FirstTime-at), int64(b.LastTime-b.FirstTime), b.Size, b.RawBytes)
			at = b.LastTime
		}
		n.Batches, next = append(n.Batches, d), b.Last+1
	}
	return n.from(len(n.Batches) - recentMost)
}

// from is r without its first n batches; nil when nothing is left.
func (r *Recent) from(n int) *Recent {
	if n <= 0 {
		return r
	}
	if n >= len(r.Batches) {
		return nil
	}
	head := Recent{Timeline: r.Timeline, First: r.First, Time: r.Time, Batches: r.Batches[:n]}
	return &Recent{Timeline: r.Timeline, First: head.end(), Time: head.lastTime(), Batches: r.Batches[n:]}
}

// after is r without the batches up to a transaction, which may be of the history no more.
func (r *Recent) after(last journal.TXID) *Recent {
	if r == nil {
		return nil
	}
	n, id := 0, r.First
	for ; n < len(r.Batches) && id <= last; n++ {
		id += journal.TXID(r.Batches[n][recentCount])
	}
	return r.from(n)
}

// check looks for what no writer writes.
func (r *Recent) check(h *Head) error {
	if r == nil {
		return nil
	}
	bad := fmt.Errorf("recent batches from transaction %d on", r.First)
	if h.line(r.Timeline) == nil || r.First == 0 || r.First > journal.MaxTXID || r.Time < 0 {
		return bad
	}
	id, at := r.First, r.Time
	for _, b := range r.Batches {
		if len(b) != 1 && len(b) != recentFields || b[recentCount] <= 0 || journal.TXID(b[recentCount]) > journal.MaxTXID-id {
			return bad
		}
		id += journal.TXID(b[recentCount])
		for _, n := range b[1:] {
			if n < 0 {
				return bad
			}
		}
		if len(b) == recentFields {
			first := at + journal.Time(b[recentGap])
			last := first + journal.Time(b[recentSpan])
			if first < at || last < first || b[recentSize] == 0 {
				return bad
			}
			at = last
		}
	}
	return nil
}
