package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"time"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// ErrBusy says that a lock of SQLite was not to be had in time. It is a
// [journal.ErrLocked].
var ErrBusy = fmt.Errorf("the database is in use: %w", journal.ErrLocked)

// ErrHotJournal says that a program died within a transaction, and that SQLite
// will take that back from the rollback journal when it opens the database next.
var ErrHotJournal = errors.New("a rollback journal waits to be played back")

// ErrNotDatabase says that the file is none of SQLite's.
var ErrNotDatabase = errors.New("not a SQLite database")

// errMoved: somebody came who could not be kept out.
var errMoved = fmt.Errorf("its files changed while they were read: %w", ErrBusy)

// Options for Open and Compare; nil means defaults.
type Options struct {
	// Wait is how long locks are waited for; default 5 s, less than 0: not at all.
	Wait time.Duration
	// TempDir is for the scratch file of Compare; default os.TempDir().
	TempDir string
	// Progress, if set, is told how many bytes of how many have been read. Default: none.
	Progress func(done, total int64)
	// Page, if set, is told the hash of every page of the state that Compare
	// found to be the trail's, ascending, without the lock-byte page. Default: none.
	Page func(no uint32, sum diff.Sum)
	// Pages is how many pages that differ are listed; default 10,000.
	Pages int
}

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.Wait == 0 {
		opt.Wait = 5 * time.Second
	}
	if opt.Pages == 0 {
		opt.Pages = 10_000
	}
	return opt
}

// Snapshot is a committed state of a database, kept as it is by locks. It is
// for one goroutine at a time.
type Snapshot struct {
	path         string
	db, wal, shm *os.File
	size         int64  // of the database file
	seen         marks  // of the files, when no lock keeps them
	live         bool   // the wal-index is in use, and locked
	folded       uint32 // frames that may be in the database file, as far as a wal-index tells

	header   sqlitefile.WALHeader
	frames   uint32   // committed in the WAL, 0: none that counts
	commits  []commit // ascending
	index    []uint64 // page<<32 | frame, ascending
	limit    uint32   // the state is the one after this frame
	pageSize int
	count    uint32
}

// commit is a frame that ends a transaction.
type commit struct {
	frame, pages uint32
	sum          [2]uint32
}

// Open takes the locks and finds the newest committed state.
func Open(ctx context.Context, path string, o *Options) (*Snapshot, error) {
	opt := o.withDefaults()
	s, err := lock(ctx, path, opt.Wait)
	if err != nil {
		return nil, err
	}
	if err := s.look(ctx, opt.Wait); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// PageSize in bytes; 0 of an empty database.
func (s *Snapshot) PageSize() int { return s.pageSize }

// PageCount is the size in pages, the lock-byte page included.
func (s *Snapshot) PageCount() uint32 { return s.count }

// Frames is the number of committed frames of the WAL that are part of the state.
func (s *Snapshot) Frames() uint32 { return s.limit }

// At makes the state an earlier one: the one that a transaction of the trail
// left, as far as the WAL can tell where that is. later are the committed
// frames and transactions after it. Whether it is that state its checksum says.
//
// An origin that is not of this WAL stands for what was there before the WAL
// was begun. ok is false when that state is no longer to be had, because later
// frames have been copied to the database file.
func (s *Snapshot) At(o journal.Origin) (later Later, ok bool) {
	frame := uint32(0)
	if o.WAL && o.Salt == s.header.Salt {
		frame = o.Frame
	}
	i := sort.Search(len(s.commits), func(i int) bool { return s.commits[i].frame > frame })
	later = Later{Frames: s.frames - min(frame, s.frames), Transactions: len(s.commits) - i}
	switch {
	case frame > s.frames || s.live && s.folded > frame:
		return later, false
	case frame == 0:
		return later, s.use(0) == nil
	case i == 0 || s.commits[i-1].frame != frame || s.commits[i-1].sum != o.Checksum:
		return later, false
	}
	return later, s.use(frame) == nil
}

// Later are committed frames of a WAL that the trail does not have yet.
type Later struct {
	Frames       uint32
	Transactions int
}

// Newest makes the state the newest again.
func (s *Snapshot) Newest() error { return s.use(s.frames) }

// use makes the state the one after a frame that ends a transaction.
func (s *Snapshot) use(frame uint32) error {
	s.limit = frame
	if frame != 0 {
		i := sort.Search(len(s.commits), func(i int) bool { return s.commits[i].frame >= frame })
		s.pageSize, s.count = s.header.PageSize, s.commits[i].pages
		return nil
	}
	if s.size == 0 {
		s.pageSize, s.count = 0, 0
		return nil
	}
	h, err := sqlitefile.ReadHeader(s.db)
	if errors.Is(err, sqlitefile.ErrMalformed) {
		return fmt.Errorf("%s: %w: %w", s.path, ErrNotDatabase, err)
	}
	if err != nil {
		return err
	}
	s.pageSize, s.count = h.PageSize, h.Pages(s.size)
	return nil
}

// ReadPage reads page no into b, which is of page size; what the files do not
// have is zero.
func (s *Snapshot) ReadPage(no uint32, b []byte) error {
	r, off := s.db, int64(no-1)*int64(len(b))
	if frame := s.frameOf(no); frame != 0 {
		r, off = s.wal, s.header.FrameOffset(frame)+sqlitefile.FrameHeaderSize
	}
	n, err := r.ReadAt(b, off)
	if n < len(b) && err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	clear(b[n:])
	return nil
}

// frameOf is the frame that has a page in the state, 0: the database file has it.
func (s *Snapshot) frameOf(no uint32) uint32 {
	last := uint64(no)<<32 | uint64(s.limit)
	i, found := slices.BinarySearch(s.index, last)
	if !found {
		i--
	}
	if i < 0 || uint32(s.index[i]>>32) != no {
		return 0
	}
	return uint32(s.index[i])
}

// chunkBytes is what is read of the database file at once.
const chunkBytes = 256 << 10

// Scan calls fn with every page but the lock-byte page, ascending; the page is
// valid during the call. progress may be nil.
func (s *Snapshot) Scan(ctx context.Context, progress func(done, total int64), fn func(no uint32, page []byte) error) error {
	if s.count == 0 {
		return nil
	}
	buf, lock := make([]byte, max(chunkBytes, s.pageSize)), diff.LockPage(s.pageSize)
	per, total := uint64(len(buf)/s.pageSize), int64(s.count)*int64(s.pageSize)
	for first := uint64(1); first <= uint64(s.count); first += per {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := buf[:min(per, uint64(s.count)-first+1)*uint64(s.pageSize)]
		n, err := s.db.ReadAt(b, int64(first-1)*int64(s.pageSize))
		if n < len(b) && err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(b[n:])
		for no := uint32(first); len(b) > 0; no, b = no+1, b[s.pageSize:] {
			page := b[:s.pageSize]
			if no == lock {
				continue
			}
			if s.frameOf(no) != 0 {
				if err := s.ReadPage(no, page); err != nil {
					return err
				}
			}
			if err := fn(no, page); err != nil {
				return err
			}
		}
		if progress != nil {
			progress(min(int64(first-1+per)*int64(s.pageSize), total), total)
		}
	}
	return nil
}

// Sum is the state checksum.
func (s *Snapshot) Sum(ctx context.Context, progress func(done, total int64)) (sum diff.Sum, err error) {
	err = s.Scan(ctx, progress, func(no uint32, page []byte) error {
		sum = sum.Add(diff.PageSum(no, page))
		return nil
	})
	return sum, err
}

// Check says whether what was read can be believed: an error that is ErrBusy
// when no lock kept other programs out and one came. Ask it after reading.
func (s *Snapshot) Check() error {
	if s.live || s.wal == nil {
		return nil
	}
	now, err := s.marks()
	if err != nil {
		return err
	}
	if now != s.seen {
		return fmt.Errorf("%s: %w", s.path, errMoved)
	}
	return nil
}

// Close releases the locks.
func (s *Snapshot) Close() error {
	var errs []error
	for _, f := range []*os.File{s.shm, s.wal, s.db} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	s.shm, s.wal, s.db = nil, nil, nil
	return errors.Join(errs...)
}

// marks are by what it is seen that somebody wrote to a file, or has the
// wal-index open.
type marks struct {
	main, wal struct {
		size int64
		at   time.Time
	}
	used bool
}

func (s *Snapshot) marks() (m marks, err error) {
	for _, f := range []struct {
		f  *os.File
		to *struct {
			size int64
			at   time.Time
		}
	}{{s.db, &m.main}, {s.wal, &m.wal}} {
		info, err := f.f.Stat()
		if err != nil {
			return m, err
		}
		f.to.size, f.to.at = info.Size(), info.ModTime()
	}
	shm, err := os.Open(s.path + "-shm")
	if errors.Is(err, fs.ErrNotExist) {
		return m, nil
	}
	if err != nil {
		return m, err
	}
	m.used, err = inUse(shm)
	return m, errors.Join(err, shm.Close())
}
