package capture

import (
	"cmp"
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
)

// Conn is the capture of one connection: it is told what the connection does
// to its files, before it happens unless said otherwise. A connection is used
// by one goroutine at a time, so is its Conn.
//
// Every method may be called in any order: an error of one leaves the engine
// so that the next transaction sets things right.
type Conn struct {
	db   *DB
	main File
	wal  File // nil: not open

	reserved  bool   // the RESERVED lock was taken: a rollback-mode transaction
	exclusive bool   // the EXCLUSIVE lock is held
	playback  bool   // ... and was taken to play back a hot journal
	private   bool   // locking_mode=EXCLUSIVE: the wal-index is in the connection's memory
	size      int    // page size and ...
	count     uint32 // ... page count of the state before the transaction
	all       bool   // pages of an unknown size were written
	pre       preimages
	nos       []uint32
	settled   bool // reconciled for this transaction
	untracked bool // the transaction goes on without the trail, see Detach
	refused   bool // the trail did not take the transaction: it is being rolled back
	prepared  bool
	tx        journal.Tx // as prepared
	entries   []entry    // changes of the table that go with tx
	unsynced  bool       // the trail has bytes of tx that are not synced

	walPage    int    // page size of the WAL's frames
	walCommit  uint32 // frame of the last commit this connection wrote
	walSynced  bool   // since this connection last wrote it; a checkpoint syncs it before CheckpointStart
	walWriting bool   // frames of a transaction were written that has not committed yet
	ckptErr    error  // why a checkpoint must not write to the database
	note       string // for the next transaction
}

// NewConn returns the capture of a connection to db whose database file is
// main.
func (db *DB) NewConn(main File) *Conn {
	return &Conn{db: db, main: main, pre: preimages{most: int64(cmp.Or(db.opt.GroupBytes, memMax))}}
}

// do runs fn with the trail open and locked.
func (db *DB) do(create bool, fn func() error) error {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.guarded(func() error {
		if err := db.openTrail(create); err != nil {
			return err
		}
		if create && !db.tidied {
			db.tidied = true
			db.sealing.begin(db, false)
		}
		if err := db.lockAnew(); err != nil {
			return err
		}
		defer db.unlock()
		return fn()
	})
}

func (c *Conn) files() files {
	f := files{main: c.main}
	if c.wal != nil {
		f.wal = c.wal
		if c.private {
			f.end = c.walCommit
		}
	}
	return f
}

// Reserved is called after the RESERVED lock was taken: from here on nobody
// else can commit in a rollback mode.
func (c *Conn) Reserved() error {
	if c.reserved || c.wal != nil {
		return nil
	}
	err := c.db.permit(true, func() error {
		db := c.db
		if db.writer != nil {
			// Only one has RESERVED, so the other died with its transaction.
			// Whoever rolled that back left pages of the free-list changed.
			db.setDoubt(true)
		}
		if err := db.settled(c.files()); err != nil {
			return err
		}
		db.writer = c
		c.size, c.count = db.last.PageSize, db.last.PageCount
		return nil
	})
	c.reserved, c.settled, c.refused = err == nil, true, false
	c.untracked = c.reserved && c.db.detached.Load()
	return err
}

// settled makes sure that the trail ends in the state of the database file,
// with one read where nothing happened.
func (db *DB) settled(src files) error {
	if db.attached && !db.doubt && !db.w.Prepared() && db.table.describes(db.last) {
		v, err := fileView(src.main)
		if err != nil {
			return err
		}
		if db.unchanged(v) {
			return nil
		}
		db.setDoubt(true)
	}
	return db.reconcile(src)
}

// Exclusive is called after the EXCLUSIVE lock was taken. SQLite takes it
// without RESERVED before it to play back a hot journal, and to leave WAL mode.
func (c *Conn) Exclusive() {
	c.exclusive = true
	c.playback = !c.reserved && c.wal == nil
}

// Begin is called before anything is done to the database file. SQLite does
// not ask for RESERVED when it has the EXCLUSIVE lock already, from leaving WAL
// mode or from a hot journal, and when it was told not to lock (nolock=1).
func (c *Conn) Begin() error {
	if c.playback {
		return nil
	}
	if c.reserved && !c.settled && !c.dirty() && !c.db.ready.Load() {
		c.reserved = false // locking_mode=EXCLUSIVE: no lock is taken for the next transaction
	}
	return c.Reserved()
}

// Write is called before n bytes at off of the database file are written.
func (c *Conn) Write(n int, off int64) error {
	switch {
	case c.wal != nil:
		// A checkpoint copies what was committed, after a sync of the WAL
		// unless synchronous=OFF.
		if c.ckptErr == nil && !c.walSynced {
			c.walSynced = true
			c.ckptErr = c.db.permit(false, func() error { return c.db.table.loosen() })
		}
		return c.ckptErr
	case c.playback:
		// A hot journal does not restore free-list leaves, so the pages have
		// to be compared.
		c.db.doubtful()
		return nil
	}
	if err := c.Begin(); err != nil {
		return err
	}
	if c.size == 0 || c.untracked {
		c.all = true
		return nil
	}
	size := int64(c.size)
	for no := off / size; no <= (off+int64(n)-1)/size && !c.untracked; no++ {
		if err := c.touch(uint32(no + 1)); err != nil {
			return err
		}
	}
	return nil
}

// touch keeps the content of page no if this is its first write.
func (c *Conn) touch(no uint32) error {
	if c.pre.has(no) {
		return nil
	}
	if no > c.count {
		c.pre.lost(no)
		return nil
	}
	if len(c.pre.buf) != c.size {
		c.pre.buf = make([]byte, c.size)
	}
	if err := readPage(c.main, no, c.pre.buf); err != nil {
		return fmt.Errorf("read the old page %d: %w", no, err)
	}
	db := c.db
	c.pre.keep(no, c.pre.buf, db.opt.FS, db.opt.Dir, db.opt.Mode)
	return nil
}

// Truncate is called before the database file is cut to size.
func (c *Conn) Truncate(size int64) error {
	if c.wal != nil {
		return c.ckptErr
	}
	if !c.reserved || c.prepared || c.size == 0 {
		return nil // after the commit point the header has told already
	}
	for no := size/int64(c.size) + 1; no <= int64(c.count); no++ {
		c.pre.lost(uint32(no))
	}
	return nil
}

// dirty says that the transaction wrote anything.
func (c *Conn) dirty() bool { return c.all || len(c.pre.refs) > 0 }

// fail has the next write reconcile.
func (c *Conn) fail(what string, err error) {
	db := c.db
	db.opt.Log.Error(what, "trail", db.opt.Dir, "err", err)
	db.doubtful()
}

func (db *DB) doubtful() {
	db.mu.Lock()
	defer db.mu.Unlock()
	db.setDoubt(true)
}

// reset forgets the transaction that has ended.
func (c *Conn) reset() {
	c.prepared, c.all, c.unsynced, c.settled = false, false, false, false
	c.pre.reset()
	if c.reserved {
		c.db.mu.Lock()
		c.size, c.count = c.db.last.PageSize, c.db.last.PageCount
		c.db.mu.Unlock()
	}
}

// Close is called before the database file is closed.
func (c *Conn) Close() error {
	c.Unlock()
	if c.wal != nil {
		c.CloseWAL()
	}
	return nil
}

// Note attaches text to the connection's next transaction.
func (c *Conn) Note(text string) { c.note = text }

// Position is the last committed transaction, this connection's own included.
func (c *Conn) Position() (journal.Tx, journal.Identity, error) { return c.db.position(c.files()) }

// Point names the last committed transaction.
func (c *Conn) Point(name string) (journal.Point, error) { return c.db.point(c.files(), name) }
