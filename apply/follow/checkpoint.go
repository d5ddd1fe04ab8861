package follow

import (
	"errors"
	"slices"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// checkpoint copies frames into the database file, as far as no reader is in
// the way; it never waits. When all are copied it makes them durable, and the
// WAL may begin anew.
func (r *Replica) checkpoint() error {
	if r.failed != nil {
		return r.failed
	}
	r.due = r.hdr.MxFrame + uint32(r.o.CheckpointFrames)
	if r.hdr.MxFrame == 0 || r.shm.backfill() == r.hdr.MxFrame {
		return nil
	}
	ok, err := r.shm.lock(lockCkpt, 1, exclusive)
	if !ok || err != nil {
		return err
	}
	limit, err := r.safeFrame()
	if err == nil && limit > r.shm.backfill() {
		ok, err = r.shm.lock(lockRead0, 1, exclusive)
		if ok && err == nil {
			if err = r.copyFrames(limit); err != nil {
				err = r.fail(err)
			}
			err = errors.Join(err, r.shm.unlock(lockRead0, 1))
		}
	}
	return errors.Join(err, r.shm.unlock(lockCkpt, 1))
}

// safeFrame is the last frame that no reader's snapshot ends before. Marks that
// nobody uses are moved out of the way.
func (r *Replica) safeFrame() (uint32, error) {
	limit := r.hdr.MxFrame
	for i := 1; i < readMarks; i++ {
		mark := r.shm.mark(i)
		if limit <= mark {
			continue
		}
		to := uint32(sqlitefile.ReadMarkUnused)
		if i == 1 {
			to = limit
		}
		ok, err := r.setFreeMark(i, to)
		if err != nil {
			return 0, err
		}
		if !ok {
			limit = mark
		}
	}
	return limit, nil
}

// copyFrames writes pages whose last frame is not beyond limit. A page with a
// later frame can wait: its readers look into the WAL.
func (r *Replica) copyFrames(limit uint32) error {
	r.o.hook("checkpoint")
	done := r.shm.backfill()
	r.shm.setAttempted(limit)
	if err := r.keep.sync(); err != nil {
		return err
	}
	if err := r.o.sync(r.wal); err != nil {
		return err
	}
	var pages []uint32
	for n := done + 1; n <= limit; n++ {
		if no := r.frames[n-1]; r.latest[no] == n && no <= r.hdr.PageCount {
			pages = append(pages, no)
		}
	}
	slices.Sort(pages)
	size := int64(r.hdr.PageSize)
	b := make([]byte, 0, max(256<<10, size))
	for i, no := range pages {
		b = b[:len(b)+int(size)]
		if err := r.readPage(no, b[len(b)-int(size):]); err != nil {
			return err
		}
		if i+1 < len(pages) && pages[i+1] == no+1 && len(b)+int(size) <= cap(b) {
			continue
		}
		r.o.hook("copy pages")
		if _, err := r.db.WriteAt(b, int64(no)*size-int64(len(b))); err != nil {
			return err
		}
		b = b[:0]
	}
	if limit == r.hdr.MxFrame {
		r.o.hook("truncate database")
		if err := r.db.Truncate(int64(r.hdr.PageCount) * size); err != nil {
			return err
		}
		r.o.hook("sync database")
		if err := r.o.sync(r.db); err != nil {
			return err
		}
		r.o.hook("write position")
		if err := r.slots.write(r.pos); err != nil {
			return err
		}
	}
	r.o.hook("set backfill")
	r.shm.setBackfill(limit)
	return nil
}
