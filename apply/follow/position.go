package follow

import (
	"errors"
	"io"
	"os"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
)

// A mark says which state the replica is in; package internal/replica has its
// bytes. It is written in two places: as the content of the last frame of every
// commit, under the page number positionPage, and into one of the two slots of
// the file R-pos whenever the WAL's generation is about to end.
type mark struct {
	journal.Position
	time journal.Time
	seq  uint64 // slots only
}

const (
	markSize     = replica.MarkSize
	positionPage = replica.Page
	slotSize     = replica.SlotSize
)

func (m mark) put(b []byte) {
	(&replica.Mark{Position: m.Position, Time: m.time, Seq: m.seq}).Put(b)
}

// parseMark reads what put wrote; false when it is anything else.
func parseMark(b []byte) (mark, bool) {
	m, ok := replica.Parse(b)
	return mark{Position: m.Position, time: m.Time, seq: m.Seq}, ok
}

// slots is the file R-pos. It holds a lower bound of the position: the replica
// is there, or further on.
type slots struct {
	f    *os.File
	o    *Options
	last mark // what was read or written last; seq 0: nothing
}

// openSlots opens the file, creating it if told to. Without it, and without
// being told, it is nil.
func openSlots(name string, create bool, perm os.FileMode, o *Options) (*slots, error) {
	flag := os.O_RDWR | noFollow
	if create {
		flag |= os.O_CREATE
	}
	f, err := os.OpenFile(name, flag, perm)
	if !create && errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	s := &slots{f: f, o: o}
	for i := range int64(2) {
		var b [markSize]byte
		n, err := f.ReadAt(b[:], i*slotSize)
		if err != nil && err != io.EOF {
			return nil, errors.Join(err, f.Close())
		}
		if m, ok := parseMark(b[:n]); ok && m.seq > s.last.seq {
			s.last = m
		}
	}
	return s, nil
}

// write makes m the lower bound, durably. The slot that held the bound until
// now stays as it is, so a write that is torn loses nothing.
func (s *slots) write(m mark) error {
	if s.last.seq > 0 && m.Position == s.last.Position {
		return nil
	}
	m.seq = s.last.seq + 1
	var b [markSize]byte
	m.put(b[:])
	if _, err := s.f.WriteAt(b[:], int64(m.seq%2)*slotSize); err != nil {
		return err
	}
	if err := s.o.sync(s.f); err != nil {
		return err
	}
	s.last = m
	return nil
}

func (s *slots) close() error {
	if s == nil {
		return nil
	}
	return s.f.Close()
}
