package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/internal/oflock"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

const (
	// deadMan is the byte of the wal-index on which every connection holds a
	// shared lock: where nobody does, what the file says is of the past.
	deadMan = 128
	// tryAgain is the pause between two looks at a lock.
	tryAgain = 5 * time.Millisecond
)

// waiter bounds how long all waiting together may take.
type waiter struct {
	ctx context.Context
	end time.Time
}

func newWaiter(ctx context.Context, wait time.Duration) *waiter {
	return &waiter{ctx, time.Now().Add(max(wait, 0))}
}

// until calls try until it is true or an error, or time is over; what says what is waited for.
func (w *waiter) until(what string, try func() (bool, error)) error {
	for {
		ok, err := try()
		if ok || err != nil {
			return err
		}
		if !time.Now().Add(tryAgain).Before(w.end) {
			return fmt.Errorf("%s: %w", what, ErrBusy)
		}
		if err := pause.For(w.ctx, tryAgain); err != nil {
			return err
		}
	}
}

// lock opens the files and takes the locks of a reader.
func lock(ctx context.Context, path string, wait time.Duration) (*Snapshot, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{path: path, db: f}
	if err := s.lock(newWaiter(ctx, wait)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// lock follows SQLite's own steps, see https://sqlite.org/lockingv3.html:
//
//  1. SHARED on the main file, which a writer that is at its commit holds off.
//  2. A journal that is there while nobody has RESERVED is hot: its owner died.
//  3. A WAL counts when it is there, whatever the header says.
//  4. A wal-index in use is kept by its dead man's switch. Only then may it be
//     read: one that nobody has open may be of before a power cut.
//  5. Its read lock 0 keeps checkpoints out.
func (s *Snapshot) lock(w *waiter) error {
	if info, err := s.db.Stat(); err != nil {
		return err
	} else if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", s.path, ErrNotDatabase)
	}
	err := w.until(s.path+": a program is writing to it", func() (bool, error) { // 1
		ok, err := oflock.Try(s.db, sqlitefile.PendingByte, 1, oflock.Shared)
		if !ok || err != nil {
			return false, err
		}
		ok, err = oflock.Try(s.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, oflock.Shared)
		_, e := oflock.Try(s.db, sqlitefile.PendingByte, 1, oflock.None)
		return ok, errors.Join(err, e)
	})
	if err != nil {
		return err
	}
	if err := s.refuseJournal(); err != nil { // 2
		return err
	}
	info, err := s.db.Stat() // only now: a writer may have been at it
	if err != nil {
		return err
	}
	s.size = info.Size()
	s.wal, err = os.Open(s.path + "-wal") // 3
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.shm, err = os.Open(s.path + "-shm"); err == nil { // 4
		s.live, err = inUse(s.shm)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && s.live {
		err = w.until(s.path+": its wal-index is being set up", s.sharedLock(deadMan))
	}
	if err == nil && s.live { // 5
		err = w.until(s.path+": a checkpoint is running", s.sharedLock(sqlitefile.WALReadLock))
	}
	if err == nil && !s.live {
		s.seen, err = s.marks()
	}
	return err
}

func (s *Snapshot) sharedLock(off int64) func() (bool, error) {
	return func() (bool, error) { return oflock.Try(s.shm, off, 1, oflock.Shared) }
}

// inUse says whether a connection has the wal-index open.
func inUse(shm *os.File) (bool, error) {
	held, err := oflock.Test(shm, deadMan, 1)
	return held != oflock.None, err
}

// refuseJournal refuses a hot journal. One whose first byte is zero is not in
// use, see https://sqlite.org/fileformat2.html#the_rollback_journal.
func (s *Snapshot) refuseJournal() error {
	f, err := os.Open(s.path + "-journal")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var b [1]byte
	_, err = f.ReadAt(b[:], 0)
	if err = errors.Join(err, f.Close()); errors.Is(err, io.EOF) || err == nil && b[0] == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	held, err := oflock.Test(s.db, sqlitefile.ReservedByte, 1)
	if err != nil || held != oflock.None {
		return err // its owner lives, and has not yet written to the database
	}
	return fmt.Errorf("%s: %w", s.path, ErrHotJournal)
}

// look finds the committed frames of the WAL, again when frames were added
// since the last time, and makes the state the newest.
func (s *Snapshot) look(ctx context.Context, wait time.Duration) error {
	s.frames, s.commits, s.index = 0, nil, nil
	s.header = sqlitefile.WALHeader{}
	if s.wal == nil || s.size == 0 { // SQLite removes the WAL of an empty database
		return s.use(0)
	}
	var idx sqlitefile.IndexHeader
	if s.live {
		err := newWaiter(ctx, wait).until(s.path+": its wal-index is being written", func() (ok bool, err error) {
			idx, ok, err = s.readIndex()
			return ok, err
		})
		if err != nil {
			return err
		}
		s.folded = idx.BackfillAttempted
		if idx.Backfill >= idx.MxFrame {
			// All of it is in the database file, and nothing gets there any more. The
			// WAL may be begun anew at any moment, so it is not looked at.
			s.folded = 0
			return s.use(0)
		}
	}
	if err := s.scanLog(ctx, idx); err != nil {
		return err
	}
	return s.use(s.frames)
}

func (s *Snapshot) readIndex() (sqlitefile.IndexHeader, bool, error) {
	var b [sqlitefile.IndexHeaderSize]byte
	n, err := s.shm.ReadAt(b[:], 0)
	if n < len(b) {
		if err == io.EOF {
			err = nil
		}
		return sqlitefile.IndexHeader{}, false, err
	}
	idx, ok := sqlitefile.ParseIndexHeader(b[:])
	return idx, ok, nil
}

// scanLog notes what the committed frames hold. Without an index in use, the
// valid frames are those that SQLite's recovery would find.
func (s *Snapshot) scanLog(ctx context.Context, idx sqlitefile.IndexHeader) error {
	var b [sqlitefile.WALHeaderSize]byte
	n, err := s.wal.ReadAt(b[:], 0)
	if n < len(b) {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	header, err := sqlitefile.ParseWALHeader(b[:])
	if err != nil {
		return nil // SQLite ignores such a WAL
	}
	limit := uint32(math.MaxUint32)
	scan := sqlitefile.NewWALScanner(s.wal, header)
	if s.live {
		if header.Salt != idx.Salt {
			return fmt.Errorf("%s: %w", s.path, errMoved)
		}
		limit = idx.MxFrame
		scan.Trust(limit)
	}
	s.header = header
	for {
		n, f, _, err := scan.Next(limit)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.index = append(s.index, uint64(f.Page)<<32|uint64(n))
		if f.Commit != 0 {
			s.frames = n
			s.commits = append(s.commits, commit{n, f.Commit, f.Checksum})
		}
	}
	s.index = s.index[:s.frames]
	slices.Sort(s.index)
	return nil
}
