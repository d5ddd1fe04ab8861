package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
)

// SegmentReader reads one segment from anywhere: a file, an object. Of a sealed one it reads the header and the
// footer when it is made, and single blocks when asked; one that is not sealed is read through at once. Safe for
// concurrent use.
type SegmentReader struct {
	o      *openedFile
	t      *tail // of a segment that is not sealed
	f      *footer
	end    int64 // of the blocks
	info   SegmentInfo
	points []Point
}

// NewSegmentReader opens a segment. name is for messages and Info.
func NewSegmentReader(r io.ReaderAt, size int64, name string) (*SegmentReader, error) {
	o := &openedFile{f: readerFile{r, size, name}, path: name, size: size}
	head := make([]byte, fileHeaderSize)
	n, err := r.ReadAt(head, 0)
	if n < len(head) && !isEOF(err) {
		return nil, err
	}
	if err := o.hdr.parse(head[:n], segmentMagic); err != nil {
		return nil, located(err, name, 0, 0)
	}
	return newSegmentReader(o)
}

// newSegmentReader reads what is known before any record: all of a segment that is not sealed.
func newSegmentReader(o *openedFile) (*SegmentReader, error) {
	s := &SegmentReader{o: o, info: SegmentInfo{Name: o.path, First: o.hdr.first, Sealed: o.hdr.sealed(), Size: o.size}}
	if s.info.Sealed {
		f, end, err := loadFooter(o)
		if err != nil {
			return nil, err
		}
		o.footer, o.footerAt = f, end
		s.f, s.end, s.points = f, end, f.points
		s.info.Last, s.info.FirstTime, s.info.LastTime, s.info.RawBytes = f.last.txid, f.firstTime, f.last.time, f.raw
		s.info.Folded = f.folded
		return s, nil
	}
	s.t = &tail{openedFile: o}
	s.t.rewind()
	if _, err := s.t.refresh(); err != nil {
		return nil, err
	}
	s.info = s.t.meta().info
	s.info.Name, s.info.Size = o.path, o.size
	s.points, s.end = s.t.points, s.t.end
	return s, nil
}

// Info describes the segment. An unsealed segment ends with its last committed record.
func (s *SegmentReader) Info() SegmentInfo { return s.info }

// Bytes is the segment's file as it is. Of a sealed segment it is all that a reader anywhere needs.
func (s *SegmentReader) Bytes() *io.SectionReader { return io.NewSectionReader(s.o.f, 0, s.o.size) }

// Close closes the file, when the reader was opened by Trail.OpenSegment.
func (s *SegmentReader) Close() error { return s.o.f.Close() }

// Database says which history the segment is a part of.
func (s *SegmentReader) Database() (DatabaseID, Timeline) { return s.o.hdr.database, s.o.hdr.timeline }

// Before is the position that the first record continues.
func (s *SegmentReader) Before() Position { return s.position(&s.o.hdr.before) }

// After is the position after the last record.
func (s *SegmentReader) After() Position {
	if s.f != nil {
		return s.position(&s.f.last)
	}
	return s.position(&s.t.st)
}

func (s *SegmentReader) position(st *state) Position {
	return Position{Database: s.o.hdr.database, Timeline: s.o.hdr.timeline, TXID: st.txid, Sum: st.sum}
}

// Points are the restore points in the segment.
func (s *SegmentReader) Points() []Point { return slices.Clone(s.points) }

// Torn describes what follows the last whole block of a segment that is not sealed; nil when nothing does.
func (s *SegmentReader) Torn() *Error {
	if s.t == nil {
		return nil
	}
	return s.t.torn
}

// Records yields the records from a TXID on; the Record is valid until the next step.
func (s *SegmentReader) Records(ctx context.Context, from TXID) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if from > s.info.Last {
			return
		}
		c := recordCursor{ctx: ctx, yield: yield}
		if err := c.segment(s.o, max(from, s.info.First), s.info.Last); err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// Block is a place in a sealed segment that can be read by itself: records and all that belongs to them.
type Block struct {
	First, Last TXID
	LastTime    Time
	Offset      int64
	Size        int64
}

// Blocks lists the blocks of a sealed segment; a segment that is not sealed has no index and lists none.
func (s *SegmentReader) Blocks() []Block {
	if s.f == nil {
		return nil
	}
	out := make([]Block, len(s.f.units))
	for i, u := range s.f.units {
		end := s.end
		if i+1 < len(out) {
			end = s.f.units[i+1].off
		}
		out[i] = Block{First: u.first, Last: u.last, LastTime: u.time, Offset: u.off, Size: end - u.off}
	}
	return out
}

// BlocksOf lists the blocks, by their index in Blocks, that patch a page, or hold a record with which it ends: one that
// leaves a smaller database, or pages of another size. indexed is false when the segment has no page index: then any may.
func (s *SegmentReader) BlocksOf(page uint32) (blocks []uint32, indexed bool, err error) {
	if s.f == nil || s.f.pages == nil {
		return nil, false, nil
	}
	blocks, err = s.f.pages.find(page)
	return blocks, err == nil, located(err, s.info.Name, s.end, 0)
}

// BaseRecords lists the records of Kind Base.
func (s *SegmentReader) BaseRecords() []TXID {
	if s.f == nil {
		return slices.Clone(s.t.bases)
	}
	return slices.Clone(s.f.bases)
}

// Verify reads every byte, as Trail.Verify does.
func (s *SegmentReader) Verify(ctx context.Context) error {
	o := *s.o
	if s.t != nil {
		o.size = s.t.end
	}
	_, err := verifySegment(ctx, &o, nil)
	return err
}

// readerFile makes an io.ReaderAt a durable.File that cannot be written.
type readerFile struct {
	io.ReaderAt
	size int64
	name string
}

func (f readerFile) Size() (int64, error) { return f.size, nil }
func (f readerFile) Name() string         { return f.name }
func (f readerFile) Close() error         { return nil }
func (f readerFile) Sync() error          { return f.refuse("sync") }
func (f readerFile) Truncate(int64) error { return f.refuse("truncate") }

func (f readerFile) WriteAt([]byte, int64) (int, error) { return 0, f.refuse("write") }

func (f readerFile) refuse(op string) error {
	return fmt.Errorf("%s %s: %w", op, f.name, errors.Join(fs.ErrPermission, errors.ErrUnsupported))
}
