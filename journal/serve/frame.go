package serve

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Version is the number of the stream's format.
const Version = 1

// magic begins a stream.
const magic = "\x89PTSTR\r\n"

// The sizes of what is fixed.
const (
	headSize  = 48
	frameSize = 56
)

// maxText is the most that a frame of kind Failed may say.
const maxText = 4096

// Head begins a stream.
type Head struct {
	Database  journal.DatabaseID
	Timeline  journal.Timeline
	Heartbeat time.Duration // the longest time without a frame; 0: the stream is from a pipe, and nothing is promised
}

// Kind says what a frame is.
type Kind byte

// The kinds of frames. Their numbers are never used again for something else.
const (
	Batch     Kind = 'S' // a sealed segment
	Base      Kind = 'B' // a base
	Heartbeat Kind = 'H' // nothing, and that is said
	Ended     Kind = 'E' // all that was asked for was sent
	Failed    Kind = 'X' // the sender cannot go on: why, as text
)

// Frame is what stands before its content.
type Frame struct {
	Kind Kind
	Size int64 // of the content, in bytes
	// Last is the last transaction that the sender's trail has, and Time its time.
	Last journal.TXID
	Time journal.Time
	// Clock is the sender's when the frame was written.
	Clock journal.Time
	// Behind is about how many bytes of patches the sender has after this frame.
	Behind int64
}

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Append writes the head.
func (h *Head) Append(b []byte) []byte {
	n := len(b)
	b = append(b, magic...)
	b = le.AppendUint16(b, Version)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, uint32(h.Timeline))
	b = append(b, h.Database[:]...)
	b = le.AppendUint32(b, uint32(h.Heartbeat/time.Millisecond))
	b = append(b, make([]byte, 8)...)
	return le.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

// parse reads a head. The version is looked at before the checksum, since a later one may compute it otherwise.
func (h *Head) parse(b []byte) error {
	if string(b[:8]) != magic {
		return fmt.Errorf("this is no pagetrail stream: it begins with %q: %w", b[:8], journal.ErrCorrupt)
	}
	if v := le.Uint16(b[8:]); v > Version {
		return fmt.Errorf("the stream has version %d, this program reads up to %d: %w", v, Version, journal.ErrVersion)
	}
	if crc32.Checksum(b[:44], castagnoli) != le.Uint32(b[44:]) || le.Uint16(b[8:]) == 0 {
		return fmt.Errorf("head of the stream: %w", journal.ErrCorrupt)
	}
	if le.Uint16(b[10:]) != 0 || le.Uint64(b[36:]) != 0 {
		return fmt.Errorf("head of the stream: %w", journal.ErrFlag)
	}
	*h = Head{Timeline: journal.Timeline(le.Uint32(b[12:])), Heartbeat: time.Duration(le.Uint32(b[32:])) * time.Millisecond}
	copy(h.Database[:], b[16:])
	return nil
}

// Append writes the frame; its content follows.
func (f *Frame) Append(b []byte) []byte {
	n := len(b)
	b = append(b, byte(f.Kind), 0, 0, 0, 0, 0, 0, 0)
	b = le.AppendUint64(b, uint64(f.Size))
	b = le.AppendUint64(b, uint64(f.Last))
	b = le.AppendUint64(b, uint64(f.Time))
	b = le.AppendUint64(b, uint64(f.Clock))
	b = le.AppendUint64(b, uint64(f.Behind))
	b = le.AppendUint32(b, 0)
	return le.AppendUint32(b, crc32.Checksum(b[n:], castagnoli))
}

func (f *Frame) parse(b []byte) error {
	if crc32.Checksum(b[:52], castagnoli) != le.Uint32(b[52:]) {
		return fmt.Errorf("frame of the stream: %w", journal.ErrCorrupt)
	}
	*f = Frame{
		Kind: Kind(b[0]), Size: int64(le.Uint64(b[8:])), Last: journal.TXID(le.Uint64(b[16:])),
		Time: journal.Time(le.Uint64(b[24:])), Clock: journal.Time(le.Uint64(b[32:])), Behind: int64(le.Uint64(b[40:])),
	}
	if [7]byte(b[1:8]) != [7]byte{} || le.Uint32(b[48:]) != 0 {
		return fmt.Errorf("frame of the stream: %w", journal.ErrFlag)
	}
	ok := f.Size >= 0 && f.Last <= journal.MaxTXID && f.Behind >= 0
	switch f.Kind {
	case Batch, Base:
		ok = ok && f.Size > 0
	case Heartbeat, Ended:
		ok = ok && f.Size == 0
	case Failed:
		ok = ok && f.Size <= maxText
	default:
		return fmt.Errorf("frame of kind %q: %w", f.Kind, journal.ErrFlag)
	}
	if !ok {
		return fmt.Errorf("frame of kind %q, %d bytes: %w", f.Kind, f.Size, journal.ErrCorrupt)
	}
	return nil
}

// Reader reads a stream.
type Reader struct {
	r    io.Reader
	head Head
	body io.LimitedReader
	buf  [frameSize]byte
}

// NewReader reads the head of a stream.
func NewReader(r io.Reader) (*Reader, error) {
	s := &Reader{r: r}
	if _, err := io.ReadFull(r, s.buf[:headSize]); err != nil {
		return nil, short(err)
	}
	return s, s.head.parse(s.buf[:headSize])
}

// Head is what the stream began with.
func (s *Reader) Head() Head { return s.head }

// Next reads up to the content of the next frame, which is read from the io.Reader returned until the next call; what
// is left of it is skipped. The end of a stream without a frame that says so is an io.ErrUnexpectedEOF.
func (s *Reader) Next() (Frame, io.Reader, error) {
	if _, err := io.Copy(io.Discard, &s.body); err != nil {
		return Frame{}, nil, err
	}
	if s.body.N > 0 {
		return Frame{}, nil, io.ErrUnexpectedEOF
	}
	if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
		return Frame{}, nil, short(err)
	}
	var f Frame
	if err := f.parse(s.buf[:]); err != nil {
		return Frame{}, nil, err
	}
	s.body = io.LimitedReader{R: s.r, N: f.Size}
	return f, &s.body, nil
}

func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// writer writes a stream.
type writer struct {
	w     io.Writer
	flush func() error // of what is between w and the receiver; nil: nothing is
	buf   []byte
}

func (s *writer) head(h *Head) error {
	s.buf = h.Append(s.buf[:0])
	_, err := s.w.Write(s.buf)
	return err
}

// copies are buffers between what is sent and whom it is sent to.
var copies = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

// frame writes a frame and sees it off.
func (s *writer) frame(f *Frame, body io.Reader) error {
	f.Clock = journal.TimeOf(time.Now())
	s.buf = f.Append(s.buf[:0])
	if _, err := s.w.Write(s.buf); err != nil {
		return err
	}
	if f.Size > 0 {
		buf := copies.Get().(*[]byte)
		n, err := io.CopyBuffer(s.w, body, *buf)
		copies.Put(buf)
		if err != nil {
			return err
		} else if n != f.Size {
			return fmt.Errorf("%d bytes of %d of a frame: %w", n, f.Size, journal.ErrCorrupt)
		}
	}
	if s.flush == nil {
		return nil
	}
	return s.flush()
}
