package capture

import (
	"errors"
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// letGo lets the WAL begin anew if all of it is in the database file and in
// the trail. It leaves in seen how the WAL stood. When a checkpoint that reaches
// the WAL's end is near it waits for that, and records what is committed
// meanwhile.
func (w *Watch) letGo() (err error) {
	for range mostLooks {
		idx, ok := w.pin.index()
		w.seen = sqlitefile.IndexHeader{}
		if !ok || w.pin.zero || w.pin.mark == 0 || w.over != nil {
			return nil
		}
		w.pace.look(idx)
		if !w.recorded(idx) {
			if !w.pace.near(idx) {
				return nil
			}
			if idx, err = w.catchUp(); err != nil {
				return err
			}
		}
		all := w.recorded(idx)
		switch {
		case idx.MxFrame == idx.Backfill:
			if done, err := w.letGoAt(idx); done || err != nil {
				return err
			}
		case all && w.pace.open && idx.BackfillAttempted > idx.Backfill:
			waited, err := w.durableFirst(idx)
			if err != nil {
				return err
			}
			if waited {
				continue // the checkpoint may be through
			}
			w.handOver(idx)
			return w.c.db.do(false, w.c.db.rotate) // while the writer waits for its checkpoint
		case all:
			w.seen = idx
		}
		if !w.pace.near(idx) {
			return nil
		}
		pause()
	}
	return nil
}

// durableFirst makes the trail durable before a WAL is let go that is not
// long, and says that it took the time.
func (w *Watch) durableFirst(idx sqlitefile.IndexHeader) (waited bool, err error) {
	db := w.c.db
	if idx.MxFrame >= busyFrames {
		w.syncBeside()
		return false, nil
	}
	err = db.do(false, func() error {
		waited = db.w.Unsynced()
		return db.durable()
	})
	return waited, err
}

// mostLooks is how often a step looks whether a checkpoint has come.
const mostLooks = 50

// catchUp records what there is near the end, and says how the WAL stands then.
func (w *Watch) catchUp() (idx sqlitefile.IndexHeader, err error) {
	w.hook("record near the end")
	db := w.c.db
	if err := db.do(false, func() error { return db.catchUp(w.c.files()) }); err != nil {
		return idx, err
	}
	err = w.mark()
	return w.pace.last, err
}

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
	w.hook("unlock the mark")
	return true, w.gone(now, w.pin.unlock(w.pin.mark))
}

// gone notes that the mark was let go, with that result, and mark 0 is held.
func (w *Watch) gone(idx sqlitefile.IndexHeader, err error) error {
	w.salt, w.frame, w.seen = idx.Salt, idx.MxFrame, idx
	w.pin.zero, w.pin.mark, w.pin.value = true, 0, 0
	if idx.MxFrame >= busyFrames {
		w.syncBeside()
	}
	return err
}

// syncBeside makes the trail durable without keeping anybody from recording.
func (w *Watch) syncBeside() {
	db := w.c.db
	db.mu.Lock()
	defer db.mu.Unlock()
	if w.syncing != nil || db.w == nil || !db.w.Unsynced() {
		return
	}
	syncing, sync := make(chan error, 1), db.w.Beside()
	w.syncing = syncing
	go func() { syncing <- sync() }()
}

// synced takes note of a sync that is through.
func (w *Watch) synced() error {
	select {
	case err := <-w.syncing: // never of nil
		w.syncing = nil
		return err
	default:
		return nil
	}
}

// handedOver is what became of a handover.
type handedOver struct {
	done bool // the mark was let go, and mark 0 is held instead
	idx  sqlitefile.IndexHeader
	err  error
}

// handOver lets go of a WAL that a checkpoint is copying to its end, all of
// which is recorded, in the moment in which the checkpoint is through: mark 0
// can be locked then. It does not wait for that; until it is known the marks
// stay as they are.
func (w *Watch) handOver(idx sqlitefile.IndexHeader) {
	w.hook("hand over")
	over, pin, mark := make(chan handedOver, 1), w.pin, w.pin.mark
	w.over, w.seen = over, idx
	go func() {
		w.hook("wait for mark 0")
		h := handedOver{err: pin.waitZero()}
		if h.err == nil {
			var ok bool
			h.idx, ok = pin.index()
			h.done = ok && h.idx.Salt == idx.Salt && h.idx.MxFrame == idx.MxFrame && h.idx.Backfill == idx.MxFrame
			if !h.done {
				mark = 0
			}
			h.err = pin.unlock(mark)
		}
		over <- h
		w.hook("handed over")
	}()
}

// handoverWait is how long a step waits for a handover to be through.
const handoverWait = 10 * time.Millisecond

// handedOver waits for a handover and takes note of what became of it: a writer
// that went on meanwhile is about to checkpoint again, and one whose WAL began
// anew soon will.
func (w *Watch) handedOver() (changed bool, err error) {
	if w.over == nil {
		return false, nil
	}
	timer := time.NewTimer(handoverWait)
	defer timer.Stop()
	select {
	case h := <-w.over:
		w.over = nil
		if h.done {
			return true, w.gone(h.idx, h.err)
		}
		return true, h.err
	case <-timer.C:
		return false, nil
	}
}
