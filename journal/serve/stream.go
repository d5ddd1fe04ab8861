package serve

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// stream sends one receiver what it has not got.
type stream struct {
	f    *feed
	w    writer
	next journal.TXID // the first transaction that is not sent
	to   journal.TXID // the last that is to be sent; 0: whatever comes
	base bool         // begin with a base
	beat time.Duration
	pipe bool // the end of the context is a good end
	age  int
}

// run sends until all that was asked for is sent, the context ends or the receiver goes.
func (s *stream) run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return err
	}
	for {
		if s.to > 0 && s.next > s.to {
			return s.w.frame(s.frame(Ended, 0, 0), nil)
		}
		v := s.f.find(s.next)
		err := s.step(ctx, &v)
		if err != nil && ctx.Err() != nil && s.pipe {
			return errors.Join(err, s.w.frame(s.frame(Ended, 0, 0), nil))
		}
		if err != nil {
			return s.fail(err)
		}
	}
}

// start is the head, and a word about how far the trail is, which a receiver waits for before it says that it is
// connected.
func (s *stream) start(ctx context.Context) error {
	id := s.f.trail.Identity()
	if err := s.w.head(&Head{Database: id.Database, Timeline: id.Timeline, Heartbeat: s.beat}); err != nil {
		return err
	}
	s.age = s.f.find(0).age
	if err := s.heartbeat(); err != nil {
		return err
	}
	if !s.base {
		return nil
	}
	from, err := s.f.newest(s.to)
	if err == nil && from > 0 {
		err = s.sendBase(from)
	}
	s.next = from + 1
	if err != nil {
		return s.fail(err)
	}
	return ctx.Err()
}

// newest is the TXID of the newest base that is not after to; 0 where the trail begins with the empty database. The
// error is ErrNoBase for a trail that has just begun, after transactions that it never had: its base is being written.
func (f *feed) newest(to journal.TXID) (journal.TXID, error) {
	bases, err := f.trail.Bases()
	if err != nil {
		return 0, err
	}
	for i := len(bases) - 1; i >= 0; i-- {
		if to == 0 || bases[i].TXID <= to {
			return bases[i].TXID, nil
		}
	}
	held := f.extent()
	switch {
	case held.First == 1:
		return 0, nil
	case len(bases) == 0:
		return 0, fmt.Errorf("nothing leads to transaction %d: %w", held.Last, ErrNoBase)
	}
	held.Want = to
	return 0, held
}

// extent is the range of transactions that the trail holds.
func (f *feed) extent() *journal.RangeError {
	_, err := f.trail.Find(context.Background(), 0) // no trail holds it, and says what it does
	if e, ok := errors.AsType[*journal.RangeError](err); ok {
		return e
	}
	return &journal.RangeError{First: 1}
}

// fail tells the receiver why the stream ends, if it still can be told.
func (s *stream) fail(err error) error {
	p, _ := problemOf(err)
	text := p.encode()
	_ = s.w.frame(s.frame(Failed, int64(len(text)), 0), bytes.NewReader(text)) // the reason is the error
	return err
}

// step sends one thing, or waits for something to send.
func (s *stream) step(ctx context.Context, v *view) error {
	if v.age != s.age {
		if v.piece != nil {
			s.f.sent(v.piece)
		}
		return fmt.Errorf("the primary took transactions back that were sent: %w", journal.ErrDiverged)
	}
	switch {
	case v.piece != nil:
		defer s.f.sent(v.piece)
		if err := s.bases(v.piece.bases); err != nil {
			return err
		}
		if err := s.w.frame(s.frame(Batch, v.piece.size, v.behind), v.piece.reader()); err != nil {
			return err
		}
		s.next = v.piece.last + 1
		return nil
	case s.next < v.first:
		return s.fromFiles(ctx, v)
	case v.err != nil:
		return v.err
	}
	t := time.NewTimer(s.beat)
	defer t.Stop()
	select {
	case <-v.news:
		return nil
	case <-t.C:
		return s.heartbeat()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *stream) heartbeat() error { return s.w.frame(s.frame(Heartbeat, 0, 0), nil) }

func (s *stream) frame(kind Kind, size, behind int64) *Frame {
	last := s.f.known()
	return &Frame{Kind: kind, Size: size, Last: last.TXID, Time: last.Time, Behind: behind}
}

// bases sends those that records from next on need.
func (s *stream) bases(ids []journal.TXID) error {
	for _, id := range ids {
		if id >= s.next && (s.to == 0 || id <= s.to) {
			if err := s.sendBase(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *stream) sendBase(id journal.TXID) error {
	b, err := s.f.trail.OpenBase(id)
	if err != nil {
		return err
	}
	err = s.w.frame(s.frame(Base, b.Info().Size, 0), b.Bytes())
	return errors.Join(err, b.Close())
}

// fromFiles sends what is not in memory: a sealed segment as it is, of another what is missing.
func (s *stream) fromFiles(ctx context.Context, v *view) error {
	first, err := s.f.trail.Start(s.next)
	if err != nil {
		return err
	}
	seg, err := s.f.trail.OpenSegment(first)
	if err != nil {
		return err
	}
	defer seg.Close()
	if seg.Info().Sealed && seg.Info().Last >= s.next {
		return s.sendSegment(seg, seg.Bytes(), seg.Info().Size, v)
	}
	prev, err := s.f.trail.Boundary(ctx, s.next-1)
	if err != nil {
		return err
	}
	o := &journal.BatchOptions{Bytes: batchBytes, To: s.to}
	if o.To == 0 || o.To >= v.first {
		o.To = v.first - 1
	}
	data := durable.NewSpool(durable.OS, s.f.o.TempDir, pieceBytes)
	defer data.Close()
	b, err := s.f.trail.WriteBatch(ctx, data, &prev, 0, o)
	if err != nil {
		return err
	}
	if b.Last < s.next {
		return fmt.Errorf("transaction %d is not there any more: %w", s.next, journal.ErrDiverged)
	}
	made, err := journal.NewSegmentReader(data, b.Size, s.f.name)
	if err != nil {
		return err
	}
	return s.sendSegment(made, io.NewSectionReader(data, 0, b.Size), b.Size, v)
}

func (s *stream) sendSegment(seg *journal.SegmentReader, body io.Reader, size int64, v *view) error {
	if err := s.bases(seg.BaseRecords()); err != nil {
		return err
	}
	behind := v.behind
	if all, err := s.f.trail.Segments(); err == nil {
		for _, other := range all {
			if other.First > seg.Info().Last && other.Last < v.first {
				behind += other.RawBytes
			}
		}
	}
	if err := s.w.frame(s.frame(Batch, size, behind), body); err != nil {
		return err
	}
	s.next = seg.Info().Last + 1
	return nil
}
