package durable

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Spool is a [File] for what is on its way: in memory while it is small, and then in a [Scratch] file. It is never durable.
type Spool struct {
	fs     FS
	dir    string
	memory int64
	mem    []byte
	size   int64
	file   File // nil while all is in memory
	lent   bool // mem is one of memories
}

var _ File = (*Spool)(nil)

// memories are those of brief spools that were closed: of thousands of trails few are being sent at a time.
var memories sync.Pool

// lentBytes is what a brief spool takes at first.
const lentBytes = 128 << 10

// NewSpool makes an empty spool. Beyond so many bytes of memory it goes to a file in dir; "" means os.TempDir().
func NewSpool(fsys FS, dir string, memory int64) *Spool {
	return &Spool{fs: fsys, dir: dir, memory: memory}
}

// NewBriefSpool is [NewSpool] for what is soon closed again: in the memory of one that was.
func NewBriefSpool(fsys FS, dir string, memory int64) *Spool {
	s := &Spool{fs: fsys, dir: dir, memory: memory, lent: true}
	if b, ok := memories.Get().(*[]byte); ok {
		s.mem = *b
	}
	return s
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
	s.grow(end)
	return copy(s.mem[off:], p), nil
}

// grow makes the memory as long as end. What is lent grows twofold: append would grow it by a quarter, and leave three
// times as much garbage.
func (s *Spool) grow(end int64) {
	n := int64(len(s.mem))
	if end <= n {
		return
	}
	more := end - n
	if s.lent && end > int64(cap(s.mem)) {
		more = max(more, n, lentBytes)
	}
	s.mem = slices.Grow(s.mem, int(more))[:end]
	clear(s.mem[n:])
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
	s.file = f
	s.forget()
	return nil
}

// forget gives the memory up.
func (s *Spool) forget() {
	if s.lent && s.mem != nil {
		mem := s.mem[:0]
		memories.Put(&mem)
	}
	s.mem = nil
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
	s.forget()
	if s.file, s.size = nil, 0; f == nil {
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
