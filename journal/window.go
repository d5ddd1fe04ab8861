package journal

import (
	"context"
	"errors"
	"slices"
)

// Span is a range of transactions, with the times of the first and the last; a time is 0 when it is not known. Both
// can be restored, and all between them but those that were folded into others.
type Span struct {
	First, Last         TXID
	FirstTime, LastTime Time
	Folded              uint64
}

// Moments is how many states can be restored: those after First and Last, and what is left between.
func (s Span) Moments() uint64 { return uint64(s.Last-s.First) + 1 - s.Folded }

// Window says what can be restored.
type Window struct {
	Spans []Span // restorable, ascending; more than one when files are missing between
	Gaps  []Span // TXIDs that files should hold and do not
}

// Window says what can be restored: from the oldest base on, or from 0, the empty database, where the trail
// still holds its first transaction. After a gap it begins again with the next base. Files are judged by their
// headers and footers, and where these are damaged there is a gap; whether their blocks are whole is Verify's to say.
func (t *Trail) Window(ctx context.Context) (Window, error) {
	v, err := t.view()
	if err != nil {
		return Window{}, err
	}
	bases, err := t.Bases()
	if err != nil {
		return Window{}, err
	}
	b := windowBuilder{bases: bases}
	if err := t.windowParts(ctx, v, &b); err != nil {
		return Window{}, err
	}
	return b.done(), nil
}

// done is the window, when all segments have been taken.
func (b *windowBuilder) done() Window {
	b.close()
	// A base after the last transaction of a gap, or before the first that is held, restores its own moment.
	for _, base := range b.bases {
		if !b.w.covers(base.TXID) {
			b.w.Spans = append(b.w.Spans, Span{First: base.TXID, Last: base.TXID, FirstTime: base.Time, LastTime: base.Time})
		}
	}
	slices.SortFunc(b.w.Spans, func(a, b Span) int {
		if a.First < b.First {
			return -1
		}
		return 1
	})
	return b.w
}

func (w *Window) covers(id TXID) bool {
	for _, s := range w.Spans {
		if id >= s.First && id <= s.Last {
			return true
		}
	}
	return false
}

// windowParts goes over the segments.
func (t *Trail) windowParts(ctx context.Context, v *view, b *windowBuilder) error {
	for _, first := range v.names.segments {
		if err := ctx.Err(); err != nil {
			return err
		}
		if first > v.first {
			break
		}
		m, err := t.segment(first)
		if isLost(err) && first != v.first {
			b.lost(first)
			continue
		}
		if errors.Is(err, ErrNotFound) { // pruned meanwhile
			continue
		}
		if err != nil {
			return err
		}
		b.segment(m)
		if err := t.windowFolded(ctx, m, &b.w); err != nil {
			return err
		}
	}
	return nil
}

// windowFolded counts what was folded in a segment, where it belongs to the window. The footer says how many
// in all; the records are looked at only when the window begins or ends within the segment.
func (t *Trail) windowFolded(ctx context.Context, m *segmentMeta, w *Window) error {
	if m.info.Folded == 0 {
		return nil
	}
	for i := range w.Spans {
		if s := &w.Spans[i]; s.First < m.info.First && s.Last >= m.info.Last {
			s.Folded += m.info.Folded
			return nil
		}
	}
	s, err := t.OpenSegment(m.info.First)
	if err != nil {
		return err
	}
	for r, e := range s.Records(ctx, m.info.First) {
		if err = e; err != nil {
			break
		}
		for i := range w.Spans {
			if s := &w.Spans[i]; s.First < r.First() && s.Last >= r.TXID {
				s.Folded += r.Folded
			}
		}
	}
	return joinClose(err, s)
}

// windowBuilder collects spans from segments in order.
type windowBuilder struct {
	w     Window
	bases []BaseInfo
	begun bool
	next  TXID // the one that the next segment should begin with
	last  Time // of next-1
	open  bool // a span is under construction: the last of w.Spans
}

// segment takes the next segment: a gap before it closes the span, a record of Kind Base whose base is missing
// does too, and each base begins one when none is open.
func (b *windowBuilder) segment(m *segmentMeta) {
	first, last := m.info.First, m.info.Last
	switch {
	case b.begun && first != b.next:
		b.close()
		b.w.Gaps = append(b.w.Gaps, Span{First: b.next, Last: first - 1, FirstTime: b.last, LastTime: m.before.time})
	case !b.begun && first == 1 && (len(m.bases) == 0 || m.bases[0] != 1):
		b.begin(0, 0) // born under the VFS, from the empty database
	}
	b.begun = true
	i, _ := slices.BinarySearchFunc(b.bases, first-1, func(a BaseInfo, id TXID) int {
		if a.TXID < id {
			return -1
		}
		return 1
	})
	for _, id := range m.bases {
		for ; i < len(b.bases) && b.bases[i].TXID < id; i++ {
			b.begin(b.bases[i].TXID, b.bases[i].Time)
		}
		if b.open { // patches do not lead to the state of a Base record
			b.extend(id-1, 0)
			b.close()
		}
	}
	for ; i < len(b.bases) && b.bases[i].TXID <= last; i++ {
		b.begin(b.bases[i].TXID, b.bases[i].Time)
	}
	b.extend(last, m.info.LastTime)
	b.next, b.last = last+1, m.info.LastTime
}

// lost takes a segment that should begin with a transaction and cannot be read. It is a gap, also where history begins.
func (b *windowBuilder) lost(first TXID) {
	if !b.begun {
		b.begun, b.next = true, first
	}
}

// begin opens a span, unless one is open.
func (b *windowBuilder) begin(id TXID, at Time) {
	if !b.open {
		b.w.Spans = append(b.w.Spans, Span{First: id, Last: id, FirstTime: at, LastTime: at})
		b.open = true
	}
}

// extend moves the end of the open span.
func (b *windowBuilder) extend(id TXID, at Time) {
	if b.open {
		if s := &b.w.Spans[len(b.w.Spans)-1]; id > s.Last {
			s.Last, s.LastTime = id, at
		}
	}
}

func (b *windowBuilder) close() { b.open = false }
