package capture

import (
	"errors"
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// Watch records what programs commit that tell us nothing: they use SQLite
// without our VFS, in WAL mode. It is catch-up, called again and again, and two
// locks that keep the WAL from beginning anew before all of it was recorded.
//
// # What can be lost
//
// Frames are lost when the WAL begins anew. A writer does that when all frames
// are in the database file and nobody reads any of them: it takes the locks of
// read marks 1 to 4, exclusively and without waiting, and goes on at the WAL's
// end when it does not get them. See walRestartLog in SQLite's wal.c.
//
// # The lock on a mark
//
// So a shared lock on any one of these keeps the WAL as it is, and no writer
// waits for it. It is taken on a mark that nobody uses (its value is ^0): a
// checkpoint then copies frames as if we were not there, since it stops at
// marks that are held and lower than the end. Only who sets a mark locks it
// exclusively, so its value stays while we hold it.
//
// # The lock on mark 0, and how the WAL gets to begin anew
//
// Mark 0 is that of readers who need no WAL, since everything is in the
// database file. Who holds it keeps checkpoints from writing to that. When we
// hold it, and see that all frames are in the file and all are recorded, then
// the other lock can go:
//
//   - a writer may begin the WAL anew. That is the end of what we have
//     recorded, so the new WAL goes on where the trail ends, and its salts are
//     noted as if we had begun it (see DB.locate);
//   - or a writer appends frames to the old one. Then it cannot be begun anew
//     before they are copied, which our lock on mark 0 prevents;
//   - and the new WAL cannot be begun anew either, for the same reason.
//
// The next step sees which it was, takes the lock on a mark again, and lets go
// of mark 0. So frames are lost in no order of events, checkpoints wait for one
// step at the most, and a WAL that a busy writer does not let come to rest is
// no longer than without us by what it grows in a few steps.
//
// When the WAL grows beyond a limit all the same (a trail on a slow disk; a
// reader of somebody else's who stays for hours) both locks are given up
// between steps. What is lost then is one catch-up record, as it is when
// nobody watches.
type Watch struct {
	c     *Conn
	pin   *pin
	limit uint32 // frames in the WAL from which it is not held any more
	seen  sqlitefile.IndexHeader
	given bool      // no lock is held, on purpose
	salt  [2]uint32 // where the WAL stood when its mark was let go
	frame uint32
	// hook, if set, is called between the steps of the protocol.
	hook func(step string)
}

// unusedMark is the value of a read mark that nobody uses.
const unusedMark = ^uint32(0)

// busyFrames is the length of a WAL, SQLite's own limit, from which it is let
// go before the trail is synced instead of after: a writer that does not pause
// would append during the sync, again and again. What is not synced is not
// shipped; only a power cut in this moment makes it one record.
const busyFrames = 1000

// Watch begins to watch the database of c, a connection that has its WAL open
// and does nothing else. limit is the most frames that the WAL is kept for.
func (c *Conn) Watch(limit uint32, hook func(step string)) (*Watch, error) {
	p, err := openPin(c.db.path)
	if err != nil {
		return nil, err
	}
	if hook == nil {
		hook = func(string) {}
	}
	return &Watch{c: c, pin: p, limit: limit, hook: hook}, nil
}

// Close gives up the locks, after the connection was closed: the last one to
// close copies the WAL and deletes it without asking for locks.
func (w *Watch) Close() error { return w.pin.close() }

// Held says which locks are held: on a mark, which keeps the WAL from
// beginning anew, and on mark 0, which keeps checkpoints from copying.
func (w *Watch) Held() (wal, file bool) { return w.pin.mark != 0, w.pin.zero }

// Step records what was committed since the last, if anything was; changed
// says so. read is to call fn within a read transaction of the connection.
func (w *Watch) Step(read func(fn func() error) error) (changed bool, err error) {
	idx, ok := w.pin.index()
	if !ok { // it is being set up, by who writes first
		return false, nil
	}
	settled := w.c.db.settledWAL()
	if settled && idx == w.seen && (w.pin.mark != 0 || w.pin.zero || w.given) {
		return false, nil
	}
	if w.pin.zero && w.pin.mark == 0 && settled {
		if changed, err = w.resume(idx); err != nil || !changed {
			return changed, err
		}
	} else {
		if err := w.hold(); err != nil {
			return false, err
		}
		if err := w.record(settled, read); err != nil {
			return false, err
		}
		if w.pin.zero {
			w.pin.zero = false
			if err := w.pin.unlock(0); err != nil {
				return true, err
			}
		}
	}
	if err := w.letGo(); err != nil {
		return true, err
	}
	if w.pin.mark != 0 && idx.MxFrame > w.limit {
		w.c.db.opt.Log.Warn("the WAL is not held any more: it grew beyond the limit", "database", w.c.db.path, "frames", idx.MxFrame)
		return true, w.giveWay()
	}
	return true, nil
}

// settledWAL says that the trail follows the WAL.
func (db *DB) settledWAL() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.attached && !db.doubt && !db.suspect
}

// hold takes the lock on a mark that nobody uses. Where all are in use it does
// without, until the next step: they are readers', who hold the WAL themselves.
func (w *Watch) hold() error {
	if w.pin.mark != 0 {
		return nil
	}
	w.given = false
	w.hook("lock a mark")
	idx, ok := w.pin.index()
	for mark := len(idx.ReadMark) - 1; ok && mark > 0; mark-- {
		if idx.ReadMark[mark] != unusedMark {
			continue
		}
		got, err := w.pin.lock(mark)
		if err != nil {
			return err
		}
		if !got {
			continue
		}
		// It may have been set before it was locked.
		if now, ok := w.pin.index(); ok && now.ReadMark[mark] == unusedMark {
			w.pin.mark = mark
			return nil
		}
		if err := w.pin.unlock(mark); err != nil {
			return err
		}
	}
	return nil
}

// record catches up, or has trail and database agree first. For that the
// committed state must stand still: a read transaction holds the database file,
// and the WAL up to some commit; the state that is looked at may be a later one.
func (w *Watch) record(settled bool, read func(fn func() error) error) error {
	db := w.c.db
	w.hook("record")
	if settled {
		return db.do(false, func() error { return errors.Join(db.catchUp(w.c.files()), db.rotate()) })
	}
	return read(func() error {
		return db.do(true, func() error { return db.settleWAL(w.c.files()) })
	})
}

// resume is the step after the WAL was let go. Without a commit nothing is to
// be done.
func (w *Watch) resume(idx sqlitefile.IndexHeader) (changed bool, err error) {
	db := w.c.db
	switch {
	case idx.Salt == w.salt && idx.MxFrame == w.frame:
		w.seen = idx
		return false, nil
	case idx.MxFrame == 0: // reset, or cut
		if err := db.do(false, db.emptied); err != nil {
			return false, err
		}
		w.seen = idx
		return false, nil
	}
	err = db.do(false, func() error {
		if idx.Salt != w.salt || w.frame == 0 {
			if err := db.announce(idx.Salt); err != nil {
				return err
			}
		}
		return db.catchUp(w.c.files())
	})
	if err != nil {
		return false, err
	}
	if err := w.hold(); err != nil {
		return false, err
	}
	w.hook("unlock mark 0")
	w.pin.zero = false
	return true, w.pin.unlock(0)
}

// emptied notes that there are no frames to be had.
func (db *DB) emptied() error {
	db.table.stamp.WALEmpty, db.table.stamp.WALSaltSet = true, false
	return db.table.writeStamp()
}

// announce notes that frames under these salts continue the trail.
func (db *DB) announce(salt [2]uint32) error {
	st := &db.table.stamp
	if st.WALSaltSet && st.WALSalt == salt || db.last.Origin.WAL && db.last.Origin.Salt == salt {
		return nil
	}
	st.WALSalt, st.WALSaltSet, st.WALEmpty = salt, true, false
	db.commits.clear()
	db.generation.Store(saltKey(salt))
	return db.table.writeStamp()
}

// letGo lets the WAL begin anew if all of it is in the database file and in
// the trail. It leaves in seen how the WAL stood. A writer whose WAL has grown
// to busyFrames checkpoints after each commit, in vain as long as we hold it:
// then it is worth waiting for the moment between two.
func (w *Watch) letGo() error {
	for range 50 {
		idx, ok := w.pin.index()
		w.seen = sqlitefile.IndexHeader{}
		if !ok || w.pin.zero || w.pin.mark == 0 {
			return nil
		}
		if idx.MxFrame == idx.Backfill {
			if done, err := w.letGoAt(idx); done || err != nil {
				return err
			}
		} else if w.recorded(idx) {
			w.seen = idx
		}
		if idx.MxFrame < busyFrames {
			return nil
		}
		time.Sleep(letGoPause)
	}
	return nil
}

// letGoPause is less than a commit and its checkpoint take.
const letGoPause = 50 * time.Microsecond

// letGoAt lets go of a WAL that is in the file, if that is still so when
// nobody can change it.
func (w *Watch) letGoAt(idx sqlitefile.IndexHeader) (done bool, err error) {
	db := w.c.db
	if idx.MxFrame < busyFrames {
		if err := db.do(false, db.durable); err != nil {
			return false, err
		}
	}
	w.hook("lock mark 0")
	got, err := w.pin.lock(0)
	if !got || err != nil {
		return false, err // a checkpoint is under way
	}
	now, ok := w.pin.index()
	if ok && now.MxFrame == now.Backfill && !w.recorded(now) {
		if err := db.do(false, func() error { return db.catchUp(w.c.files()) }); err != nil {
			return false, errors.Join(err, w.pin.unlock(0))
		}
		now, ok = w.pin.index()
	}
	if !ok || now.MxFrame != now.Backfill || !w.recorded(now) {
		return false, w.pin.unlock(0)
	}
	w.salt, w.frame, w.seen = now.Salt, now.MxFrame, now
	w.hook("unlock the mark")
	mark := w.pin.mark
	w.pin.zero, w.pin.mark = true, 0
	if err := w.pin.unlock(mark); err != nil || now.MxFrame < busyFrames {
		return true, err
	}
	return true, db.do(false, db.durable)
}

// recorded says that the trail has everything that the WAL has. An empty WAL
// of any generation has nothing.
func (w *Watch) recorded(idx sqlitefile.IndexHeader) bool {
	db := w.c.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if !db.attached || db.doubt || db.suspect {
		return false
	}
	return idx.MxFrame == 0 || db.wal.located && db.wal.hdr.Salt == idx.Salt && db.wal.frame == idx.MxFrame
}

// giveWay gives up both locks until there is something to record again.
func (w *Watch) giveWay() error {
	mark := w.pin.mark
	w.pin.mark, w.pin.zero, w.given = 0, false, true
	return errors.Join(w.pin.unlock(mark), w.pin.unlock(0))
}
