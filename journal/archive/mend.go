package archive

import (
	"context"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Hole is transactions in the middle of the history, or at its beginning, whose object is gone from the store.
type Hole struct {
	First, Last journal.TXID

	before, after string // keys of the objects beside it; there is none before the beginning
	key           string // that it had; empty where there were several of different kinds
	timeline      journal.Timeline
}

// Holes lists the holes in the history, as it was when Last was called. Where the last batches and merged objects are is
// known from the head, so that it costs no request unless one of them is gone; with all, the others are opened.
func (w *Writer) Holes(ctx context.Context, all bool) (holes []Hole, err error) {
	f := w.listed
	if f == nil { // a new timeline, which has to be claimed first
		return nil, nil
	}
	if first := f.first(); f.head.Start > 0 && first > f.head.Start {
		h := Hole{First: f.head.Start, Last: first - 1, after: f.known[f.names[0]].key}
		h.name(&f.head)
		holes = append(holes, h)
	}
	for i := range max(len(f.names)-1, 0) {
		before, after := f.names[i], f.names[i+1]
		first, _ := parse(before, segmentSuffix)
		next, _ := parse(after, segmentSuffix)
		listed, ok := f.catalog(first)
		last := listed.Info.Last
		if !ok && !all && !f.head.Recent.begins(first+1, next-1) {
			continue
		}
		if !ok {
			b, err := w.batch(ctx, f.known[before].key)
			if err != nil {
				return nil, err
			}
			last = b.Last
		}
		if last+1 < next {
			h := Hole{First: last + 1, Last: next - 1, before: f.known[before].key, after: f.known[after].key}
			h.name(&f.head)
			holes = append(holes, h)
		}
	}
	return holes, nil
}

// name finds out under which name the hole's transactions are looked for.
func (o *Hole) name(h *Head) {
	within := func(s Segment) bool { return s.First <= o.Last && s.Last >= o.First }
	if i := slices.IndexFunc(h.Segments, within); i >= 0 {
		if s := &h.Segments[i]; s.First == o.First && s.Last == o.Last && s.Folded == 0 {
			o.key, o.timeline = s.Key(), s.Timeline
		}
		return
	}
	for _, part := range h.chain() {
		if part.batch(o.First) && part.batch(o.Last) && o.First >= h.Start {
			o.key, o.timeline = batchKey(part.timeline, o.First), part.timeline
		}
	}
}

// Mend writes anew what is missing in a hole, as one object, out of the trail that it was shipped from, and returns its
// size. What it writes leads from the object before the hole to the one after it, else it is ErrDiverged; ErrRange or
// ErrGap when the trail does not have it any more. f is an empty file that it may use.
func (w *Writer) Mend(ctx context.Context, h *Hole, t *journal.Trail, f durable.File) (int64, error) {
	if h.key == "" {
		return 0, fmt.Errorf("several objects of different kinds are gone there: %w", journal.ErrGap)
	}
	before, err := w.leads(ctx, h, t)
	if err != nil {
		return 0, err
	}
	after, err := w.open(ctx, h.after)
	if err != nil {
		return 0, err
	}
	out := journal.NewSegmentBetween(f, &before, journal.Identity{Database: w.head.Database, Timeline: h.timeline})
	for r, err := range t.RecordsTo(ctx, h.First, h.Last) {
		if err == nil {
			err = out.Copy(r)
		}
		if err != nil {
			return 0, err
		}
	}
	points, err := t.Points()
	if err != nil {
		return 0, err
	}
	for _, p := range points { // one that was named late is in the object after that of its transaction
		if p.TXID+1 < h.First || p.TXID > h.Last || slices.Contains(before.Points, p) || slices.Contains(after.Points(), p) {
			continue
		}
		if err := out.Point(p); err != nil {
			return 0, err
		}
	}
	b, err := out.CloseBefore(after)
	if err != nil {
		return 0, err
	}
	if err := check(ctx, f, &b, h.key); err != nil {
		return 0, err
	}
	err = w.store.Create(ctx, h.key, f, b.Size)
	return b.Size, ignore(err, objstore.ErrExists) // written by an earlier try, or by somebody else
}

// leads is what a hole continues, which the trail continues, too: at the beginning what the trail has there.
func (w *Writer) leads(ctx context.Context, h *Hole, t *journal.Trail) (journal.Batch, error) {
	if h.before == "" {
		b, err := t.Boundary(ctx, h.First-1)
		if err == nil && b.Last != h.First-1 {
			err = fmt.Errorf("no block of the trail begins with transaction %d: %w", h.First, journal.ErrRange)
		}
		return b, err
	}
	s, err := w.open(ctx, h.before)
	if err != nil {
		return journal.Batch{}, err
	}
	b, err := s.Batch()
	if err == nil {
		err = t.Continues(ctx, &b)
	}
	return b, err
}
