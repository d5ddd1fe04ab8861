package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// writeBytes is how much is written to the WAL at once, at least.
const writeBytes = 4 << 20

// ErrChanged says that the replica's files were exchanged or removed, or that
// its wal-index is not what this follower made of it. Opening again finds out
// what is there now; Run does so by itself.
var ErrChanged = errors.New("another program changed the replica's files")

// commit makes the staged transactions visible, all at once. After an error
// the stage is what readers see, and whoever calls begins again from there.
func (r *Replica) commit(ctx context.Context) error {
	if r.stage.txs == 0 {
		return nil
	}
	err := r.commitStage(ctx)
	if err != nil {
		r.stage.reset(r)
		err = errors.Join(err, r.keep.cut())
	}
	return err
}

func (r *Replica) commitStage(ctx context.Context) error {
	s := &r.stage
	if r.failed != nil {
		return r.failed
	}
	if !r.shm.same(&r.hdr) {
		return ErrChanged
	}
	if err := r.makeRoom(ctx); err != nil {
		return err
	}
	if s.size != r.hdr.PageSize {
		if err := r.emptyLog(ctx); err != nil {
			return err
		}
	}
	if err := r.keep.flush(); err != nil {
		return err
	}
	pages, err := r.writeFrames()
	if err != nil {
		return err
	}
	txs := s.txs
	r.pos = s.pos
	s.committed()
	_, bytes := r.informed(time.Time{})
	r.o.Monitor.note(r, bytes, time.Time{})
	if f := r.o.Events.Applied; f != nil {
		at := r.pos.time.Time()
		f(Applied{
			Position: r.pos.Position, Time: at, Transactions: txs, Pages: pages,
			Behind: uint64(r.behind()), Delay: r.o.Now().Sub(at),
		})
	}
	if err := r.keep.committed(); err != nil {
		return err
	}
	if r.hdr.MxFrame >= r.due {
		return r.checkpoint()
	}
	return nil
}

// behind is how many transactions the source had more, when last asked.
func (r *Replica) behind() journal.TXID {
	if r.known > r.pos.TXID {
		return r.known - r.pos.TXID
	}
	return 0
}

// writeFrames writes the staged pages to the WAL and publishes them.
func (r *Replica) writeFrames() (int, error) {
	s := &r.stage
	if r.hdr.MxFrame == 0 {
		if err := r.beginLog(s.size); err != nil {
			return 0, r.fail(err)
		}
	}
	slices.Sort(s.dirty)
	page := s.buffer()
	defer s.recycle(page)
	sum := r.gen.Checksum
	if r.hdr.MxFrame > 0 {
		sum = r.hdr.FrameChecksum
	}
	r.buf = r.buf[:0]
	off := r.gen.FrameOffset(r.hdr.MxFrame + 1)
	for _, no := range s.dirty {
		content, err := s.content(s.pages[no], page)
		if err != nil {
			return 0, err // nothing is visible yet
		}
		r.buf, sum = r.gen.AppendFrame(r.buf, no, 0, content, sum)
		if len(r.buf) >= writeBytes {
			if _, err := r.wal.WriteAt(r.buf, off); err != nil {
				return 0, r.fail(err)
			}
			off += int64(len(r.buf))
			r.buf = r.buf[:0]
		}
	}
	r.o.hook("write frames")
	last := s.buffer()
	clear(last)
	s.pos.put(last)
	r.buf, sum = r.gen.AppendFrame(r.buf, positionPage, s.count, last, sum)
	s.recycle(last)
	if _, err := r.wal.WriteAt(r.buf, off); err != nil {
		return 0, r.fail(err)
	}
	r.o.hook("frames written")
	if r.o.SyncEachCommit {
		if err := r.o.sync(r.wal); err != nil {
			return 0, r.fail(err)
		}
	}
	return len(s.dirty), r.publish(sum)
}

// publish enters the frames that were written into the index and makes them
// what readers see.
func (r *Replica) publish(sum [2]uint32) error {
	s := &r.stage
	n := r.hdr.MxFrame
	for i := range len(s.dirty) + 1 {
		no := uint32(positionPage)
		if i < len(s.dirty) {
			no = s.dirty[i]
		}
		n++
		if err := r.shm.append(n, no); err != nil {
			return r.fail(err)
		}
		r.frames = append(r.frames, no)
		r.latest[no] = n
	}
	r.hdr.MxFrame, r.hdr.PageCount, r.hdr.FrameChecksum = n, s.count, sum
	r.hdr.PageSize, r.hdr.Salt, r.hdr.BigEndian = s.size, r.gen.Salt, r.gen.BigEndian
	r.shm.publish(&r.hdr)
	// Readers that cannot write to the -shm file need a mark set for them.
	if _, err := r.setFreeMark(1, n); err != nil {
		return r.fail(err)
	}
	return nil
}

// beginLog writes the header of a new generation, and makes it durable before
// any frame of it can be: frames of the new generation behind the old header
// would be taken for nothing, and what the old generation's end says with them.
func (r *Replica) beginLog(size int) error {
	info, err := r.wal.Stat()
	if err != nil {
		return err
	}
	if info.Size() > r.o.WALLimitBytes {
		// Readers made it grow. It keeps a header: without one, readers of a
		// database in a rollback mode would not know that there is a WAL.
		if err := r.wal.Truncate(sqlitefile.WALHeaderSize); err != nil {
			return err
		}
	}
	r.gen = sqlitefile.NewWALHeader(size, r.gen.Sequence+1, r.salt)
	r.o.hook("write log header")
	if _, err := r.wal.WriteAt(r.gen.Append(nil), 0); err != nil {
		return err
	}
	r.o.hook("sync log header")
	return r.o.sync(r.wal)
}

// restart lets the WAL begin anew, if all of it is in the database file and
// nobody reads it. CKPT is held as well, so that a checkpointer of SQLite
// before 3.51.3 cannot meet the reset half-way.
func (r *Replica) restart() (bool, error) {
	if r.hdr.MxFrame == 0 {
		return true, nil
	}
	if r.shm.backfill() != r.hdr.MxFrame {
		return false, nil
	}
	ok, err := r.shm.lock(lockCkpt, 1, exclusive)
	if !ok || err != nil {
		return false, err
	}
	ok, err = r.shm.lock(lockRead1, readMarks-1, exclusive)
	if ok && err == nil {
		err = r.resetHeader()
		err = errors.Join(err, r.shm.unlock(lockRead1, readMarks-1))
	}
	return ok && err == nil, errors.Join(err, r.shm.unlock(lockCkpt, 1))
}

func (r *Replica) resetHeader() error {
	r.o.hook("restart")
	if err := r.slots.write(r.pos); err != nil {
		return r.fail(err)
	}
	r.salt = [2]uint32{r.hdr.Salt[0] + 1, rand.Uint32()}
	r.hdr.MxFrame, r.hdr.Salt = 0, r.salt
	r.shm.publish(&r.hdr)
	r.o.hook("reset backfill")
	r.shm.setBackfill(0)
	r.shm.setAttempted(0)
	r.o.hook("reset marks")
	r.shm.setMark(1, 0)
	for i := 2; i < readMarks; i++ {
		r.shm.setMark(i, sqlitefile.ReadMarkUnused)
	}
	r.frames = r.frames[:0]
	clear(r.latest)
	r.gate, r.due = r.o.WALLimitBytes, uint32(r.o.CheckpointFrames)
	return nil
}

// makeRoom restarts the WAL when it can be, and when it is too long waits a
// bounded time for that.
func (r *Replica) makeRoom(ctx context.Context) error {
	if ok, err := r.restart(); ok || err != nil {
		return err
	}
	size := r.gen.FrameOffset(r.hdr.MxFrame + 1)
	if size <= r.gate {
		return nil
	}
	w := waiter{ctx: ctx, o: &r.o, limit: r.o.WALWait}
	err := w.until("readers keep the WAL from beginning anew", func() (bool, error) {
		if err := r.checkpoint(); err != nil {
			return false, err
		}
		return r.restart()
	})
	if !errors.Is(err, errBusy) {
		return err
	}
	r.gate = size + r.o.WALLimitBytes
	r.waiting("readers keep old snapshots: the WAL of the replica grows")
	return nil
}

func (r *Replica) waiting(what string) {
	if f := r.o.Events.Waiting; f != nil {
		f(what)
	}
}

// emptyLog checkpoints all and restarts the WAL: pages of another size need a
// WAL of their own. It waits for readers of the old size for as long as they
// read, because nothing else would be right; the event tells of it.
func (r *Replica) emptyLog(ctx context.Context) error {
	for {
		w := waiter{ctx: ctx, o: &r.o, limit: r.o.WALWait}
		err := w.until("readers of the old page size", func() (bool, error) {
			if err := r.checkpoint(); err != nil {
				return false, err
			}
			return r.restart()
		})
		if !errors.Is(err, errBusy) {
			return err
		}
		r.waiting(fmt.Sprintf("transaction %d changes the page size, which has to wait until readers of the old size end their transactions", r.stage.pos.TXID))
	}
}
