package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/vfs"
)

// look wakes the entries at rest that have something to do.
func (s *Sidecar) look(now time.Time) {
	for _, e := range s.entries {
		if e.stage == resting && !e.stopped && !now.Before(e.retry) && e.stirs() {
			s.wake(e)
		}
	}
}

func (s *Sidecar) wake(e *entry) {
	now := time.Now()
	e.stage, e.idle, e.quiet, e.ship.due, e.watch.due = active, false, now, now, now
	s.active = append(s.active, e)
}

// sleep takes an entry off the active ones.
func (s *Sidecar) sleep(e *entry) {
	e.stage = resting
	s.active = slices.DeleteFunc(s.active, func(o *entry) bool { return o == e })
}

// dispatch gives the workers what is due, and says when to look again.
func (s *Sidecar) dispatch(now, next time.Time) time.Time {
	for _, e := range slices.Clone(s.active) {
		s.advance(e, now)
	}
	for _, e := range s.active {
		if e.stage != active || e.ailing {
			continue
		}
		if e.src.Capture && !e.gone && !e.watch.busy {
			if e.watch.due.After(now) || s.watch.free == 0 {
				next = earlier(next, later(e.watch.due, now.Add(time.Millisecond))) // soon when a checkpoint is expected
			} else {
				e.watch.do = func(context.Context) (time.Duration, error) { return s.stepWatch(e) }
				s.watch.give(&e.watch)
			}
		}
		if !e.ship.busy {
			if e.ship.due.After(now) || s.ship.free == 0 {
				next = earlier(next, later(e.ship.due, now.Add(5*time.Millisecond)))
			} else {
				e.ship.do = func(ctx context.Context) (time.Duration, error) { return s.stepShip(ctx, e) }
				s.ship.give(&e.ship)
			}
		}
	}
	return next
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// advance brings an entry on its way to rest one stage further, when nothing of it is under way.
func (s *Sidecar) advance(e *entry, now time.Time) {
	if e.ship.busy || e.watch.busy || e.ailing {
		return
	}
	switch e.stage {
	case active:
		if e.idle && (e.gone || s.rests(e, now)) {
			if s.watch.free > 0 {
				e.stage = closing
				e.watch.do = func(context.Context) (time.Duration, error) { return s.closeWatch(e) }
				s.watch.give(&e.watch)
			}
		}
	case closing:
		if s.ship.free > 0 {
			e.stage = easing
			e.ship.do = func(context.Context) (time.Duration, error) { return s.closeShip(e) }
			s.ship.give(&e.ship)
		}
	case easing:
		switch {
		case e.gone:
			s.drop(e)
		case e.marked || e.shipper == nil && (e.unrecorded != nil || !e.stirs()):
			s.sleep(e)
			s.tell(e, Resting, nil)
			if e.shipper == nil {
				s.tell(e, Waiting, nil)
			}
		default: // a commit came between
			e.stage, e.quiet, e.idle = active, now, false
		}
	}
}

// rests says that nothing changes any more about an entry of which all is shipped.
func (s *Sidecar) rests(e *entry, now time.Time) bool {
	if e.unrecorded != nil {
		return e.watcher == nil // else it waits for room
	}
	return now.Sub(e.quiet) >= s.opt.Rest
}

// drop forgets an entry that is gone.
func (s *Sidecar) drop(e *entry) {
	s.log.Info("a database is not looked after any more", "database", e.path)
	s.sleep(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, e.path)
	if name := (archiveName{e.src.To, e.key}); s.names[name] == e.path {
		delete(s.names, name)
	}
}

// finished takes a task back from its worker.
func (s *Sidecar) finished(t *task) {
	e := t.e
	if t == &e.watch {
		s.watch.took(t)
	} else {
		s.ship.took(t)
	}
	now := time.Now()
	t.due = now.Add(t.again)
	if t == &e.watch && e.stage == active && !isFinal(t.err) && !errors.Is(t.err, vfs.ErrMoved) {
		s.watched(e, t.err, now)
	} else if t.err != nil {
		s.failed(e, t.err, now)
		return
	}
	if e.ailing {
		s.lay(e)
		return
	}
	if t == &e.ship && e.shipper != nil {
		if p := e.shipper.Progress(); p.Trail != e.last || !e.idle {
			e.last, e.quiet = p.Trail, now
		}
	}
	if e.stage == active {
		s.tell(e, Active, nil)
	}
}

// watched notes what became of a step that records commits. What cannot be recorded keeps nothing from being shipped,
// which may be what makes room.
func (s *Sidecar) watched(e *entry, err error, now time.Time) {
	before := e.unrecorded
	e.full.Store(vfs.Full(err))
	switch e.unrecorded = err; {
	case err == nil && before != nil:
		s.log.Info("what is committed is recorded again", "database", e.path)
	case err == nil:
	case before == nil || before.Error() != err.Error():
		s.log.Error("what is committed is not recorded", "database", e.path, "err", err)
	}
	if err == nil || vfs.Full(err) && e.watcher != nil { // which keeps the WAL, and tries again soon
		return
	}
	if e.watcher != nil {
		_ = e.watcher.Close() // as in shut
	}
	e.watcher, e.files, e.retry = nil, signature{Size: -1}, now.Add(s.opt.Retry)
	e.watch.due = e.retry
}

// failed puts an entry to rest after an error, for a while or for good.
func (s *Sidecar) failed(e *entry, err error, now time.Time) {
	switch {
	case errors.Is(err, vfs.ErrMoved): // and perhaps another file is there by now
		err = nil
		e.retry = now.Add(s.opt.Look)
	case isFinal(err):
		e.stopped = true
	default:
		e.retry = now.Add(s.opt.Retry)
	}
	state, level := Failed, slog.LevelError
	switch {
	case e.stopped:
		state = Stopped
	case errors.Is(err, archive.ErrReplica): // until it is promoted
		state, level = Waiting, slog.LevelWarn
	}
	if err != nil && err.Error() != e.status.Error {
		s.log.Log(context.Background(), level, "a database is not shipped", "database", e.path, "archive", e.archive(), "stopped", e.stopped, "err", err)
	}
	s.tell(e, state, err)
	e.ailing = true
	s.lay(e)
}

// lay puts an ailing entry to rest when nothing of it is under way.
func (s *Sidecar) lay(e *entry) {
	if e.ship.busy || e.watch.busy {
		return
	}
	s.shut(e)
	e.ailing, e.files, e.marked = false, signature{Size: -1}, false
	if s.sleep(e); e.gone {
		s.drop(e)
	}
}

// shut closes what an entry has open, at once; what goes wrong then is found by who opens it again.
func (s *Sidecar) shut(e *entry) {
	if e.watcher != nil {
		_ = e.watcher.Close()
	}
	if e.shipper != nil {
		_ = e.shipper.Close()
	}
	e.watcher, e.shipper = nil, nil
}
