package sidecar

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/vfs"
)

// find looks for databases, and notes which are gone.
func (s *Sidecar) find() {
	found := map[string]Source{}
	for _, src := range s.sources {
		paths := []string{src.Path}
		if src.Glob != "" {
			paths, _ = filepath.Glob(src.Glob) // the pattern was checked
		}
		for _, path := range paths {
			if _, twice := found[path]; !twice { // the first one counts
				found[path] = src
			}
		}
	}
	for path, e := range s.entries {
		src, ok := found[path]
		if !ok || !e.same(src) {
			e.gone = true
		}
		switch {
		case !e.gone || e.stage != resting:
		case e.unnamed: // it never was under way
			s.drop(e)
		default:
			s.wake(e)
		}
	}
	for path, src := range found {
		if s.entries[path] == nil {
			s.add(path, src)
		}
	}
}

// same says that the settings of an entry are still those of its source.
func (e *entry) same(src Source) bool {
	key, err := src.Key(e.path)
	return (err != nil) == e.unnamed && key == e.key && src.To == e.src.To && src.Capture == e.src.Capture && src.Keep == e.src.Keep && trailOf(e.path, src) == e.trail
}

func trailOf(path string, src Source) string {
	if src.Trail != "" {
		return src.Trail
	}
	return path + "-pagetrail"
}

func (s *Sidecar) add(path string, src Source) {
	e := &entry{path: path, src: src, trail: trailOf(path, src), root: s.roots[src.To]}
	e.ship.e, e.watch.e = e, e
	key, err := src.Key(path)
	if err != nil {
		s.log.Error("a database cannot be shipped", "database", path, "err", err)
		e.unnamed, e.stopped, e.status.State, e.status.Error = true, true, Stopped, err.Error()
	} else {
		e.key = key
		e.remember()
		e.status.State = Waiting
		if e.marked {
			e.status.State, e.status.Trail, e.status.Shipped = Resting, e.mark.Last, e.mark.Last
		}
		if e.stirs() {
			e.status.State = Active
			s.wake(e)
		}
		s.sayMissing(e)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entries[path] = e
}

// sayMissing says of a database that was named what is waited for: it may be a mistake.
func (s *Sidecar) sayMissing(e *entry) {
	if e.src.Glob != "" {
		return
	}
	_, err := os.Stat(e.path)
	_, terr := os.Stat(filepath.Join(e.trail, "identity"))
	switch {
	case errors.Is(err, os.ErrNotExist) && errors.Is(terr, os.ErrNotExist):
		s.log.Warn("a database is not there yet: it is waited for", "database", e.path)
	case errors.Is(terr, os.ErrNotExist) && !e.src.Capture:
		s.log.Warn("a database has no trail yet: its program is waited for to open it with ?vfs=pagetrail; for one that will not, set capture: true",
			"database", e.path, "trail", e.trail)
	}
}

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
		if e.gone && e.idle || e.idle && now.Sub(e.quiet) >= s.opt.Rest {
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
		case e.marked || e.shipper == nil && !e.stirs():
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

// drop forgets an entry that is gone.
func (s *Sidecar) drop(e *entry) {
	s.log.Info("a database is not looked after any more", "database", e.path)
	s.sleep(e)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entries, e.path)
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
	if t.err != nil {
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

// SyncPrimary makes what a database has committed durable: its WAL, the database, the names beside it (in rollback
// modes a commit is the journal's deletion), and the trail's tail. No lock of a program is lost by closing the files:
// those of other processes are theirs, and those of SQLite in this one belong to its own descriptors.
func SyncPrimary(fsys durable.FS, path, trail string) error {
	if path != "" {
		for _, name := range []string{path + "-wal", path} {
			if err := syncFile(fsys, name); err != nil {
				return err
			}
		}
		if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	entries, err := fsys.ReadDir(trail)
	if err != nil {
		return err
	}
	last := ""
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".seg" {
			last = max(last, e.Name())
		}
	}
	if last == "" {
		return nil
	}
	return syncFile(fsys, filepath.Join(trail, last))
}

// syncFile syncs a file; one that is not there has nothing to lose.
func syncFile(fsys durable.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
