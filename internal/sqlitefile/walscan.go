package sqlitefile

import (
	"fmt"
	"io"
)

// scanBytes is how much a WALScanner reads at once. Large enough that a system
// call's cost vanishes beside the checksum's, small enough to stay in the
// processor's second-level cache until the pages are used.
const scanBytes = 256 << 10

// WALScanner reads the valid frames of a write-ahead log in order. It stops
// where SQLite's recovery would stop: at the first frame with other salts, a
// page number of zero or a wrong cumulative checksum, or where the file ends.
//
// Frames up to the last with Frame.Commit set are committed; valid frames after
// it belong to a transaction that is not, or not yet.
//
// A scanner holds a buffer of at most 256 KiB (or one frame). It is not safe
// for concurrent use, and the log must hold still while it is read: hold
// SQLite's locks, or give Next a limit taken from the wal-index.
type WALScanner struct {
	r   io.ReaderAt
	h   WALHeader
	n   uint32    // last frame yielded, or skipped by Resume
	sum [2]uint32 // cumulative checksum up to n

	trusted uint32 // frames up to this one are valid without being checked

	buf   []byte // read, not yet yielded: whole frames from n+1 on
	store []byte // the memory behind buf
}

// NewWALScanner returns a scanner that stands before frame 1 of the log r,
// whose header is h.
func NewWALScanner(r io.ReaderAt, h WALHeader) *WALScanner {
	s := new(WALScanner)
	s.Reset(r, h)
	return s
}

// Reset makes s a scanner of another log or of another generation of the same,
// keeping its buffer's memory.
func (s *WALScanner) Reset(r io.ReaderAt, h WALHeader) {
	if !ValidPageSize(h.PageSize) {
		panic("sqlitefile: WALHeader was not made by ParseWALHeader")
	}
	s.r, s.h = r, h
	s.Resume(0, h.Checksum)
}

// Resume makes frame n+1 the next to be read; sum is the cumulative checksum of
// frame n (for n = 0, of the header). What was read ahead is forgotten, so
// Resume is also how to see bytes that changed since.
func (s *WALScanner) Resume(n uint32, sum [2]uint32) {
	s.n, s.sum, s.buf, s.trusted = n, sum, nil, 0
}

// Trust says that the frames up to n are known to be valid, from a wal-index
// in use, so that Next need not compute their checksums: readers of SQLite do
// not either. It counts until the next Reset or Resume.
func (s *WALScanner) Trust(n uint32) { s.trusted = n }

// Position returns the number of the last frame yielded and its cumulative
// checksum: what Resume takes.
func (s *WALScanner) Position() (n uint32, sum [2]uint32) { return s.n, s.sum }

// Header is the header that the scanner was given.
func (s *WALScanner) Header() WALHeader { return s.h }

// Buffered says that the next call of Next need not read, so that the pages of
// the calls before stay as they are, one FrameSize after the other in memory.
func (s *WALScanner) Buffered() bool { return len(s.buf) > 0 }

// Next returns the next valid frame, with its number and its page, if that
// number is at most limit. The page is valid until the next call that reads, see
// Buffered. Next reads up to limit but not beyond, so that following a log frame
// by frame costs one read a call, and a known number of frames one read.
//
// At the end of the valid frames, or of those allowed, it returns [io.EOF].
// The scanner then stays where it is and has forgotten what it read ahead:
// Next may be called again when the log has grown or with a higher limit.
// Other errors are those of the reader, and leave the scanner as it was.
func (s *WALScanner) Next(limit uint32) (n uint32, f Frame, page []byte, err error) {
	if s.n >= limit {
		s.buf = nil
		return 0, Frame{}, nil, io.EOF
	}
	if len(s.buf) == 0 {
		if err := s.fill(limit); err != nil {
			return 0, Frame{}, nil, err
		}
	}
	size := s.h.FrameSize()
	b := s.buf[:size]
	var ok bool
	if s.n < s.trusted {
		f = ParseFrame(b)
		ok = f.Page != 0 && f.Salt == s.h.Salt
	} else {
		f, ok = s.h.CheckFrame(b, s.sum)
	}
	if !ok {
		s.buf = nil
		return 0, Frame{}, nil, io.EOF
	}
	s.buf = s.buf[size:]
	s.n++
	s.sum = f.Checksum
	return s.n, f, b[FrameHeaderSize:], nil
}

// fill reads frames from s.n+1 to limit, as many as the buffer may hold, and at
// least one or an error.
func (s *WALScanner) fill(limit uint32) error {
	size := s.h.FrameSize()
	want := min(int64(limit-s.n), int64(max(1, scanBytes/size))) * int64(size)
	if int64(cap(s.store)) < want {
		s.store = make([]byte, want)
	}
	buf := s.store[:want]
	off := s.h.FrameOffset(s.n + 1)
	got, err := s.r.ReadAt(buf, off)
	if got < 0 || got > len(buf) {
		panic("sqlitefile: reader returned an impossible count")
	}
	buf = buf[:got-got%size]
	if len(buf) == 0 {
		if err == nil || err == io.EOF {
			return io.EOF
		}
		return fmt.Errorf("read WAL frame %d at offset %d: %w", s.n+1, off, err)
	}
	// An error beyond the first frame is met again when those are used up.
	s.buf = buf
	return nil
}
