package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// fork prepares the timeline of a trail that left the archive's history at its parent position, or goes on where the
// archive ends, if that is earlier. It says what the new timeline's first batch continues.
func (w *Writer) fork(ctx context.Context) (*journal.Batch, error) {
	id := w.opt.Identity
	r, err := openHead(ctx, w.store, w.head, &Options{Name: w.opt.Archive})
	if errors.Is(err, journal.ErrNotFound) { // claimed once, and nothing shipped
		next := w.forked(0, 0, 0)
		w.next = &next
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer r.Close()
	last, err := r.Last()
	if err != nil {
		return nil, err
	}
	at := min(id.Parent.TXID, last.TXID)
	name, first := r.files.holding(at)
	if name == "" { // only a base leads there
		next := w.forked(at+1, at+1, last.TXID)
		w.next = &next
		return nil, nil
	}
	key, _ := r.files.keyOf(name)
	b, err := w.batch(ctx, key)
	if err != nil {
		return nil, err
	}
	if b.Last <= at {
		next := w.forked(b.Last+1, b.Last+1, last.TXID)
		w.next = &next
		return b, nil
	}
	o, _ := parseKey(key)
	s, b, err := w.cut(ctx, key, max(o.level, 1), id.Parent)
	if err != nil {
		return nil, err
	}
	next := w.forked(first, at+1, last.TXID)
	next.Segments = append(next.Segments, s)
	w.next = &next
	return b, nil
}

// forked is the head with the trail's timeline. What begins at from or later is no longer part of the history.
func (w *Writer) forked(from, first, ended journal.TXID) Head {
	h, id := w.head, w.opt.Identity
	line := Line{
		Timeline: id.Timeline, Parent: id.Parent, From: max(from, 1), First: max(first, 1), Ended: ended,
		Writer: w.opt.Name, Since: journal.TimeOf(time.Now()),
	}
	h.Lines = append(h.Lines[:len(h.Lines):len(h.Lines)], line)
	h.Timeline, h.Next = id.Timeline, 0
	h.Plan, h.Strays = nil, nil // made for another history
	h.Segments = nil
	for _, s := range w.head.Segments {
		if s.First < line.From {
			h.Segments = append(h.Segments, s)
		}
	}
	return h
}

// cut writes the beginning of a segment anew, up to the position where a timeline leaves it. Nothing refers to it
// before the head does, and what an earlier try left is the same.
func (w *Writer) cut(ctx context.Context, key string, level int, at *journal.Position) (Segment, *journal.Batch, error) {
	whole, err := w.open(ctx, key)
	if err != nil {
		return Segment{}, nil, err
	}
	f := new(buffer)
	out := journal.NewSegmentWriter(f, whole, w.opt.Identity.Timeline)
	cut := uint32(0)
	for r, err := range whole.Records(ctx, 0) {
		if err != nil {
			return Segment{}, nil, err
		}
		if r.TXID > at.TXID {
			break
		}
		if err := out.Copy(r); err != nil {
			return Segment{}, nil, err
		}
		cut = r.SumCut
	}
	if out.Last() != at.TXID {
		return Segment{}, nil, w.apart(at, fmt.Errorf("that transaction was folded into a later one: %w", journal.ErrRange))
	}
	if cut != at.Sum.Cut() {
		return Segment{}, nil, w.apart(at, fmt.Errorf("there that transaction is another: %w", journal.ErrDiverged))
	}
	points := 0
	for _, p := range whole.Points() {
		if p.TXID <= at.TXID {
			if err := out.Point(p); err != nil {
				return Segment{}, nil, err
			}
			points++
		}
	}
	b, err := out.Close(nil, at.Sum)
	if err != nil {
		return Segment{}, nil, err
	}
	s := segmentOf(&b, w.opt.Identity.Timeline, level)
	for _, id := range whole.BaseRecords() {
		if id <= b.Last {
			s.Bases = append(s.Bases, id)
		}
	}
	return s, &b, w.store.Put(ctx, s.Key(), f, b.Size)
}

func (w *Writer) apart(at *journal.Position, err error) error {
	return &journal.Error{
		Path: w.opt.Archive, Offset: -1, TXID: at.TXID, Hint: "give the trail a prefix of its own",
		Err: fmt.Errorf("the trail's timeline began after transaction %d of the archive: %w", at.TXID, err),
	}
}

// segmentOf describes what was written.
func segmentOf(b *journal.Batch, t journal.Timeline, level int) Segment {
	return Segment{
		Timeline: t, Level: level, First: b.First, Last: b.Last, FirstTime: b.FirstTime, LastTime: b.LastTime,
		Size: b.Size, Raw: b.RawBytes, Folded: b.Folded, Points: len(b.Points),
	}
}

// buffer is a file in memory.
type buffer struct{ data []byte }

func (b *buffer) WriteAt(p []byte, off int64) (int, error) {
	if end := off + int64(len(p)); end > int64(len(b.data)) {
		b.data = append(b.data, make([]byte, end-int64(len(b.data)))...)
	}
	return copy(b.data[off:], p), nil
}

func (b *buffer) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(b.data).ReadAt(p, off)
}
func (b *buffer) Truncate(n int64) error { b.data = b.data[:n]; return nil }
func (b *buffer) Size() (int64, error)   { return int64(len(b.data)), nil }
func (b *buffer) Sync() error            { return nil }
func (b *buffer) Name() string           { return "segment" }
func (b *buffer) Close() error           { return nil }

var _ io.ReaderAt = (*buffer)(nil)
