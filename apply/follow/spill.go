package follow

import (
	"errors"
	"os"
	"path/filepath"
)

// scratch is a file without a name that holds the pages of transactions which
// are too large for memory, until they are verified and written to the WAL.
type scratch struct {
	f   *os.File
	end int64
}

// put appends a page and returns where it is, which is never 0.
func (s *scratch) put(dir string, b []byte) (int64, error) {
	if s.f == nil {
		f, err := os.CreateTemp(dir, ".pagetrail-*.tmp")
		if err != nil {
			return 0, err
		}
		if err := os.Remove(f.Name()); err != nil {
			return 0, errors.Join(err, f.Close())
		}
		s.f = f
	}
	at := s.end
	if _, err := s.f.WriteAt(b, at); err != nil {
		return 0, err
	}
	s.end += int64(len(b))
	return at + 1, nil
}

// get reads the page that put placed at.
func (s *scratch) get(at int64, b []byte) error {
	_, err := s.f.ReadAt(b, at-1)
	return err
}

// close gives the space back. The scratch is as new afterwards.
func (s *scratch) close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	*s = scratch{}
	return err
}

// spill moves a page to the scratch file.
func (s *stage) spill(p *staged) error {
	if p.buf == nil {
		return nil
	}
	at, err := s.scratch.put(filepath.Dir(s.r.path), p.buf)
	if err != nil {
		return err
	}
	s.recycle(p.buf)
	p.buf, p.at = nil, at
	return nil
}

// spillPending moves the pages decoded so far out of memory, if they are many.
func (s *stage) spillPending() error {
	if s.pending += len(s.out) * s.size; s.pending <= s.r.o.MemoryBytes {
		return nil
	}
	s.pending = 0
	for i := range s.pend {
		if err := s.spill(&s.pend[i]); err != nil {
			return err
		}
	}
	return nil
}

// content is what a staged page holds, in b if it was not in memory.
func (s *stage) content(p *staged, b []byte) ([]byte, error) {
	switch {
	case p.buf != nil:
		return p.buf, nil
	case p.at != 0:
		return b, s.scratch.get(p.at, b)
	}
	return s.zero, nil
}
