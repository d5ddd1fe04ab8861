package capture

import (
	"errors"
	"path/filepath"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// Prepare is called when all pages of a rollback-mode transaction are in the
// database file and SQLite is about to sync it: it appends the transaction,
// prepared. super is the name of the super-journal of a transaction over
// several files. An error makes SQLite roll back.
func (c *Conn) Prepare(super string) error {
	if c.playback {
		c.playback = false // SQLite syncs the database when it is through
		c.afterPlayback()
		return nil
	}
	if c.wal != nil || !c.reserved || !c.dirty() || c.untracked {
		return nil
	}
	refused := c.refused
	c.refused = false
	err := c.excuse(c.db.do(true, func() error { return c.prepare(super) }))
	if err == nil {
		return nil
	}
	c.unsynced = false
	if refused {
		// The transaction was refused before, and its pages are being put back.
		// The trail must not be in the way of that.
		c.fail("record what a rollback wrote", err)
		return nil
	}
	c.refused = !errors.Is(err, journal.ErrLocked) // after which SQLite tries the commit again
	return err
}

func (c *Conn) prepare(super string) error {
	db := c.db
	if err := c.dropPrepared(); err != nil {
		return err
	}
	c.unsynced = false
	v, err := fileView(c.main)
	if err != nil {
		return err
	}
	tx := journal.Tx{
		Time: db.now(), PageSize: v.size, PageCount: v.count, Note: c.note, Origin: v.origin,
	}
	if super != "" {
		tx.Super = filepath.Base(super)
	}
	return c.append(v, tx, true)
}

// append records the difference between the state before and v.
func (c *Conn) append(v view, tx journal.Tx, prepared bool) error {
	db := c.db
	prev := db.last
	if v.count == 0 && v.size == 0 {
		tx.PageSize = prev.PageSize
	}
	c.nos = c.changedPages(c.nos[:0], v)
	tx, pages, err := db.b.record(db.w, db.table, prev, tx, c.nos, connSource{c, v}, prepared)
	if err == nil && pages == 0 && tx.Sum == prev.Sum && tx.PageCount == prev.PageCount && tx.PageSize == prev.PageSize {
		return db.w.Reset() // nothing but bytes written over themselves
	}
	if err == nil {
		err = db.w.Flush()
	}
	if err != nil {
		return errors.Join(err, db.w.Reset())
	}
	c.tx, c.entries, c.unsynced = tx, append(c.entries[:0], db.b.entries...), true
	if c.prepared = prepared; prepared {
		return nil
	}
	return c.settleTable()
}

// changedPages lists the pages that may differ from the state before: those
// written, and all by which the file grew.
func (c *Conn) changedPages(nos []uint32, v view) []uint32 {
	if v.count == 0 {
		return nos
	}
	lock := diff.LockPage(v.size)
	from := c.count + 1
	if v.size != c.size {
		from = 1
	} else {
		nos = c.pre.pages(nos, min(c.count, v.count), lock)
	}
	for no := from; no <= v.count && no != 0; no++ {
		if no != lock {
			nos = append(nos, no)
		}
	}
	return nos
}

// connSource hands the pages of a rollback-mode transaction to the builder.
type connSource struct {
	c *Conn
	v view
}

func (s connSource) oldPage(_ int, no uint32, buf []byte) (bool, error) {
	return s.c.pre.read(no, buf), nil
}

func (s connSource) newPage(_ int, no uint32, buf []byte) ([]byte, error) {
	return buf, s.v.page(no, buf)
}

// dropPrepared takes back a record whose transaction did not come to its end.
func (c *Conn) dropPrepared() error {
	if !c.prepared {
		return nil
	}
	c.prepared = false
	return c.db.w.Drop()
}

// settleTable makes the table that of the committed c.tx.
func (c *Conn) settleTable() error {
	db := c.db
	if c.tx.PageSize != db.last.PageSize {
		if err := db.table.reset(); err != nil {
			return err
		}
	}
	if err := db.table.store(c.entries); err != nil {
		return err
	}
	db.last = c.tx
	if len(c.entries) > 1<<15 {
		c.entries = nil
	}
	return db.table.flush(c.tx)
}

// Sync is called beside the sync of the database file: the prepared record
// must be durable before the journal is deleted.
func (c *Conn) Sync() error {
	if !c.unsynced {
		return nil
	}
	err := c.db.do(true, func() error { return c.db.w.Sync() })
	if err == nil {
		c.unsynced = false
		return nil
	}
	id := c.tx.TXID
	if err = c.excuse(err); err == nil {
		// What the file has of the record nobody knows, and nobody needs it.
		_ = c.db.do(false, func() error {
			if w := c.db.w; w.Prepared() && w.Last().TXID == id {
				return w.Drop()
			}
			return nil
		})
	} else {
		c.refused = true
	}
	return err
}

// Unsynced says that Sync has something to do.
func (c *Conn) Unsynced() bool { return c.unsynced }

// Committed is called after the commit point, when nothing can be refused any
// more. What fails here is set right at the next write.
func (c *Conn) Committed() {
	if c.wal != nil {
		c.committedWAL()
		return
	}
	if c.prepared {
		err := c.db.do(true, func() error {
			db := c.db
			if err := db.w.Confirm(); err != nil {
				return err
			}
			if c.unsynced { // SQLite did not sync either
				if err := db.table.loosen(); err != nil {
					return err
				}
			}
			if err := c.settleTable(); err != nil {
				return err
			}
			db.took()
			return db.rotate()
		})
		if err != nil {
			c.db.noteConfirmed(c.tx)
			c.fail("confirm a transaction in the trail", err)
		}
		c.note = ""
	}
	if c.untracked && c.dirty() {
		c.db.missed(c.note)
		c.note = ""
	}
	c.reset()
}
