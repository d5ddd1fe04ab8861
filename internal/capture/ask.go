package capture

import (
	"cmp"
	"errors"

	"github.com/pagetrail/pagetrail/journal"
)

// position catches up and returns the last committed transaction. It makes no
// trail where there is none.
func (db *DB) position(src files) (tx journal.Tx, id journal.Identity, err error) {
	if db.exists() {
		err = db.do(false, func() error {
			err := db.ask(src)
			tx, id = db.last, db.w.Identity()
			return err
		})
	}
	if d := db.Detached(); d != nil {
		err = &detachedError{*d}
	}
	return tx, id, err
}

// ask brings the trail as far as that is possible without a lock of SQLite:
// commits that wait in the WAL are recorded, also those of a process that was
// killed before it could. What only reconcile can decide waits for a write.
func (db *DB) ask(src files) error {
	if !db.attached {
		db.recallDetachment()
	}
	if db.det != nil && db.det.Merged {
		return nil // the next write takes in what is missing
	}
	if !db.attached && !db.w.Prepared() && db.last.TXID != 0 {
		src := db.files(src)
		v, err := db.view(src)
		if err != nil {
			return err
		}
		if !v.origin.WAL {
			return nil
		}
		if shipped, err := db.w.Shipped(); err != nil || shipped.TXID > db.last.TXID {
			return err // a new timeline is for a write to begin
		}
		if !db.agrees(src, v) {
			// A process that was killed between its write to the trail and the
			// one to the page table, for instance.
			if found, err := db.alignEnd(src); err != nil || !found {
				return err
			}
		}
		db.attached = true
		db.setDoubt(false)
		db.generation.Store(saltKey(v.origin.Salt))
	}
	if db.attached && db.walRefs > 0 {
		return db.catchUp(src)
	}
	return nil
}

// point names the last committed transaction.
func (db *DB) point(src files, name string) (p journal.Point, err error) {
	err = db.do(false, func() error {
		if err := db.ask(src); err != nil {
			return err
		}
		if known, err := db.known(src); err != nil || !known {
			return cmp.Or(err, errUnsettled)
		}
		if p, err = db.w.AddPoint(name, db.now()); err != nil {
			return err
		}
		return db.w.Sync()
	})
	if errors.Is(err, journal.ErrNotFound) {
		err = errUnsettled
	}
	return p, err
}

// known says that the trail ends in the state that the database has: the engine is attached, or no process has the database
// open and the file is as the last one left it. Somebody may be about to commit; then that is the next state.
func (db *DB) known(src files) (bool, error) {
	if db.attached || db.w.Prepared() || db.last.TXID == 0 {
		return db.attached && !db.doubt && !db.suspect, nil
	}
	if src.wal == nil {
		// In WAL mode, and not read from yet: what other programs left in a WAL would not be seen.
		if fi, err := db.opt.FS.Stat(db.path + "-wal"); !db.opt.ByPath || err == nil && fi.Size() > 0 {
			return false, nil
		}
	}
	src = db.files(src)
	v, err := db.view(src)
	if err != nil || v.origin.WAL {
		return false, err
	}
	return db.agrees(src, v), nil
}

// errUnsettled refuses to name a state that the trail may not have.
var errUnsettled = errors.New("nothing was written through pagetrail since the database was opened or changed by another program, " +
	"so the trail may not have its present state: read from it once in WAL mode, else write to it, and then name the point")
