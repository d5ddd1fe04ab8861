package capture

import (
	"cmp"
	"errors"
	"io"
	"maps"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// File is what the engine reads of a database or of its WAL. ReadAt must be
// safe beside the connections that write the file.
type File interface {
	io.ReaderAt
	Size() (int64, error)
}

// walState knows which frames of the present WAL are in the trail, and where
// in the WAL the newest recorded content of each page is.
type walState struct {
	located bool
	live    uint32 // frames up to this one are in a wal-index that is in use
	hdr     sqlitefile.WALHeader
	frame   uint32            // last frame that is recorded, 0: none
	sum     [2]uint32         // its cumulative checksum
	index   map[uint32]uint32 // page number to its newest frame up to frame
	scan    *sqlitefile.WALScanner
	refs    []frameRef // frames of the commit being read
	arena   []byte     // their pages, as far as they fit
	nos     []uint32
}

// frameRef is a page image in the WAL.
type frameRef struct {
	page, frame uint32
	off         int // in the arena; -1: read it from the WAL
}

// arenaMax bounds the pages kept from the scan; a transaction with more has
// the rest read a second time.
const arenaMax = 4 << 20

// begin makes s stand before frame 1 of the generation hdr.
func (s *walState) begin(hdr sqlitefile.WALHeader) {
	s.located = true
	s.hdr, s.frame, s.sum, s.live = hdr, 0, hdr.Checksum, 0
	if s.index == nil || len(s.index) > 1<<16 {
		s.index = map[uint32]uint32{}
	}
	clear(s.index)
}

// lose makes the next catch-up look for its place anew.
func (s *walState) lose() { s.located = false }

// commits reads the committed transactions after s.frame up to frame limit and
// calls fn for each; s.refs then has its frames in order, the arena their
// pages if keep is set. When fn returns nil the transaction's frames enter the
// index.
func (s *walState) commits(wal io.ReaderAt, limit uint32, keep bool, fn func(end sqlitefile.Frame, frame uint32) error) error {
	if s.scan == nil {
		s.scan = sqlitefile.NewWALScanner(wal, s.hdr)
	} else {
		s.scan.Reset(wal, s.hdr)
	}
	s.scan.Resume(s.frame, s.sum)
	s.scan.Trust(s.live)
	s.refs, s.arena = s.refs[:0], s.arena[:0]
	for {
		n, f, page, err := s.scan.Next(limit)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		ref := frameRef{page: f.Page, frame: n, off: -1}
		if keep && len(s.arena)+len(page) <= arenaMax {
			ref.off = len(s.arena)
			if ref.off+len(page) > arenaMax/16 && cap(s.arena) < arenaMax { // a large transaction
				s.arena = slices.Grow(s.arena, arenaMax-ref.off)
			}
			s.arena = append(s.arena, page...)
		}
		s.refs = append(s.refs, ref)
		if f.Commit == 0 {
			continue
		}
		if err := fn(f, n); err != nil {
			return err
		}
		for _, r := range s.refs {
			s.index[r.page] = r.frame
		}
		s.frame, s.sum = n, f.Checksum
		s.refs, s.arena = s.refs[:0], s.arena[:0]
	}
}

// newest reduces s.refs to the last image of each page, ascending, without
// pages beyond the committed size and the lock-byte page, and adds the pages
// by which the database grew without writing them (frame 0).
func (s *walState) newest(before, count uint32) {
	slices.SortFunc(s.refs, func(a, b frameRef) int {
		return cmp.Or(cmp.Compare(a.page, b.page), cmp.Compare(b.frame, a.frame))
	})
	s.refs = slices.CompactFunc(s.refs, func(a, b frameRef) bool { return a.page == b.page })
	lock := diff.LockPage(s.hdr.PageSize)
	s.refs = slices.DeleteFunc(s.refs, func(r frameRef) bool { return r.page > count || r.page == lock })
	have := 0
	for _, r := range s.refs {
		if r.page > before {
			have++
		}
	}
	want := 0
	if count > before {
		want = int(count - before)
		if lock > before && lock <= count {
			want--
		}
	}
	if have == want {
		return
	}
	at, _ := slices.BinarySearchFunc(s.refs, before+1, func(r frameRef, no uint32) int { return cmp.Compare(r.page, no) })
	tail := slices.Clone(s.refs[at:])
	s.refs = s.refs[:at]
	for no := before + 1; no <= count; no++ {
		if len(tail) > 0 && tail[0].page == no {
			s.refs, tail = append(s.refs, tail[0]), tail[1:]
		} else if no != lock {
			s.refs = append(s.refs, frameRef{page: no, off: -1})
		}
	}
}

// walSource reads the pages of a transaction found in the WAL.
type walSource struct {
	s         *walState
	main, wal io.ReaderAt
}

func (w *walSource) newPage(i int, no uint32, buf []byte) ([]byte, error) {
	r := w.s.refs[i]
	switch {
	case r.off >= 0:
		return w.s.arena[r.off : r.off+len(buf)], nil
	case r.frame == 0:
		// Nobody wrote it, so a checkpoint leaves there what there was before
		// the database once shrank, in a frame or in the file.
		return buf, w.page(no, buf)
	default:
		return buf, w.readFrame(r.frame, buf)
	}
}

func (w *walSource) oldPage(_ int, no uint32, buf []byte) (bool, error) {
	return true, w.page(no, buf)
}

// page reads page no of the state at s.frame.
func (w *walSource) page(no uint32, buf []byte) error {
	if frame := w.s.index[no]; frame != 0 {
		return w.readFrame(frame, buf)
	}
	return readPage(w.main, no, buf)
}

func (w *walSource) readFrame(frame uint32, buf []byte) error {
	return readFull(w.wal, w.s.hdr.FrameOffset(frame)+sqlitefile.FrameHeaderSize, buf)
}

// readPage reads page no of a database file; what is beyond its end is zero.
func readPage(r io.ReaderAt, no uint32, buf []byte) error {
	n, err := r.ReadAt(buf, int64(no-1)*int64(len(buf)))
	if n < len(buf) {
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		clear(buf[n:])
	}
	return nil
}

func readFull(r io.ReaderAt, off int64, buf []byte) error {
	n, err := r.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// visibleEnd finds out which generation the WAL is in and up to which frame it
// is committed. ok is false when there is no WAL to read.
//
// A live wal-index is the authority: valid frames beyond its end are dead, of
// a commit that failed, and are overwritten. Where there is none (locking_mode
// EXCLUSIVE keeps it in memory) the caller knows the end, or all valid frames
// count.
func (s *walState) visibleEnd(wal, shm io.ReaderAt, known uint32) (hdr sqlitefile.WALHeader, limit uint32, ok bool, err error) {
	var idx sqlitefile.IndexHeader
	live := false
	if shm != nil && known == 0 {
		idx, live = readIndex(shm)
	}
	s.live = 0
	if live && s.located && idx.Salt == s.hdr.Salt {
		s.live = idx.MxFrame
		return s.hdr, idx.MxFrame, true, nil
	}
	var b [sqlitefile.WALHeaderSize]byte
	n, err := wal.ReadAt(b[:], 0)
	if n < len(b) {
		if err == nil || errors.Is(err, io.EOF) {
			return hdr, 0, false, nil
		}
		return hdr, 0, false, err
	}
	hdr, err = sqlitefile.ParseWALHeader(b[:])
	if err != nil {
		return hdr, 0, false, nil // SQLite ignores such a WAL
	}
	switch {
	case known != 0:
		return hdr, known, true, nil
	case live && idx.Salt == hdr.Salt:
		return hdr, idx.MxFrame, true, nil
	}
	// No index, or one that has already been restarted while the file still
	// has the old generation: all of that was committed and backfilled.
	return hdr, math.MaxUint32, true, nil
}

// readIndex reads the header of the wal-index, again when a writer was at it.
func readIndex(shm io.ReaderAt) (sqlitefile.IndexHeader, bool) {
	return readIndexAs(shm, sqlitefile.ParseIndexHeader)
}

func readIndexAs(shm io.ReaderAt, parse func([]byte) (sqlitefile.IndexHeader, bool)) (sqlitefile.IndexHeader, bool) {
	var b [sqlitefile.IndexHeaderSize]byte
	for range 100 {
		if n, _ := shm.ReadAt(b[:], 0); n < len(b) || b == [sqlitefile.IndexHeaderSize]byte{} {
			return sqlitefile.IndexHeader{}, false // nobody has used it yet
		}
		if idx, ok := parse(b[:]); ok {
			return idx, true
		}
		runtime.Gosched()
	}
	return sqlitefile.IndexHeader{}, false
}

// commitLog remembers what only the committing connection knows of a commit:
// the moment, and the note. Frames are those of one generation.
type commitLog struct {
	mu  sync.Mutex
	log map[uint32]commitNote
}

type commitNote struct {
	time journal.Time
	note string
}

// add notes a commit that is about to be written at frame.
func (l *commitLog) add(frame uint32, c commitNote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.log == nil {
		l.log = map[uint32]commitNote{}
	}
	l.log[frame] = c
}

// at returns what is known of the commit at frame.
func (l *commitLog) at(frame uint32) commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.log[frame]
}

// forget drops what is known of the commits up to frame: they are recorded.
func (l *commitLog) forget(frame uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.log, func(f uint32, _ commitNote) bool { return f <= frame })
}

// list is what is known, in the order of the frames.
func (l *commitLog) list() []commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.inOrder()
}

func (l *commitLog) inOrder() []commitNote {
	all := make([]commitNote, 0, len(l.log))
	for _, frame := range slices.Sorted(maps.Keys(l.log)) {
		all = append(all, l.log[frame])
	}
	return all
}

// drain returns what is known and forgets it.
func (l *commitLog) drain() []commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer clear(l.log)
	return l.inOrder()
}

// clear forgets everything, at the begin of a generation.
func (l *commitLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.log)
}
