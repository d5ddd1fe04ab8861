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
// What a page was before a commit is lost when a checkpoint copies the frame
// that has what it is now, unless an earlier frame has it, or [recent]. Then it
// is recorded in full, some ten times as large.
//
// # The lock on a mark
//
// So a shared lock on any one of these keeps the WAL as it is, and no writer
// waits for it. A checkpoint copies no frame beyond the value of a mark that is
// held, and we give ours that of the last frame that was recorded, as SQLite's
// readers set theirs: so the database file has what pages were before the
// commits that are not recorded yet. The mark is set anew after each catch-up.
//
// # The open mark, for a checkpoint that reaches the end
//
// A WAL that begins anew was copied to its end, and a writer that does not pause
// checkpoints right after a commit, which nobody can have recorded. So a short
// way before the frame at which we expect its checkpoint (see pace), and when all
// but the last commits are recorded, our mark gets the value that stands for none:
// it still keeps the WAL, and checkpoints copy what they like. From here on we
// look again and again without a pause of a millisecond. A checkpoint syncs the
// WAL before it writes to the database file, which is time enough to record the
// last commits with what their pages were; what it is too short for is recorded
// in full.
//
// Where more is missing the mark stays. The checkpoint that it stops takes the
// writer's time while we catch up, and the next, right after it, reaches the end.
// Nothing more clever was found to do: with checkpoints kept from copying anything
// until we were there, a writer was held up by nothing while a busy disk held up
// the trail, and the WAL became twice as long.
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
// A checkpoint holds mark 0 exclusively. While one is under way, and all was
// recorded, a goroutine waits for the lock (see handover), since a writer that
// does not pause begins its next transaction within microseconds.
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
	long  bool      // the WAL is beyond the limit, and that was said
	salt  [2]uint32 // where the WAL stood when its mark was let go
	frame uint32
	pace  pace
	// What became of a handover or of a sync that is under way; nil: none is.
	over    chan handedOver
	syncing chan error
	// hook, if set, is called between the steps of the protocol.
	hook func(step string)
}

// unusedMark is the value of a read mark that nobody uses.
const unusedMark = ^uint32(0)

// busyFrames is the length of a WAL, SQLite's own limit, from which it is let
// go while the trail is synced instead of after: a writer that does not pause
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
	return &Watch{c: c, pin: p, limit: limit, pace: pace{due: busyFrames}, hook: hook}, nil
}

// Close gives up the locks, after the connection was closed: the last one to
// close copies the WAL and deletes it without asking for locks.
func (w *Watch) Close() error { return w.pin.close() }

// Held says which locks are held: on a mark, which keeps the WAL from
// beginning anew, and on mark 0, which keeps checkpoints from copying.
func (w *Watch) Held() (wal, file bool) { return w.pin.mark != 0, w.pin.zero }

// Step records what was committed since the last, if anything was; changed
// says so. read is to call fn within a read transaction of the connection.
// After an error of the system on a file of the trail, such as a full disk, the
// next one goes on where this one could not.
func (w *Watch) Step(read func(fn func() error) error) (changed bool, err error) {
	changed, err = w.step(read)
	if db := w.c.db; err != nil && db.trailFailed(err) {
		db.refuse(err, "the trail cannot be written: what is committed stays in the WAL until it can, or the WAL grows too long")
	}
	return changed, errors.Join(err, w.limited(err != nil))
}

func (w *Watch) step(read func(fn func() error) error) (changed bool, err error) {
	over, err := w.handedOver()
	if err = errors.Join(err, w.synced()); err != nil {
		return true, err
	}
	idx, ok := w.pin.index()
	if !ok { // it is being set up, by who writes first
		return false, nil
	}
	settled := w.c.db.settledWAL()
	w.pace.look(idx)
	if settled && sameFrames(idx, w.seen) && (w.pin.mark != 0 || w.pin.zero || w.given) {
		return over, w.mark() // which may not have been possible before
	}
	if w.pin.zero && w.pin.mark == 0 && settled {
		if changed, err = w.resume(idx); err != nil || !changed {
			return changed || over, err
		}
	} else {
		if err := w.hold(idx); err != nil {
			return false, err
		}
		if !settled {
			if ok, err := w.holdFile(); !ok || err != nil {
				return false, err
			}
		}
		if err := w.record(settled, read); err != nil {
			return false, err
		}
		if err := w.mark(); err != nil {
			return true, err
		}
		if w.pin.zero && w.pin.mark != 0 && w.over == nil {
			w.pin.zero = false
			if err := w.pin.unlock(0); err != nil {
				return true, err
			}
		}
	}
	return true, w.letGo()
}

// Wait is when the next Step is due after one that found something: the most
// that is given, or sooner when a checkpoint is expected.
func (w *Watch) Wait(most time.Duration) time.Duration { return w.pace.wait(most) }

// News says that the WAL is not as it was when the last Step found nothing to
// be done.
func (w *Watch) News() bool {
	idx, ok := w.pin.index()
	return ok && !sameFrames(idx, w.seen)
}

// sameFrames compares all but the marks, which readers set.
func sameFrames(a, b sqlitefile.IndexHeader) bool {
	a.ReadMark = b.ReadMark
	return a == b
}

// settledWAL says that the trail follows the WAL.
func (db *DB) settledWAL() bool {
	db.mu.Lock()
	defer db.mu.Unlock()
	return db.attached && !db.doubt && !db.suspect
}

// hold takes the lock on a mark, when there is none on any, and lets nothing be
// copied until all is recorded.
func (w *Watch) hold(idx sqlitefile.IndexHeader) error {
	if w.pin.mark != 0 {
		return nil
	}
	w.given = false
	w.hook("lock a mark")
	return w.take(idx.Backfill)
}

// holdFile keeps checkpoints from writing to the database file while all of its
// pages are compared: what commits of the WAL made of them would be in it before
// the state was found in which the trail ends, and the commits no records of
// their own. While a checkpoint is under way it cannot.
func (w *Watch) holdFile() (ok bool, err error) {
	if w.pin.zero {
		return true, nil
	}
	w.hook("lock mark 0 to compare")
	w.pin.zero, err = w.pin.lock(0)
	return w.pin.zero, err
}

// take holds a mark that has value instead of the one that is held, if any. Our
// own is changed where nobody else reads by it. Where all others are readers'
// we read by one of theirs when we have none, and keep the one that we have else.
func (w *Watch) take(value uint32) error {
	own := w.pin.mark
	try := [5]int{own, 4, 3, 2, 1}
	for _, mark := range try {
		if mark == 0 || mark == 1 && value == unusedMark { // readers who may not set marks rely on the first to be one
			continue
		}
		got, err := w.pin.set(mark, value)
		if err != nil {
			return err
		}
		if got {
			return w.changed(mark, value)
		}
	}
	for mark := 4; own == 0 && mark > 0; mark-- {
		got, err := w.pin.lock(mark)
		if err != nil {
			return err
		}
		if !got {
			continue
		}
		if idx, ok := w.pin.index(); ok {
			return w.changed(mark, idx.ReadMark[mark])
		}
		return w.pin.unlock(mark)
	}
	return nil
}

// changed notes which mark is held, and lets go of the one before.
func (w *Watch) changed(mark int, value uint32) error {
	own := w.pin.mark
	w.pin.mark, w.pin.value = mark, value
	if own == 0 || own == mark {
		return nil
	}
	w.hook("unlock the mark before")
	return w.pin.unlock(own)
}

// mark sets the mark that is held to what is recorded, or opens it. How the WAL
// stands is looked up: the writer went on while we recorded.
func (w *Watch) mark() error {
	w.hook("look where the mark is to be")
	idx, ok := w.pin.index()
	if !ok || w.over != nil {
		return nil
	}
	w.pace.look(idx)
	value := unusedMark
	if frame, ok := w.recordedTo(idx); ok {
		value = w.pace.mark(frame)
	}
	if w.pin.mark == 0 || w.pin.value == value {
		return nil
	}
	w.hook("set the mark")
	return w.take(value)
}

// record catches up, or has trail and database agree first. For that the
// committed state must stand still: the lock on mark 0 holds the database file,
// a read transaction the WAL up to some commit; the state that is looked at may
// be a later one.
func (w *Watch) record(settled bool, read func(fn func() error) error) error {
	db := w.c.db
	w.hook("record")
	if settled {
		return db.do(false, func() error {
			err := db.catchUp(w.c.files())
			if w.pace.leisure() { // else in letGo
				err = errors.Join(err, db.rotate())
			}
			return err
		})
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
	// Before anything else: a checkpoint looks at the marks a little before it
	// finds that mark 0 is locked, and one that is due is tried with each commit.
	if err := w.hold(idx); err != nil {
		return false, err
	}
	err = db.do(false, func() error {
		if idx.Salt != w.salt || w.frame == 0 {
			if err := db.announce(idx.Salt); err != nil {
				return err
			}
		}
		return db.catchUp(w.c.files())
	})
	if mark := w.pin.mark; err != nil && mark != 0 { // the next step begins again, and mark 0 holds the WAL
		w.pin.mark, w.pin.value = 0, 0
		err = errors.Join(err, w.pin.unlock(mark))
	}
	if err != nil {
		return false, err
	}
	if w.pin.mark == 0 { // all are being set in this moment
		return true, nil
	}
	if err := w.mark(); err != nil {
		return true, err
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

// recorded says that the trail has everything that the WAL has. An empty WAL
// of any generation has nothing.
func (w *Watch) recorded(idx sqlitefile.IndexHeader) bool {
	frame, ok := w.recordedTo(idx)
	return ok && frame == idx.MxFrame
}

// recordedTo is the last frame of a WAL that the trail has.
func (w *Watch) recordedTo(idx sqlitefile.IndexHeader) (frame uint32, ok bool) {
	db := w.c.db
	db.mu.Lock()
	defer db.mu.Unlock()
	switch {
	case !db.attached || db.doubt || db.suspect:
		return 0, false
	case idx.MxFrame == 0:
		return 0, true
	}
	return db.wal.frame, db.wal.located && db.wal.hdr.Salt == idx.Salt
}

// limited gives up a WAL that grew beyond the limit. After a step that failed
// it may be mark 0 that is held, and copying what waits.
func (w *Watch) limited(failed bool) error {
	idx, ok := w.pin.index()
	switch {
	case !ok:
		return nil
	case idx.MxFrame <= w.limit:
		w.long = false
		return nil
	case w.over != nil, w.pin.mark == 0 && !(failed && w.pin.zero):
		return nil
	}
	if !w.long {
		w.c.db.opt.Log.Warn("the WAL is not held any more: it grew beyond the limit", "database", w.c.db.path, "frames", idx.MxFrame)
	}
	w.long = true
	return w.giveWay()
}

// giveWay gives up both locks until there is something to record again.
func (w *Watch) giveWay() error {
	mark := w.pin.mark
	w.pin.mark, w.pin.value, w.pin.zero, w.given = 0, 0, false, true
	return errors.Join(w.pin.unlock(mark), w.pin.unlock(0))
}
