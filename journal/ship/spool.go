package ship

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// spoolBytes is what a batch may take in memory; a larger one goes to a temporary file.
const spoolBytes = 4 << 20

// spoolFirst is what it takes at first.
const spoolFirst = 128 << 10

// spool is a file for one batch after the other. It is never durable: what is lost with it is made again.
type spool struct {
	fs   durable.FS
	dir  string
	mem  []byte
	size int64
	file durable.File // nil while all is in memory
}

var _ durable.File = (*spool)(nil)

// memories are those of spools that were closed: a program that ships thousands of trails sends few batches at a time.
var memories sync.Pool

func newSpool(fsys durable.FS, dir string) *spool {
	s := &spool{fs: fsys, dir: dir}
	if b, ok := memories.Get().(*[]byte); ok {
		s.mem = (*b)[:0]
	}
	return s
}

func (s *spool) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if s.file == nil && end > spoolBytes {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	s.size = max(s.size, end)
	if s.file != nil {
		return s.file.WriteAt(p, off)
	}
	if n := int64(len(s.mem)); end > n {
		if end > int64(cap(s.mem)) { // append would grow it by a quarter, and leave three times as much garbage
			s.mem = slices.Grow(s.mem, int(max(end-n, n, spoolFirst)))
		}
		s.mem = s.mem[:end]
		clear(s.mem[n:])
	}
	return copy(s.mem[off:], p), nil
}

// spill moves what there is to a file.
func (s *spool) spill() error {
	f, err := durable.Scratch(s.fs, s.dir, 0o600)
	if err != nil {
		return fmt.Errorf("spool of a batch: %w", err)
	}
	if _, err := f.WriteAt(s.mem, 0); err != nil {
		return fmt.Errorf("spool of a batch: %w", errors.Join(err, f.Close()))
	}
	s.file, s.mem = f, s.mem[:0]
	return nil
}

func (s *spool) ReadAt(p []byte, off int64) (int, error) {
	if s.file != nil {
		return s.file.ReadAt(p, off)
	}
	if off >= int64(len(s.mem)) {
		return 0, io.EOF
	}
	n := copy(p, s.mem[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Close gives back what the spool took.
func (s *spool) Close() error {
	if s.mem != nil {
		mem := s.mem[:0]
		memories.Put(&mem)
		s.mem = nil
	}
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

func (s *spool) Truncate(int64) error { return errors.ErrUnsupported }
func (s *spool) Sync() error          { return nil }
func (s *spool) Size() (int64, error) { return s.size, nil }
func (s *spool) Name() string         { return "batch" }
