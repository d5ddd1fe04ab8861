package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// OpenWAL is called after the connection opened its WAL.
func (c *Conn) OpenWAL(wal File) {
	db := c.db
	db.walMu.Lock()
	defer db.walMu.Unlock()
	db.mu.Lock()
	defer db.mu.Unlock()
	c.wal, c.walPage, c.walCommit = wal, 0, 0
	c.playback, c.private = false, false
	db.walRefs++
	db.openOwn()
	db.startEncoder()
}

// CloseWAL is called before the connection closes its WAL; the last one to do
// so deletes it afterwards.
func (c *Conn) CloseWAL() {
	if c.wal == nil {
		return
	}
	db := c.db
	if db.ready.Load() {
		if err := db.permit(false, func() error { return db.catchUp(c.files()) }); err != nil {
			c.fail("record the last transactions of the WAL", err)
		}
	}
	db.walMu.Lock()
	defer db.walMu.Unlock()
	db.mu.Lock()
	c.wal = nil
	db.walRefs--
	last := db.walRefs == 0
	db.mu.Unlock()
	if last {
		db.stopEncoder()
		db.mu.Lock()
		db.closeOwn()
		db.wal = walState{}
		db.b.recent.drop()
		db.exclusiveEnd.Store(0)
		db.mu.Unlock()
	}
}

// WriteWAL is called before p is written at off of the WAL. The connection
// holds SQLite's WAL_WRITE_LOCK. An error makes SQLite roll back.
func (c *Conn) WriteWAL(p []byte, off int64) error {
	c.walSynced = false
	if off == 0 && len(p) >= sqlitefile.WALHeaderSize {
		return c.beginWAL(p)
	}
	db, first := c.db, !c.walWriting
	c.walWriting = true
	attach := !db.ready.Load() || db.broken.Load() != nil || db.detached.Load()
	if len(p) == sqlitefile.FrameHeaderSize {
		f := sqlitefile.ParseFrame(p)
		// Other salts than we know: an outsider began the WAL anew. None at all:
		// the cache spilled a page for the second time, and from there on SQLite
		// writes salts and checksums at the commit. To look then is not needed,
		// but a trail that cannot be written is noticed by it before the commit.
		attach = attach || db.generation.Load() != saltKey(f.Salt)
		if f.Commit != 0 {
			c.commitFrame(off)
		}
	}
	if !attach || db.detached.Load() && !first {
		return nil
	}
	return db.permit(true, func() error { return db.settleWAL(c.files()) })
}

// commitFrame takes down the moment and the note of a commit.
func (c *Conn) commitFrame(off int64) {
	size := c.walPageSize()
	if size == 0 {
		return
	}
	frame := uint32((off-sqlitefile.WALHeaderSize)/int64(sqlitefile.FrameHeaderSize+size)) + 1
	c.walCommit = frame
	c.db.commits.add(commitNote{frame, c.db.now(), c.note})
}

// Overtaken says whether somebody has committed frame n of the WAL with that
// salt, or one after it, or begun the WAL anew since.
func (c *Conn) Overtaken(n uint32, salt [2]uint32) (bool, error) {
	db := c.db
	db.mu.Lock()
	defer db.mu.Unlock()
	shm := db.files(c.files()).shm
	if shm == nil {
		return false, fmt.Errorf("the wal-index %s-shm is not to be had", db.path)
	}
	idx, ok := readIndex(shm)
	if !ok {
		return false, fmt.Errorf("the wal-index %s-shm is being written, or is damaged", db.path)
	}
	return idx.Salt != salt || idx.MxFrame >= n, nil
}

// beginWAL is called before the header of a WAL generation is written, over
// the last one's. From then on the old frames are lost, so the trail must have
// them, durably. The new salts are noted so that any process knows that the
// frames under them continue the trail.
func (c *Conn) beginWAL(p []byte) error {
	hdr, err := sqlitefile.ParseWALHeader(p)
	if err != nil {
		return fmt.Errorf("the header being written to the WAL: %w", err)
	}
	c.walPage = hdr.PageSize
	db := c.db
	err = db.permit(true, func() error {
		if err := db.settleWAL(c.files()); err != nil {
			return err
		}
		if st := &db.table.stamp; !st.WALSaltSet || st.WALSalt != hdr.Salt {
			st.WALSalt, st.WALSaltSet, st.WALEmpty = hdr.Salt, true, false
			db.commits.clear()
			db.exclusiveEnd.Store(0)
			if err := db.table.writeStamp(); err != nil {
				return err
			}
		}
		db.generation.Store(saltKey(hdr.Salt))
		return db.durable()
	})
	db.goOn()
	return err
}

// settleWAL records everything that the WAL has, and brings trail and database
// to agreement where that is not enough. The caller holds a lock of SQLite
// under which nobody else commits or begins the WAL anew.
//
// Until it succeeds commits and checkpoints are refused: the transactions so
// far are safe in the WAL.
func (db *DB) settleWAL(src files) error {
	var err error
	src.stable = true
	if db.attached && !db.doubt {
		db.setDoubt(false)
		err = db.catchUp(src)
	}
	if err == nil && (!db.attached || db.doubt) {
		err = db.reconcile(db.files(src))
	}
	if err == nil {
		db.broken.Store(nil)
	}
	return err
}

// durable syncs what is recorded, and ends a tail that has grown large.
func (db *DB) durable() error {
	if db.w.Unsynced() {
		if err := db.w.Sync(); err != nil {
			return err
		}
	}
	return db.rotate()
}

// TruncateWAL is called before the WAL is cut.
func (c *Conn) TruncateWAL(size int64) error {
	if !c.db.ready.Load() && !c.db.exists() {
		return nil
	}
	db := c.db
	err := db.permit(false, func() error {
		if err := db.settleWAL(c.files()); err != nil {
			return err
		}
		if size == 0 {
			if err := db.emptied(); err != nil {
				return err
			}
		}
		return db.durable()
	})
	db.goOn()
	return err
}

// CheckpointStart is called before a checkpoint writes to the database file.
// SQLite gives it no way to fail: if it does, the checkpoint's writes do.
func (c *Conn) CheckpointStart() {
	c.ckptErr = nil
	if !c.db.ready.Load() && !c.db.exists() {
		c.walSynced = true // nobody would be told that it was not
	}
	if c.wal == nil || !c.db.ready.Load() && !c.db.exists() {
		return
	}
	c.ckptErr = c.db.permit(false, func() error {
		if err := c.db.settleWAL(c.files()); err != nil {
			return err
		}
		return c.db.durable()
	})
	c.db.goOn()
	if c.ckptErr != nil {
		c.db.opt.Log.Error("record the WAL before a checkpoint", "trail", c.db.opt.Dir, "err", c.ckptErr)
	}
}

// SyncWAL is called for a sync of the WAL, which sync does. When it is not part
// of a commit a checkpoint is about to begin, for which the trail has to be
// durable too: the two are synced side by side, where the engine has handles
// of its own to read the WAL meanwhile.
func (c *Conn) SyncWAL(sync func() error) error {
	if c.walWriting || !c.db.ready.Load() || !c.db.opt.ByPath || c.db.detached.Load() {
		err := sync()
		c.walSynced = c.walSynced || err == nil
		return err
	}
	src, done := c.files(), make(chan struct{})
	go func() {
		defer close(done)
		// What fails here fails again in CheckpointStart, which reports it.
		_ = c.db.do(false, func() error {
			if err := c.db.catchUp(src); err != nil {
				return err
			}
			return c.db.durable()
		})
	}()
	err := sync()
	<-done
	c.walSynced = c.walSynced || err == nil
	return err
}

// CheckpointDone is called after a checkpoint.
func (c *Conn) CheckpointDone() { c.ckptErr, c.walSynced = nil, false }

// committedWAL is called after a WAL transaction has become visible.
func (c *Conn) committedWAL() {
	db := c.db
	if c.walCommit == 0 {
		return
	}
	c.note, c.walWriting = "", false
	if c.exclusive {
		c.private = true
		db.exclusiveEnd.Store(c.walCommit)
	}
	if db.running.Load() && !db.detached.Load() {
		db.notify()
		return
	}
	if db.detached.Load() {
		db.waiting()
		return
	}
	src := c.files()
	src.end = c.walCommit
	err := db.permit(false, func() error { return db.catchUp(src) })
	if err != nil {
		db.broken.Store(&err)
		c.fail("record a transaction of the WAL", err)
	}
}

// DeletingWAL is asked before one of our connections, the last to close, deletes
// the WAL of the database at path. All of it may have been copied, by others,
// and some not recorded: then it says why, and SQLite, which has closed its
// file, leaves it where it is, as after a crash.
func DeletingWAL(path string) error {
	for _, db := range captures(path) {
		if err := db.refusal.Load(); err != nil {
			return fmt.Errorf("delete a WAL that may not be recorded: %w", *err)
		}
	}
	return nil
}

// captures are those of the database at path.
func captures(path string) (dbs []*DB) {
	registry.mu.Lock()
	defer registry.mu.Unlock()
	for _, db := range registry.m {
		if db.path == path {
			dbs = append(dbs, db)
		}
	}
	return dbs
}

// WALDeleted is told that it did: everything was recorded before.
func WALDeleted(path string) {
	for _, db := range captures(path) {
		if !db.ready.Load() {
			continue
		}
		err := db.do(false, db.emptied)
		if err != nil {
			db.doubtful()
		}
	}
}

// walPageSize finds out the page size of the open WAL.
func (c *Conn) walPageSize() int {
	if c.walPage == 0 && c.wal != nil {
		var b [sqlitefile.WALHeaderSize]byte
		if n, err := c.wal.ReadAt(b[:], 0); n == len(b) && (err == nil || errors.Is(err, io.EOF)) {
			if h, err := sqlitefile.ParseWALHeader(b[:]); err == nil {
				c.walPage = h.PageSize
			}
		}
	}
	return c.walPage
}
