package durable

import (
	"errors"
	"fmt"
	"io"
)

// Spool is a [File] for what is on its way: in memory while it is small, and then in a [Scratch] file. It is never durable.
type Spool struct {
	fs     FS
	dir    string
	memory int64
	mem    []byte
	size   int64
	file   File // nil while all is in memory
}

var _ File = (*Spool)(nil)

// NewSpool makes an empty spool. Beyond so many bytes of memory it goes to a file in dir; "" means os.TempDir().
func NewSpool(fsys FS, dir string, memory int64) *Spool {
	return &Spool{fs: fsys, dir: dir, memory: memory}
}

// WriteAt writes anywhere; what is skipped reads as zeros.
func (s *Spool) WriteAt(p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	if s.file == nil && end > s.memory {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	s.size = max(s.size, end)
	if s.file != nil {
		return s.file.WriteAt(p, off)
	}
	if n := int64(len(s.mem)); end > n {
		s.mem = append(s.mem, make([]byte, end-n)...)
	}
	return copy(s.mem[off:], p), nil
}

// Write appends.
func (s *Spool) Write(p []byte) (int, error) { return s.WriteAt(p, s.size) }

// spill moves what there is to a file.
func (s *Spool) spill() error {
	f, err := Scratch(s.fs, s.dir, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(s.mem, 0); err != nil {
		return fmt.Errorf("temporary file: %w", errors.Join(err, f.Close()))
	}
	s.file, s.mem = f, nil
	return nil
}

// ReadAt reads what was written.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) {
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

// Close forgets what was written.
func (s *Spool) Close() error {
	f := s.file
	s.file, s.mem, s.size = nil, nil, 0
	if f == nil {
		return nil
	}
	return f.Close()
}

// Truncate is not needed of what is only ever appended to.
func (s *Spool) Truncate(int64) error { return errors.ErrUnsupported }

// Sync does nothing: there is nothing to keep.
func (s *Spool) Sync() error { return nil }

// Size is that of what was written.
func (s *Spool) Size() (int64, error) { return s.size, nil }

// Name is for messages.
func (s *Spool) Name() string { return "spool" }
