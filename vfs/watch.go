package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/wake"
)

// ErrNotWAL says that a database cannot be watched, since its journal mode is
// not WAL: only there is what was committed still to be found afterwards.
var ErrNotWAL = errors.New("pagetrail: only databases in WAL mode can be watched: PRAGMA journal_mode=WAL makes it one, for good")

// ErrMoved says that the database that was watched is not at its path any more.
var ErrMoved = errors.New("pagetrail: the database was removed, or replaced by another file")

// WatchOptions for Watch and NewWatcher. Nil and the zero value mean the
// defaults.
type WatchOptions struct {
	// VFS is the name of the capturing VFS that reads the database; default
	// [Name].
	VFS string
	// Trail is where the trail is, as the DSN's parameter trail; default the
	// database's name + "-pagetrail".
	Trail string
	// Poll is how often the WAL's index is looked at while there are commits,
	// more often when a checkpoint is expected, and MostPoll when there have
	// been none for a while; looking is one call of the system. Default 10 ms
	// and 100 ms.
	Poll, MostPoll time.Duration
	// WALBytes is the length of the WAL from which it is not kept any more
	// until it was recorded; default 64 MiB.
	WALBytes int64
	// Quota is how many bytes the trail may take on its disk; more is as if
	// that were full, see [Full]. As in Options what was shipped makes room, and
	// it is for more than a first base. Zero: no limit.
	Quota int64
	// OnFull, if set, is called by Watch when the trail's disk is full, and with
	// nil when it is not any more.
	OnFull func(err error)

	hook func(step string) // for tests
}

func (o *WatchOptions) withDefaults() WatchOptions {
	f := WatchOptions{}
	if o != nil {
		f = *o
	}
	if f.VFS == "" {
		f.VFS = Name
	}
	if f.Poll <= 0 {
		f.Poll = 10 * time.Millisecond
	}
	if f.MostPoll <= 0 {
		f.MostPoll = max(100*time.Millisecond, f.Poll)
	}
	if f.WALBytes <= 0 {
		f.WALBytes = 64 << 20
	}
	return f
}

// Watch records what programs commit to a database that do not use this VFS,
// until ctx ends or the database cannot be watched any more: [ErrNotWAL],
// [ErrMoved], an error of the trail. Linux and macOS.
//
// Each commit becomes one record, like one through the VFS: Watch keeps the
// WAL from beginning anew before it was recorded, by a shared lock that no
// writer waits for. A record has what a commit changed in its pages: a
// checkpoint does not copy what was not recorded, save when it is the one that
// the WAL's end is due for, which Watch has to keep pace with; where it does
// not, pages are recorded in full. Notes cannot be given, and a record has the
// time at which it was made, at most WatchOptions.Poll after the commit.
//
// The first time the database is copied into the trail, within a read
// transaction: writers go on. What was committed while nobody watched is
// recorded commit by commit if the WAL still has it, else as one record.
//
// Like every open connection it keeps the last program from deleting the WAL
// and from leaving WAL mode, and a PRAGMA wal_checkpoint(FULL, RESTART or
// TRUNCATE) may have to wait for Poll: give it a busy timeout. Segments of the
// trail are sealed in less time than a writer's own, and are some 5 % longer:
// who watches works beside a writer, and as a rule ships. At the end, if
// nobody else has the database open, the WAL is checkpointed and deleted.
//
// While the trail's disk is full, or its quota reached, programs go on, and
// what they commit stays in the WAL; when there is room it is recorded. What
// the WAL does not have any more by then, see WatchOptions.WALBytes, is one
// record. Log of the VFS's Options says so.
func Watch(ctx context.Context, path string, o *WatchOptions) (err error) {
	w, err := NewWatcher(path, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for full := false; ; {
		wait, err := w.Step()
		if err != nil && !Busy(err) && !Full(err) {
			return err
		}
		if is := Full(err); is != full && w.opt.OnFull != nil {
			w.opt.OnFull(err)
		}
		full = Full(err)
		sleep := w.Wait
		if full { // a commit makes no room
			sleep = pause.For
		}
		if err := sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// Busy says that an error of [Watcher.Step] is over by itself: a lock that
// somebody holds for the moment.
func Busy(err error) bool { return errors.Is(err, sqlite3.BUSY) }

// fullWait is how long a Step waits for room that there was none for.
const fullWait = time.Second

// Full says that an error of [Watcher.Step] is the disk of the trail that is
// full, or its quota that is reached: the next Step tries again, and goes on
// where this one could not.
func Full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, sqlite3.FULL)
}

// Watcher is a Watch that is done step by step, for programs that watch many
// databases from few goroutines. Not safe for concurrent use.
type Watcher struct {
	opt   WatchOptions
	path  string
	file  fs.FileInfo
	conn  *sqlite3.Conn
	watch *capture.Watch
	wait  time.Duration
	wake  *wake.Waker // nil: none, or it was not asked for
	asked bool
}

// NewWatcher opens the database at path, which must exist. The first Step
// begins to record.
func NewWatcher(path string, o *WatchOptions) (*Watcher, error) {
	opt := o.withDefaults()
	path, err := filepath.Abs(path)
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return nil, err
	}
	w := &Watcher{opt: opt, path: path, wait: opt.Poll}
	if w.file, err = os.Stat(path); err != nil {
		return nil, err
	}
	if err := w.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("watch %s: %w", path, err), w.Close())
	}
	return w, nil
}

func (w *Watcher) open() error {
	q := url.Values{"vfs": {w.opt.VFS}, "mode": {"rw"}, "encode": {"inline"}, "checkpoint": {"sqlite"}, "sync": {"local"}, roleParam: {roleWatcher}}
	if w.opt.Trail != "" {
		q.Set("trail", w.opt.Trail)
	}
	if w.opt.Quota > 0 {
		q.Set("quota", strconv.FormatInt(w.opt.Quota, 10))
	}
	dsn := fileURL(w.path, q)
	var err error
	if w.conn, err = sqlite3.OpenFlags(dsn, sqlite3.OPEN_READWRITE|sqlite3.OPEN_URI); err != nil {
		return err
	}
	if err := w.conn.BusyTimeout(w.opt.MostPoll); err != nil {
		return err
	}
	mode, _, err := w.conn.Prepare("PRAGMA journal_mode")
	if err != nil {
		return err
	}
	wal := mode.Step() && mode.ColumnText(0) == "wal"
	if err := mode.Close(); err != nil {
		return err
	}
	if !wal {
		return ErrNotWAL
	}
	if err := w.read(func() error { return nil }); err != nil {
		return err
	}
	db, err := Of(w.conn, "main")
	if err != nil {
		return err
	}
	frames := min(w.opt.WALBytes/4096, 1<<30)
	w.watch, err = db.f.conn.Watch(uint32(frames), w.opt.hook)
	return err
}

// read runs fn within a read transaction.
func (w *Watcher) read(fn func() error) error {
	if err := w.conn.Exec("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1"); err != nil {
		return errors.Join(err, w.rollback())
	}
	return errors.Join(fn(), w.rollback())
}

func (w *Watcher) rollback() error {
	if w.conn.GetAutocommit() {
		return nil
	}
	return w.conn.Exec("ROLLBACK")
}

// Step records what was committed since the last one, and says after which
// time to look again. After an error that is [Busy] or [Full] the next Step
// tries again; after others the Watcher is to be closed.
func (w *Watcher) Step() (wait time.Duration, err error) {
	changed, err := w.watch.Step(w.read)
	if Full(err) {
		return fullWait, err
	}
	if changed {
		w.wait = w.watch.Wait(w.opt.Poll)
		return w.wait, err
	}
	if err == nil {
		info, serr := os.Stat(w.path)
		if serr != nil && !errors.Is(serr, fs.ErrNotExist) {
			return 0, serr
		}
		if serr != nil || !os.SameFile(info, w.file) {
			return 0, fmt.Errorf("%s: %w", w.path, ErrMoved)
		}
	}
	w.wait = min(w.wait+w.wait/4+time.Millisecond, w.opt.MostPoll)
	return w.wait, err
}

// Wait waits for so long as Step has said. When there were no commits for a
// while it does not wait beyond the next one, if the system tells of that: a
// writer that begins at full speed fills many WALs in [WatchOptions].MostPoll.
func (w *Watcher) Wait(ctx context.Context, d time.Duration) error {
	if d <= w.opt.Poll {
		return pause.For(ctx, d)
	}
	if !w.asked {
		w.wake, w.asked = wake.New(), true
	}
	switch {
	case !w.wake.Next(w.path + "-wal"):
		return pause.For(ctx, d)
	case w.watch.News(): // since Step
		return pause.For(ctx, min(d, w.opt.Poll))
	case w.wake.Wait(ctx, d):
		return pause.For(ctx, time.Millisecond) // a commit can be seen a little after it was written
	}
	return context.Cause(ctx)
}

// Close stops watching. What was committed and not recorded waits in the WAL,
// unless a program begins that anew; see [Watch].
func (w *Watcher) Close() (err error) {
	if w.conn != nil {
		err = w.conn.Close()
	}
	if w.watch != nil {
		err = errors.Join(err, w.watch.Close())
	}
	w.wake.Close()
	w.watch, w.conn, w.wake = nil, nil, nil
	return err
}
