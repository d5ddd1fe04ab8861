package capture

import "github.com/pagetrail/pagetrail/journal"

// Unlock is called before the lock is lowered to SHARED or below. A
// transaction that did not commit has been rolled back by now, and what that
// left changed (free-list leaves after a spill; everything in journal_mode
// OFF) is recorded as a physical change.
func (c *Conn) Unlock() {
	if c.reserved && c.dirty() && !c.untracked {
		if err := c.db.do(true, c.residue); err != nil {
			c.fail("record what a rollback left", err)
		}
	}
	if c.reserved {
		c.db.ended(c)
	}
	c.reserved, c.exclusive, c.playback = false, false, false
	c.untracked, c.refused = false, false
	if c.dirty() || c.prepared {
		c.reset()
	}
}

// afterPlayback has trail and database agree when a hot journal was played
// back, as long as it is there and the EXCLUSIVE lock is held: other processes
// that have the database open do not know of it, and one of them may be the next
// to write. Who dies here leaves the journal to be played back again.
func (c *Conn) afterPlayback() {
	db := c.db
	if db.doubtful(); !db.exists() {
		return
	}
	if err := db.do(false, func() error { return db.reconcile(c.files()) }); err != nil {
		c.fail("compare the database after a hot journal", err)
	}
}

// ended takes down that the transaction of c came to an end.
func (db *DB) ended(c *Conn) {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.writer == c {
		db.writer = nil
	}
}

func (c *Conn) residue() error {
	if err := c.dropPrepared(); err != nil {
		return err
	}
	v, err := fileView(c.main)
	if err != nil {
		return err
	}
	tx := journal.Tx{
		Kind: journal.Physical, Time: c.db.now(), PageSize: v.size, PageCount: v.count, Origin: v.origin,
	}
	return c.append(v, tx, false)
}
