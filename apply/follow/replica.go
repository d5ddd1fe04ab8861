package follow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// Replica is a database file that is kept in step with a source. It is for one
// goroutine at a time; readers are other connections to the file.
//
// After an error of CatchUp the replica is whole and as Position says; Close is
// still needed, and Open finds out the rest.
type Replica struct {
	path string
	o    Options
	src  Source
	perm os.FileMode

	db, wal *os.File
	shm     *index
	slots   *slots

	pos  mark // of what readers see
	past past // of transactions before

	hdr     sqlitefile.IndexHeader // as published; PageSize and PageCount are the replica's
	gen     sqlitefile.WALHeader   // of the WAL's frames, when hdr.MxFrame > 0
	salt    [2]uint32              // for the next generation
	frames  []uint32               // page number of frame i+1
	latest  map[uint32]uint32      // page number to its last frame
	gate    int64                  // size of the WAL at which to wait for readers
	due     uint32                 // frame at which to checkpoint
	known   journal.TXID           // last transaction that the source was known to have
	damaged string                 // why the replica is no state of its history; "" if it is

	keep   keeper
	stage  stage
	buf    []byte // frames on their way to the WAL
	failed error  // a write or sync failed: nothing more is written
}

// Position says which state readers see.
func (r *Replica) Position() journal.Position { return r.pos.Position }

// Time is when the last transaction that readers see was committed, by the
// primary's clock.
func (r *Replica) Time() journal.Time { return r.pos.time }

// PageSize is that of the replica, in bytes.
func (r *Replica) PageSize() int { return r.hdr.PageSize }

// PageCount is the replica's size in pages.
func (r *Replica) PageCount() uint32 { return r.hdr.PageCount }

func (r *Replica) name(suffix string) string { return r.path + suffix }

func (r *Replica) waiter(ctx context.Context) *waiter {
	return &waiter{ctx: ctx, o: &r.o, limit: r.o.BusyTimeout}
}

// readPage reads the committed content of a page of the replica into b: from
// its last frame, else from the database file. What a file has not reads as
// zero.
func (r *Replica) readPage(no uint32, b []byte) error {
	file, off := r.db, int64(no-1)*int64(len(b))
	if n, ok := r.latest[no]; ok {
		file, off = r.wal, r.gen.FrameOffset(n)+sqlitefile.FrameHeaderSize
	}
	n, err := file.ReadAt(b, off)
	if err == io.EOF {
		clear(b[n:])
		return nil
	}
	return err
}

// checksum reads the whole replica as readers see it.
func (r *Replica) checksum(ctx context.Context) (diff.Sum, error) {
	var sum diff.Sum
	if r.hdr.PageCount == 0 {
		return sum, nil
	}
	b := make([]byte, r.hdr.PageSize)
	lock := diff.LockPage(r.hdr.PageSize)
	for no := uint32(1); no <= r.hdr.PageCount; no++ {
		if no == lock {
			continue
		}
		if no%1024 == 0 && ctx.Err() != nil {
			return sum, context.Cause(ctx)
		}
		if err := r.readPage(no, b); err != nil {
			return sum, err
		}
		sum = sum.Add(diff.PageSum(no, b))
	}
	return sum, nil
}

// intact says whether the files are still those that were opened: whoever
// removes the WAL of a replica leaves readers with the past, and the follower
// with a file that nobody reads.
func (r *Replica) intact() error {
	for suffix, f := range map[string]*os.File{"": r.db, "-wal": r.wal, "-shm": r.shm.f} {
		there, err := os.Stat(r.name(suffix))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		own, e := f.Stat()
		if e != nil {
			return e
		}
		if err != nil || !os.SameFile(there, own) {
			return fmt.Errorf("replica %s: %s is not the file that was opened: %w", r.path, r.name(suffix), ErrChanged)
		}
	}
	return nil
}

// fail remembers an error after which the files are in an unknown state:
// nothing is written any more, and opening anew finds out.
func (r *Replica) fail(err error) error {
	if r.failed == nil {
		r.failed = fmt.Errorf("replica %s: an earlier write failed, open it again: %w", r.path, err)
	}
	return err
}

// release closes everything as it is.
func (r *Replica) release() error {
	var errs []error
	errs = append(errs, r.shm.close())
	for _, f := range []*os.File{r.wal, r.db} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	errs = append(errs, r.slots.close(), r.stage.scratch.close(), r.keep.close())
	r.shm, r.wal, r.db, r.slots = nil, nil, nil, nil
	return errors.Join(errs...)
}

// syncDir makes the names in the replica's directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
