package follow

import (
	"errors"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// The locks of a wal-index, as offsets from sqlitefile.WALWriteLock.
const (
	lockWrite = 0
	lockCkpt  = 1
	lockRecov = 2
	lockRead0 = 3
	lockRead1 = 4 // to lockRead1+3

	readMarks = 5

	// deadMan is the byte on which every connection holds a shared lock: who
	// finds none there is the first, and what the file says is of the past.
	deadMan = 128
)

// index is the file R-shm, mapped region by region.
type index struct {
	f       *os.File
	regions [][]byte
	barrier atomic.Uint32
	hook    func(step string)
}

// openIndex opens the file by SQLite's protocol: whoever is first empties it
// (down to 3 bytes, as SQLite does), everybody holds a shared lock on the dead
// man's switch.
func openIndex(name string, perm os.FileMode, w *waiter) (*index, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|noFollow, perm)
	if err != nil {
		return nil, err
	}
	x := &index{f: f, hook: w.o.hook}
	if err := w.until("the -shm file of the replica is being set up", x.attach); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := x.grow(0); err != nil {
		return nil, errors.Join(err, x.close())
	}
	return x, nil
}

// attach takes the dead man's switch.
func (x *index) attach() (bool, error) {
	held, err := testLock(x.f, deadMan, 1)
	if err != nil || held == exclusive {
		return false, err
	}
	if held == unlocked {
		ok, err := tryLock(x.f, deadMan, 1, exclusive)
		if !ok || err != nil {
			return false, err
		}
		x.hook("truncate index")
		if err := x.f.Truncate(3); err != nil {
			return false, err
		}
	}
	return tryLock(x.f, deadMan, 1, shared)
}

// grow maps regions up to number i. The blocks are allocated by writing to
// them, so that a full disk is an error here and not a SIGBUS later.
func (x *index) grow(i int) error {
	for len(x.regions) <= i {
		off := int64(len(x.regions)) * sqlitefile.IndexRegionSize
		info, err := x.f.Stat()
		if err != nil {
			return err
		}
		for at := max(info.Size(), off) / 4096 * 4096; at < off+sqlitefile.IndexRegionSize; at += 4096 {
			if at+4096 > info.Size() {
				if _, err := x.f.WriteAt([]byte{0}, at+4095); err != nil {
					return err
				}
			}
		}
		b, err := mapShared(x.f, off, sqlitefile.IndexRegionSize)
		if err != nil {
			return err
		}
		x.regions = append(x.regions, b)
	}
	return nil
}

func (x *index) close() error {
	if x == nil {
		return nil
	}
	var errs []error
	for _, b := range x.regions {
		errs = append(errs, unmap(b))
	}
	x.regions = nil
	return errors.Join(append(errs, x.f.Close())...)
}

// lock takes or releases n of SQLite's locks, never waiting.
func (x *index) lock(first, n int64, kind lockKind) (bool, error) {
	return tryLock(x.f, sqlitefile.WALWriteLock+first, n, kind)
}

func (x *index) unlock(first, n int64) error {
	_, err := x.lock(first, n, unlocked)
	return err
}

// word is a field outside of the checksummed copies: each is read and written
// by itself.
func (x *index) word(off int) *uint32 { return (*uint32)(unsafe.Pointer(&x.regions[0][off])) }

func (x *index) backfill() uint32     { return atomic.LoadUint32(x.word(sqlitefile.IndexBackfill)) }
func (x *index) setBackfill(n uint32) { atomic.StoreUint32(x.word(sqlitefile.IndexBackfill), n) }
func (x *index) setAttempted(n uint32) {
	atomic.StoreUint32(x.word(sqlitefile.IndexBackfillAttempted), n)
}

func (x *index) mark(i int) uint32 { return atomic.LoadUint32(x.word(sqlitefile.IndexReadMarks + 4*i)) }

func (x *index) setMark(i int, n uint32) {
	atomic.StoreUint32(x.word(sqlitefile.IndexReadMarks+4*i), n)
}

// header reads the header; false when its copies differ or it is not valid.
func (x *index) header() (sqlitefile.IndexHeader, bool) {
	return sqlitefile.ParseIndexHeader(x.regions[0][:sqlitefile.IndexHeaderSize])
}

// same says that the live header is still the one that h was written as.
func (x *index) same(h *sqlitefile.IndexHeader) bool {
	var b [sqlitefile.IndexCopySize]byte
	h.PutCopy(b[:])
	live := x.regions[0]
	return string(live[:len(b)]) == string(b[:]) && string(live[len(b):2*len(b)]) == string(b[:])
}

// publish makes h the header that readers find. They read copy 0 and then copy
// 1, so it is written the other way round, and what it speaks of before it.
func (x *index) publish(h *sqlitefile.IndexHeader) {
	h.Change++
	var b [sqlitefile.IndexCopySize]byte
	h.PutCopy(b[:])
	x.hook("publish")
	x.barrier.Add(1)
	copy(x.regions[0][sqlitefile.IndexCopySize:], b[:])
	x.barrier.Add(1)
	x.hook("publish the second copy")
	copy(x.regions[0], b[:])
	x.barrier.Add(1)
}

// append enters frame n, which holds page no, into the hash tables.
func (x *index) append(n, no uint32) error {
	x.hook("enter frame")
	i, slot := sqlitefile.IndexRegionOf(n)
	if err := x.grow(i); err != nil {
		return err
	}
	sqlitefile.NewIndexRegion(i, x.regions[i]).Append(slot, no)
	return nil
}

// build makes the hash tables those of a log with the given pages.
func (x *index) build(pages []uint32) error {
	for i := 0; i == 0 || len(pages) > 0; i++ {
		if err := x.grow(i); err != nil {
			return err
		}
		n := min(len(pages), sqlitefile.IndexRegionFrames(i))
		x.hook("build index")
		sqlitefile.NewIndexRegion(i, x.regions[i]).Build(pages[:n])
		pages = pages[n:]
	}
	return nil
}
