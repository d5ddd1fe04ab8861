package sidecar

import (
	"context"
	"errors"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/vfs"
)

// drain records and ships what there is, until ctx ends, which has what the workers are at interrupted.
func (s *Sidecar) drain(ctx context.Context, interrupt func()) error {
	if !s.ready.Load() { // it was ended before the databases were looked for
		s.find()
	}
	defer context.AfterFunc(ctx, interrupt)()
	for _, e := range s.entries {
		if e.stage == resting && !e.stopped && (e.stirs() || s.opt.Mend) {
			s.wake(e)
		}
	}
	left := &UnshippedError{}
	pending := map[*entry]bool{}
	for _, e := range s.active {
		pending[e] = true
	}
	for _, e := range s.entries { // those that failed are tried once more, or behind
		if e.unnamed || e.stopped && e.behind() {
			left.add(e, errors.New(e.status.Error))
		}
	}
	for len(pending) > 0 || s.ship.free < s.opt.Workers || s.watch.free < captureWorkers {
		s.drainSome(ctx, pending)
		if len(pending) == 0 && s.ship.free == s.opt.Workers && s.watch.free == captureWorkers {
			break
		}
		select {
		case t := <-s.watch.done:
			s.watch.took(t)
			s.drained(t, pending, left)
		case t := <-s.ship.done:
			s.ship.took(t)
			s.drained(t, pending, left)
		}
	}
	if left.Count == 0 {
		return nil
	}
	return left
}

// behind says that the trail of an entry that was stopped has, or may have, what is not shipped.
func (e *entry) behind() bool {
	trail, err := journal.Open(e.trail, nil)
	if err != nil {
		return true
	}
	last, err := trail.Last()
	return errors.Join(err, trail.Close()) != nil || last.TXID > e.status.Shipped
}

// drainSome gives the workers the last steps: closing the watcher, then shipping to the end.
func (s *Sidecar) drainSome(ctx context.Context, pending map[*entry]bool) {
	for e := range pending {
		if e.ship.busy || e.watch.busy {
			continue
		}
		if e.src.Capture && !e.caught {
			if s.watch.free > 0 {
				e.caught = true
				e.watch.do = func(context.Context) (time.Duration, error) { return 0, s.catchLast(ctx, e) }
				s.watch.give(&e.watch)
			}
			continue
		}
		if s.ship.free > 0 {
			e.stage = leaving
			e.ship.do = func(context.Context) (time.Duration, error) { return 0, s.drainOne(ctx, e) }
			s.ship.give(&e.ship)
		}
	}
}

// catchLast records what was committed, also of a database that nobody has watched yet, and closes the watcher.
func (s *Sidecar) catchLast(ctx context.Context, e *entry) error {
	_, err := s.stepWatch(e)
	if errors.Is(err, vfs.ErrNotWAL) && e.src.Trail == "" { // there is nothing to watch, but what was committed can be recorded
		return e.settled(func() error { return vfs.Settle(ctx, e.path) })
	}
	for e.watcher != nil && err == nil {
		if _, err = e.watcher.Step(); err == nil || !vfs.Busy(err) {
			break
		}
		err = pause.For(ctx, 10*time.Millisecond)
	}
	e.missed = err != nil
	_, cerr := s.closeWatch(e)
	return errors.Join(err, cerr)
}

func (s *Sidecar) drainOne(ctx context.Context, e *entry) error {
	if e.shipper == nil {
		if _, err := s.stepShip(ctx, e); err != nil || e.shipper == nil {
			return err
		}
	}
	err := e.shipper.Drain(ctx)
	if err == nil {
		_, err = s.closeShip(e)
	}
	return errors.Join(err, e.shipper.Close())
}

// drained takes a task back at the end.
func (s *Sidecar) drained(t *task, pending map[*entry]bool, left *UnshippedError) {
	e := t.e
	if t == &e.watch {
		e.unrecorded = t.err
	}
	// A replica has no transactions of its own; and of a file that is gone there is nothing to record.
	if t.err != nil && (e.stage == leaving || t == &e.watch) && !errors.Is(t.err, archive.ErrReplica) && !errors.Is(t.err, vfs.ErrMoved) {
		s.log.Error("not everything of a database was shipped", "database", e.path, "archive", e.archive(), "err", t.err)
		left.add(e, t.err)
	}
	if t == &e.ship && e.stage == leaving {
		delete(pending, e)
		state := Resting
		if t.err != nil {
			state = Failed
		}
		s.tell(e, state, t.err)
	}
}

// add counts a database once, though both its tasks failed.
func (l *UnshippedError) add(e *entry, err error) {
	if e.left {
		return
	}
	e.left = true
	if l.Count++; len(l.Databases) < 5 {
		l.Databases = append(l.Databases, e.path)
	}
	if l.Err == nil {
		l.Err = err
	}
}
