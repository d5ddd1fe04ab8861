package sidecar

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// stage is where an entry is between being active and being at rest.
type stage uint8

const (
	resting stage = iota
	active
	closing // its watcher is being closed
	easing  // its shipper is being put to rest
	leaving // all is being closed, for good
)

// entry is one database.
type entry struct {
	path, trail, key string
	src              Source
	root             *root

	stage   stage
	gone    bool      // from the sources, or from the disk
	stopped bool      // there is no going on
	unnamed bool      // there is no archive for it, so nothing of it is ever begun
	ailing  bool      // a task failed, and the other is still under way
	caught  bool      // at the end: its last commits were recorded
	left    bool      // at the end: not everything of it was shipped
	quiet   time.Time // since when nothing changed
	retry   time.Time // when at rest for an error: not before
	marked  bool
	mark    ship.Mark // of the trail at rest
	files   signature // of the database at rest, with Source.Capture

	ship, watch task
	shipper     *ship.Shipper // of the ship task
	watcher     *vfs.Watcher  // of the watch task
	missed      bool          // of the watch task: its last step did not record what there was
	unrecorded  error         // why, if it is not over
	full        atomic.Bool   // there is no room for it
	idle        bool          // set by the ship task: all is shipped
	last        journal.TXID  // of the trail, likewise
	status      DatabaseStatus
}

// signature tells whether a database was written to.
type signature struct {
	Size     int64 `json:"bytes"`
	MTime    int64 `json:"mtime_ns"`
	WALSize  int64 `json:"wal_bytes"`
	WALMTime int64 `json:"wal_mtime_ns"`
}

// look is how a database's files are; the zero signature when there is none. An empty WAL is as good as none.
func look(path string) (g signature) {
	info, err := os.Stat(path)
	if err != nil {
		return g
	}
	g.Size, g.MTime = info.Size(), info.ModTime().UnixNano()
	if info, err := os.Stat(path + "-wal"); err == nil && info.Size() > 0 {
		g.WALSize, g.WALMTime = info.Size(), info.ModTime().UnixNano()
	}
	return g
}

// watchedName is the file in the trail that has the signature of a database at rest.
const watchedName = "watched"

func (e *entry) archive() string {
	if e.key == "" {
		return e.root.name
	}
	return e.root.name + "/" + e.key
}

// remember reads what the process before left about an entry at rest.
func (e *entry) remember() {
	e.mark, e.marked = ship.ReadMark(durable.OS, e.trail, e.archive())
	if !e.src.Capture {
		return
	}
	e.files = signature{Size: -1}
	if data, err := os.ReadFile(filepath.Join(e.trail, watchedName)); err == nil {
		var g signature
		if json.Unmarshal(data, &g) == nil {
			e.files = g
		}
	}
}

// stirs says that an entry at rest has something to do.
func (e *entry) stirs() bool {
	if e.src.Capture {
		if now := look(e.path); now != e.files && now != (signature{}) {
			return true
		}
	}
	if e.marked {
		_, crowded := journal.Crowded(durable.OS, e.trail)
		return crowded || !e.mark.Holds(durable.OS, e.trail)
	}
	_, err := os.Stat(filepath.Join(e.trail, "identity"))
	return err == nil
}

// stepShip does what is next for the archive.
func (s *Sidecar) stepShip(ctx context.Context, e *entry) (time.Duration, error) {
	if e.shipper == nil {
		if _, err := os.Stat(filepath.Join(e.trail, "identity")); errors.Is(err, fs.ErrNotExist) {
			e.idle = true
			return min(s.opt.Look, 100*time.Millisecond), nil // its watcher may be about to begin it
		}
		if err := s.openShipper(ctx, e); err != nil {
			return 0, err
		}
	}
	again, err := e.shipper.Step(ctx)
	e.idle = err == nil && e.shipper.Idle()
	return again, err
}

func (s *Sidecar) openShipper(ctx context.Context, e *entry) (err error) {
	if err := e.root.probe(ctx); err != nil {
		return err
	}
	store, err := s.opt.Seal(objstore.Sub(e.root.store, e.key), e.archive())
	if err != nil {
		return err
	}
	e.shipper, err = ship.Open(e.trail, &ship.Options{
		Store: store, Trusted: true, Archive: e.archive(), Name: s.opt.Name, Once: s.once, Pause: s.pause,
		Replica: func() bool { return replica.Is(e.path) },
		Mend:    s.opt.Mend, Interval: s.opt.Interval, BatchBytes: s.opt.Batch, Keep: e.src.Keep, KeepBytes: e.src.KeepBytes, Full: e.full.Load,
		Sync: func(context.Context) error { return SyncPrimary(durable.OS, e.path, e.trail) }, Events: s.events(e),
	})
	if err != nil {
		e.shipper = nil
	}
	return err
}

// stepWatch records what was committed without the VFS.
func (s *Sidecar) stepWatch(e *entry) (again time.Duration, err error) {
	defer func() { e.missed = err != nil }()
	if e.watcher == nil {
		if _, err := os.Stat(e.path); errors.Is(err, fs.ErrNotExist) {
			return s.opt.Look, nil
		}
		if e.watcher, err = vfs.NewWatcher(e.path, &vfs.WatchOptions{Trail: e.trail, Quota: e.src.Quota}); err != nil {
			e.watcher = nil
			return 0, err
		}
	}
	again, err = e.watcher.Step()
	if vfs.Busy(err) {
		err = nil
	}
	return again, err
}

// closeWatch closes the watcher, which records what is left. Its own last checkpoint may change the files: then they
// are taken for written to, and the watcher is opened once more.
func (s *Sidecar) closeWatch(e *entry) (time.Duration, error) {
	w := e.watcher
	if e.watcher = nil; w == nil {
		return 0, nil
	}
	if e.missed {
		return 0, w.Close()
	}
	return 0, e.settled(w.Close)
}

// settled has do record all that was committed, and notes how the files were before.
func (e *entry) settled(do func() error) error {
	e.files = look(e.path)
	if err := do(); err != nil {
		return err
	}
	data, err := json.Marshal(e.files)
	if err == nil {
		err = os.WriteFile(filepath.Join(e.trail, watchedName), append(data, '\n'), 0o644)
	}
	return err
}

// closeShip closes the shipper: at rest with a mark, if all is shipped.
func (s *Sidecar) closeShip(e *entry) (time.Duration, error) {
	if e.shipper == nil {
		return 0, nil
	}
	var err error
	e.mark, e.marked, err = e.shipper.Rest()
	return 0, err
}

// isFinal says that going on needs somebody's decision: going on by itself, two sidecars would take an archive from
// each other for ever.
func isFinal(err error) bool {
	if _, held := errors.AsType[*archive.HeldError](err); held {
		return true
	}
	for _, is := range []error{journal.ErrDiverged, journal.ErrGap, journal.ErrForeign, journal.ErrVersion, journal.ErrFlag, journal.ErrCorrupt} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
