package capture

import (
	"cmp"
	"errors"
	"io"
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
	held    []byte     // their pages, as far as they fit, in the scanner's buffer or in the arena
	arena   []byte     // memory for them when the scanner's buffer is needed for the next
	moved   bool       // they are there
	nos     []uint32
}

// frameRef is a page image in the WAL.
type frameRef struct {
	page, frame uint32
	off         int // in walState.held; -1: read it from the WAL
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
// calls fn for each; s.refs then has its frames in order, s.held their pages if
// keep is set. When fn returns nil the transaction's frames enter the index.
func (s *walState) commits(wal io.ReaderAt, limit uint32, keep bool, fn func(end sqlitefile.Frame, frame uint32) error) error {
	if s.scan == nil {
		s.scan = sqlitefile.NewWALScanner(wal, s.hdr)
	} else {
		s.scan.Reset(wal, s.hdr)
	}
	s.scan.Resume(s.frame, s.sum)
	s.scan.Trust(s.live)
	s.refs, s.moved = s.refs[:0], false
	for {
		if keep && len(s.refs) > 0 && !s.moved && !s.scan.Buffered() {
			s.move()
		}
		n, f, page, err := s.scan.Next(limit)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		ref := frameRef{page: f.Page, frame: n, off: -1}
		if keep {
			ref.off = s.hold(page)
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
		s.refs, s.moved = s.refs[:0], false
	}
}

// hold keeps the page of the frame that was read last and returns where in s.held
// it is, -1 if there is no room. Pages lie as far apart as in the WAL, so that as
// long as the scanner has all of a commit in its buffer, as with most, they can
// stay there.
func (s *walState) hold(page []byte) int {
	off := len(s.refs) * s.hdr.FrameSize()
	end := off + len(page)
	switch {
	case end > arenaMax:
		return -1
	case s.moved:
		if end > arenaMax/16 && cap(s.arena) < arenaMax { // a large transaction
			s.arena = slices.Grow(s.arena, arenaMax-len(s.arena))
		}
		s.arena = append(append(s.arena, make([]byte, off-len(s.arena))...), page...)
		s.held = s.arena
	case off == 0:
		s.held = page
	default:
		s.held = s.held[:end]
	}
	return off
}

// move makes the pages independent of the scanner's buffer.
func (s *walState) move() {
	s.arena = append(s.arena[:0], s.held...)
	s.held, s.moved = s.arena, true
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
		return w.s.held[r.off : r.off+len(buf)], nil
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
	if w.s.index[no] != 0 {
		return w.newer(no, buf)
	}
	return readPage(w.main, no, buf)
}

// newer puts what the WAL has of page no over what the database file has.
func (w *walSource) newer(no uint32, buf []byte) error {
	if frame := w.s.index[no]; frame != 0 {
		return w.readFrame(frame, buf)
	}
	return nil
}

func (w *walSource) readFrame(frame uint32, buf []byte) error {
	return readFull(w.wal, w.s.hdr.FrameOffset(frame)+sqlitefile.FrameHeaderSize, buf)
}

// readPage reads page no of a database file; what is beyond its end is zero.
func readPage(r io.ReaderAt, no uint32, buf []byte) error {
	return readZero(r, int64(no-1)*int64(len(buf)), buf)
}

// readZero fills buf from off on; what is beyond the end is zero.
func readZero(r io.ReaderAt, off int64, buf []byte) error {
	n, err := r.ReadAt(buf, off)
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
	log []commitNote // by ascending frame
}

type commitNote struct {
	frame uint32
	time  journal.Time
	note  string
}

// add notes a commit that is about to be written. Those that were noted for its
// frame or later ones did not come to their end.
func (l *commitLog) add(c commitNote) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = append(l.log[:l.find(c.frame)], c)
}

// find is the index of the first commit at frame or later.
func (l *commitLog) find(frame uint32) int {
	i := len(l.log)
	for i > 0 && l.log[i-1].frame >= frame {
		i--
	}
	return i
}

// at returns what is known of the commit at frame.
func (l *commitLog) at(frame uint32) commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	i, ok := slices.BinarySearchFunc(l.log, frame, func(c commitNote, frame uint32) int { return cmp.Compare(c.frame, frame) })
	if !ok {
		return commitNote{}
	}
	return l.log[i]
}

// forget drops what is known of the commits up to frame: they are recorded.
func (l *commitLog) forget(frame uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = slices.Delete(l.log, 0, l.find(frame+1))
}

// list is what is known, in the order of the frames.
func (l *commitLog) list() []commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.log)
}

// drain returns what is known and forgets it.
func (l *commitLog) drain() []commitNote {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.log
	l.log = nil
	return all
}

// clear forgets everything, at the begin of a generation.
func (l *commitLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.log = slices.Delete(l.log, 0, len(l.log))
}
