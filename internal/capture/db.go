package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// Suffix is what the name of a trail adds to the name of its database.
const Suffix = "-pagetrail"

// Options say how a database is captured. The zero value works.
type Options struct {
	FS        durable.FS  // where the trail is; default [durable.OS]
	Dir       string      // the trail; default the database's path + Suffix
	Mode      fs.FileMode // of the trail's files; default the database's
	SealBytes int64       // the tail is sealed when larger; default of journal, or a sealedOfQuota of Quota if that is less
	SealFast  bool        // as in journal
	// Quota is how many bytes the trail may take on its disk; more is as if that were full. Sealing a segment, which frees
	// more than it takes in the end, is not held up. Default: no limit.
	Quota int64
	// GroupBytes is how many bytes of pages are encoded at a time; default what
	// fits into one group of package diff, or else manyGroup.
	GroupBytes int
	// ByPath says that the database and its WAL can be read by opening their
	// paths through FS, as with the operating system's VFS. Then encoding of
	// WAL transactions runs beside the writer; else within its commit.
	ByPath   bool
	Progress func(done, total int64) // bytes of a base being written; may be nil
	Full     Policy                  // of commits that the trail cannot take; default Refuse
	Log      *slog.Logger            // default: discard
	Now      func() time.Time        // default time.Now
}

// sealedOfQuota is the part of a quota that the segment which grows may take: only what is sealed can be removed once it
// was shipped.
const sealedOfQuota = 8

func (o *Options) limited() durable.FS {
	if o.Quota > 0 {
		return durable.Quota(o.FS, o.Dir, o.Quota, func(keep int64) {
			_ = journal.Crowd(o.FS, o.Dir, keep) // at the latest the next refusal asks again
		})
	}
	return o.FS
}

func (o Options) withDefaults(path string) Options {
	if o.FS == nil {
		o.FS = durable.OS
	}
	if o.Dir == "" {
		o.Dir = path + Suffix
	}
	if o.Mode == 0 {
		o.Mode = 0o644
		if fi, err := o.FS.Stat(path); err == nil {
			o.Mode = fi.Mode().Perm()
		}
	}
	if o.SealBytes == 0 && o.Quota > 0 {
		o.SealBytes = min(max(o.Quota/sealedOfQuota, 1), journal.DefaultSealBytes)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// DB is the capture of one database in this process, shared by its
// connections. Its methods may be called concurrently.
type DB struct {
	path string
	opt  Options
	// limited is Options.FS, kept under Options.Quota: for what grows as transactions are recorded.
	limited durable.FS
	refs    int // guarded by registry.mu

	mu         sync.Mutex // guards what follows; taken before the trail's lock
	w          *journal.Writer
	table      *table
	b          builder
	last       journal.Tx // state after the last committed transaction
	attached   bool       // trail and database were brought to agreement
	doubt      bool       // ... and something happened since that may have parted them
	suspect    bool       // ... or may have: the next write finds out
	tidied     bool       // what other processes left unsealed is taken care of
	wal        walState
	mainSynced bool        // syncMain has been done for the comparison under way
	writer     *Conn       // whose rollback-mode transaction is under way; who finds another there knows that it died
	walRefs    int         // connections that have the WAL open
	own        ownFiles    // handles of our own on database, WAL and wal-index
	det        *detachment // nil: the trail takes everything
	confirmed  journal.Tx  // committed, and its record could not be confirmed
	running    atomic.Bool // the goroutine that encodes is there
	wake       chan struct{}
	stop       chan struct{} // closed to end its pause
	stopped    chan struct{} // closed when it has ended

	walMu        sync.Mutex // serialises opening and closing of the WAL; taken before mu
	commits      commitLog
	ready        atomic.Bool           // attached and not in doubt: a WAL write needs nothing but forwarding
	generation   atomic.Uint64         // salts of the WAL that the trail follows
	exclusiveEnd atomic.Uint32         // last commit frame under locking_mode=EXCLUSIVE, which has no wal-index
	broken       atomic.Pointer[error] // why the last catch-up beside the writer stopped
	detached     atomic.Bool           // det is there, and the policy is to go on
	refusal      atomic.Pointer[error] // why commits are refused, which was logged; nil: they are not
	sealing      sealing
}

// ownFiles are the engine's handles for reading beside the connections.
type ownFiles struct{ main, wal, shm durable.File }

var registry = struct {
	mu sync.Mutex
	m  map[string]*DB
}{m: map[string]*DB{}}

// Acquire returns the capture of the database at path, which must be absolute;
// Release gives it back. Options count for the first connection of a process.
func Acquire(path string, o Options) (*DB, error) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	o = o.withDefaults(path)
	key := path + "\x00" + o.Dir
	db := registry.m[key]
	if db == nil {
		db = &DB{path: path, opt: o, limited: o.limited(), b: builder{limit: o.GroupBytes}, wake: make(chan struct{}, 1)}
		registry.m[key] = db
	}
	db.refs++
	return db, nil
}

// Release gives back what Acquire returned. With the last connection of the
// process the trail is left in order and closed.
func (db *DB) Release() error {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	if db.refs--; db.refs > 0 {
		return nil
	}
	for k, v := range registry.m {
		if v == db {
			delete(registry.m, k)
		}
	}
	return db.close()
}

func (db *DB) close() error {
	db.stopEncoder()
	db.sealing.end()
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.w == nil {
		return nil
	}
	err := db.stampClean()
	db.closeOwn()
	return errors.Join(err, db.closeTrail())
}

// closeTrail closes the trail; the next use opens it and reconciles.
func (db *DB) closeTrail() error {
	err := errors.Join(db.table.close(), db.w.Close())
	db.w, db.table, db.attached = nil, nil, false
	db.wal.lose()
	db.setDoubt(false)
	return err
}

// stampClean notes how the database looks now that everything in it is
// recorded, so that the next process to open it need not compare it.
func (db *DB) stampClean() error {
	if !db.attached || db.doubt || db.det != nil {
		return nil
	}
	if err := db.lock(); err != nil {
		return err
	}
	defer db.unlock()
	if db.doubt || db.w.Prepared() || !db.table.describes(db.last) {
		return nil
	}
	id, err := identify(db.opt.FS, db.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	db.table.stamp.Clean, db.table.stamp.File = true, id
	return db.table.writeStamp()
}

// openTrail opens the trail for appending; create makes it if there is none.
func (db *DB) openTrail(create bool) error {
	if db.w != nil {
		return nil
	}
	w, err := journal.OpenWriter(db.opt.Dir, &journal.WriterOptions{
		FS: db.limited, Mode: db.opt.Mode, SealBytes: db.opt.SealBytes, SealFast: db.opt.SealFast, Create: create,
	})
	if err != nil {
		return err
	}
	t, err := openTable(db.limited, db.opt.Dir, db.opt.Mode)
	if err != nil {
		w.Close()
		return err
	}
	db.w, db.table = w, t
	return nil
}

// exists says whether there is a trail.
func (db *DB) exists() bool {
	_, err := db.opt.FS.Stat(db.opt.Dir)
	return err == nil
}

// lock takes the trail's lock and takes in what other processes appended.
func (db *DB) lock() error {
	moved, err := db.w.Lock()
	if err != nil {
		return fmt.Errorf("lock the trail %s: %w", db.opt.Dir, err)
	}
	if moved || !db.table.valid {
		if err := db.table.reload(); err != nil {
			db.unlock()
			return err
		}
		db.wal.lose()
	}
	db.last = db.w.Committed()
	return nil
}

// lockAnew is lock for a trail that may have to be opened again: a sync failed,
// or a write that could not be undone, and what the file has now is found out
// by reading it.
func (db *DB) lockAnew() error {
	err := db.lock()
	if errors.Is(err, journal.ErrFailed) {
		db.closeTrail()
		if err = db.openTrail(false); err == nil {
			err = db.lock()
		}
	}
	return err
}

func (db *DB) unlock() { db.w.Unlock() }

// now is the time for a record.
func (db *DB) now() journal.Time { return journal.Time(db.opt.Now().UnixMicro()) }

// rotate ends a tail that has grown large and has the ended one sealed in the
// background. No record can be taken back from an ended segment, so all of them
// are made durable in SQLite's files first: a power cut takes back the removal
// of a journal, and what a WAL has since its last sync.
func (db *DB) rotate() error {
	if !db.w.Full() {
		return nil
	}
	if err := db.settleFiles(); err != nil {
		return fmt.Errorf("sync the database before its trail goes on in another file: %w", err)
	}
	if err := db.w.Rotate(); err != nil {
		return err
	}
	db.sealing.begin(db, true)
	return nil
}

// settleFiles syncs what decides about the last transactions.
func (db *DB) settleFiles() error {
	for _, suffix := range []string{"-journal", "-wal"} {
		f, err := db.opt.FS.OpenFile(db.path+suffix, os.O_RDWR, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return db.opt.FS.SyncDir(filepath.Dir(db.path))
}

// openOwn opens handles for reading beside the connections, where that works.
func (db *DB) openOwn() {
	if !db.opt.ByPath || db.own.wal != nil {
		return
	}
	open := func(name string) durable.File {
		f, err := db.opt.FS.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return nil
		}
		return f
	}
	db.own = ownFiles{open(db.path), open(db.path + "-wal"), open(db.path + "-shm")}
	if db.own.main == nil || db.own.wal == nil {
		db.closeOwn()
	}
}

func (db *DB) closeOwn() {
	for _, f := range []durable.File{db.own.main, db.own.wal, db.own.shm} {
		if f != nil {
			f.Close()
		}
	}
	db.own = ownFiles{}
}

// Dir is the trail's directory.
func (db *DB) Dir() string { return db.opt.Dir }

// Attached says that something was written through the VFS, so that every
// commit is captured from then on.
func (db *DB) Attached() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.attached
}

// Problem is why the capture is behind, nil when it is not.
func (db *DB) Problem() error {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.det != nil {
		return &detachedError{*db.pending()}
	}
	if err := db.Refusal(); err != nil {
		return fmt.Errorf("commits are refused until the trail takes them: %w", err)
	}
	if err := db.broken.Load(); err != nil {
		return *err
	}
	if db.doubt || db.suspect {
		return errors.New("the database was changed without pagetrail; what differs is recorded with the next write")
	}
	return nil
}

// Refusal is why the trail does not take commits, nil when it does, or they go
// on without it.
func (db *DB) Refusal() error {
	if err := db.refusal.Load(); err != nil {
		return *err
	}
	return nil
}
