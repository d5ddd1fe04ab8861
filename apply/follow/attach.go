package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// attach carries out the steps of the package comment on files that exist.
func (r *Replica) attach(ctx context.Context) error {
	w := r.waiter(ctx)
	steps := []func(context.Context, *waiter) error{
		r.openDatabase,   // step 2
		r.adopt,          // step 2
		r.openLog,        // step 3
		r.openIndex,      // step 4
		r.readIndex,      // step 5
		r.locatePosition, // step 6
	}
	for _, step := range steps {
		if err := step(ctx, w); err != nil {
			return errors.Join(fmt.Errorf("replica %s: %w", r.path, err), r.release())
		}
	}
	r.gate, r.due = r.o.WALLimitBytes, r.hdr.MxFrame+uint32(r.o.CheckpointFrames)
	r.stage.reset(r)
	return nil
}

// openDatabase opens the file and holds SQLite's SHARED lock from now on. A
// connection in WAL mode does so too, so whoever wants to change the journal
// mode, or to delete the WAL at its close, finds that it is not alone.
func (r *Replica) openDatabase(_ context.Context, w *waiter) error {
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	r.db = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	r.perm = info.Mode().Perm()
	return w.until("a program locks the replica exclusively", func() (bool, error) {
		ok, err := tryLock(f, sqlitefile.PendingByte, 1, shared)
		if !ok || err != nil {
			return false, err
		}
		ok, err = tryLock(f, sqlitefile.SharedFirst, sqlitefile.SharedSize, shared)
		_, e := tryLock(f, sqlitefile.PendingByte, 1, unlocked)
		return ok, errors.Join(err, e)
	})
}

// adopt looks, for a file that nothing says was a replica before, whether nobody
// has it open. Else it may be a primary whose trail is elsewhere, the followed one
// itself for instance, whose programs would be locked out from now on.
func (r *Replica) adopt(_ context.Context, w *waiter) error {
	s, err := openSlots(r.name("-pos"), false, 0, &r.o)
	if err != nil {
		return err
	}
	known := s != nil && s.last.seq > 0
	if err := s.close(); err != nil || known {
		return err
	}
	err = w.until("programs have it open, and nothing says that it is a replica", func() (bool, error) {
		return tryLock(r.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, exclusive)
	})
	if err == nil {
		_, err = tryLock(r.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, shared)
	}
	return err
}

// exclusively runs fn while nobody else holds any lock on the database file.
func (r *Replica) exclusively(w *waiter, fn func() error) error {
	pending, rest := false, false
	err := w.until("programs are using the replica in a rollback journal mode", func() (ok bool, err error) {
		if !pending {
			// It keeps new readers out, so that those who are there get fewer.
			if pending, err = tryLock(r.db, sqlitefile.PendingByte, 1, exclusive); !pending {
				return false, err
			}
		}
		rest, err = tryLock(r.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, exclusive)
		return rest, err
	})
	if err == nil {
		err = fn()
	}
	if rest {
		_, e := tryLock(r.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, shared)
		err = errors.Join(err, e)
	}
	if pending {
		_, e := tryLock(r.db, sqlitefile.PendingByte, 1, unlocked)
		err = errors.Join(err, e)
	}
	return err
}

// openLog opens the WAL. A database in a rollback mode has none: its header
// says so, yet readers use a WAL that is there and not empty, whatever the
// header says. So it is given one, at a moment when nobody reads.
func (r *Replica) openLog(_ context.Context, w *waiter) error {
	if err := r.refuseJournal(); err != nil {
		return err
	}
	h, err := sqlitefile.ReadHeader(r.db)
	if err != nil {
		return err
	}
	info, err := os.Stat(r.name("-wal"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if h.WAL() || err == nil && info.Size() > 0 {
		r.wal, err = os.OpenFile(r.name("-wal"), os.O_RDWR|os.O_CREATE|noFollow, r.perm)
		return err
	}
	return r.exclusively(w, func() error {
		if err := r.refuseJournal(); err != nil {
			return err
		}
		if r.wal, err = os.OpenFile(r.name("-wal"), os.O_RDWR|os.O_CREATE|noFollow, r.perm); err != nil {
			return err
		}
		r.gen = sqlitefile.NewWALHeader(h.PageSize, 0, [2]uint32{rand.Uint32(), rand.Uint32()})
		r.o.hook("begin log")
		if _, err := r.wal.WriteAt(r.gen.Append(nil), 0); err != nil {
			return err
		}
		if err := r.o.sync(r.wal); err != nil {
			return err
		}
		return syncDir(filepath.Dir(r.path))
	})
}

// refuseJournal looks for a hot journal: what a program left that wrote to the
// replica and died. Only SQLite rolls it back.
func (r *Replica) refuseJournal() error {
	f, err := os.Open(r.name("-journal"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b [8]byte
	n, err := f.ReadAt(b[:], 0)
	if e := f.Close(); e != nil {
		return e
	}
	if err != nil && err != io.EOF {
		return err
	}
	if n == 0 || b == [8]byte{} {
		return nil // a journal that was committed: TRUNCATE and PERSIST leave such
	}
	return fmt.Errorf("another program's transaction is unfinished beside it: let SQLite roll it back (sqlite3 %s 'SELECT 1 FROM sqlite_schema'), then follow again: %w",
		r.path, journal.ErrLocked)
}

// openIndex opens the wal-index and takes the lock of the writer, for life:
// others that want to write are told that the database is locked.
func (r *Replica) openIndex(_ context.Context, w *waiter) (err error) {
	if r.shm, err = openIndex(r.name("-shm"), r.perm, w); err != nil {
		return err
	}
	return w.until("another program writes to the replica, or follows into it", func() (bool, error) {
		return r.shm.lock(lockWrite, 1, exclusive)
	})
}

// readIndex takes over the header that readers use, or rebuilds the index from
// the log when its last writer died in the middle.
func (r *Replica) readIndex(_ context.Context, w *waiter) error {
	hdr, ok := r.shm.header()
	if ok {
		var err error
		if ok, err = r.readLog(hdr.MxFrame, &hdr); err != nil {
			return err
		}
		r.hdr = hdr
	}
	if !ok {
		if err := r.recover(w); err != nil {
			return err
		}
	}
	if r.hdr.MxFrame > 0 {
		return nil
	}
	return r.readSize()
}

// readSize finds page size and count of a database without frames. The file's
// length counts, not what the header says: a checkpoint has cut it exactly.
func (r *Replica) readSize() error {
	r.salt = [2]uint32{r.hdr.Salt[0] + 1, rand.Uint32()}
	r.latest, r.frames = map[uint32]uint32{}, r.frames[:0]
	h, err := sqlitefile.ReadHeader(r.db)
	if err != nil {
		return err
	}
	info, err := r.db.Stat()
	if err != nil {
		return err
	}
	live := r.hdr
	size := int64(h.PageSize)
	r.hdr.PageSize, r.hdr.PageCount = h.PageSize, uint32(min((info.Size()+size-1)/size, sqlitefile.MaxPages))
	if live.PageSize != r.hdr.PageSize || live.PageCount != r.hdr.PageCount {
		r.shm.publish(&r.hdr)
	}
	return nil
}

// readLog reads frames up to limit and remembers which page each holds. With
// want, the last of them must be that header's; without, they end where a
// commit last did.
func (r *Replica) readLog(limit uint32, want *sqlitefile.IndexHeader) (bool, error) {
	r.frames, r.latest = r.frames[:0], map[uint32]uint32{}
	if limit == 0 {
		return true, nil
	}
	var b [sqlitefile.WALHeaderSize]byte
	if n, err := r.wal.ReadAt(b[:], 0); err != nil && err != io.EOF {
		return false, err
	} else if r.gen, err = sqlitefile.ParseWALHeader(b[:n]); err != nil {
		return false, nil
	}
	if want != nil && (r.gen.Salt != want.Salt || r.gen.PageSize != want.PageSize || r.gen.BigEndian != want.BigEndian) {
		return false, nil
	}
	last := sqlitefile.IndexHeader{}
	scan := sqlitefile.NewWALScanner(r.wal, r.gen)
	for {
		n, f, _, err := scan.Next(limit)
		if err == io.EOF {
			break
		}
		if err != nil {
			return false, err
		}
		r.frames = append(r.frames, f.Page)
		if f.Commit != 0 {
			last.MxFrame, last.PageCount, last.FrameChecksum = n, f.Commit, f.Checksum
		}
	}
	r.frames = r.frames[:last.MxFrame]
	for i, no := range r.frames {
		r.latest[no] = uint32(i) + 1
	}
	if want != nil {
		return last.MxFrame == want.MxFrame && last.FrameChecksum == want.FrameChecksum && last.PageCount == want.PageCount, nil
	}
	r.hdr.MxFrame, r.hdr.PageCount, r.hdr.FrameChecksum = last.MxFrame, last.PageCount, last.FrameChecksum
	r.hdr.Salt, r.hdr.PageSize, r.hdr.BigEndian = r.gen.Salt, r.gen.PageSize, r.gen.BigEndian
	return true, nil
}

// recover rebuilds the index as SQLite's walIndexRecover does. Words of the
// hash tables that are right already are not touched: a reader may be using
// them with a snapshot it took before the writer died.
func (r *Replica) recover(w *waiter) error {
	r.o.hook("recover")
	err := w.until("another program checkpoints or recovers the replica", func() (bool, error) {
		return r.shm.lock(lockCkpt, 2, exclusive)
	})
	if err != nil {
		return err
	}
	change := r.hdr.Change
	r.hdr = sqlitefile.IndexHeader{Change: change}
	ok, err := r.readLog(1<<32-1, nil)
	if err == nil && !ok || r.hdr.MxFrame == 0 {
		r.hdr = sqlitefile.IndexHeader{Change: change, PageSize: sqlitefile.MinPageSize}
		r.frames, r.latest = r.frames[:0], map[uint32]uint32{}
	}
	if err == nil {
		err = r.shm.build(r.frames)
	}
	if err == nil {
		r.shm.setBackfill(0)
		r.shm.setAttempted(r.hdr.MxFrame)
		r.shm.setMark(0, 0)
		for i := 1; i < readMarks && err == nil; i++ {
			mark := uint32(sqlitefile.ReadMarkUnused)
			if i == 1 && r.hdr.MxFrame > 0 {
				mark = r.hdr.MxFrame
			}
			_, err = r.setFreeMark(i, mark)
		}
		r.shm.publish(&r.hdr)
	}
	return errors.Join(err, r.shm.unlock(lockCkpt, 2))
}

// setFreeMark sets a read mark that no reader uses at the moment; false when
// one does.
func (r *Replica) setFreeMark(i int, n uint32) (bool, error) {
	ok, err := r.shm.lock(int64(lockRead0+i), 1, exclusive)
	if !ok || err != nil {
		return false, err
	}
	r.shm.setMark(i, n)
	return true, r.shm.unlock(int64(lockRead0+i), 1)
}
