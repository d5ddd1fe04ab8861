package follow

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// A mark says which state the replica is in. It is written in two places: as
// the content of the last frame of every commit, under the page number
// positionPage, and into one of the two slots of the file R-pos whenever the
// WAL's generation is about to end. All integers are little-endian.
//
//	0   8  magic "PTPOS" 0D 0A 01, the last byte being the version
//	8   8  number of the write, so that the newer of two slots is known
//	16 16  database ID
//	32  4  timeline
//	36  4  zero
//	40  8  TXID
//	48 16  state checksum
//	64  8  time of the transaction, in microseconds since 1970
//	72 52  zero
//	124 4  CRC-32C of the 124 bytes before
type mark struct {
	journal.Position
	time journal.Time
	seq  uint64 // slots only
}

const (
	markSize  = 128
	markMagic = "PTPOS\r\n\x01"

	// positionPage is a page that no database has: nothing reads it and no
	// checkpoint copies it, so a frame of that number is content for us alone.
	positionPage = 0xFFFFFFFF

	slotSize = 4096 // each slot has a sector, whatever a sector is, to itself
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (m mark) put(b []byte) {
	clear(b[:markSize])
	le := binary.LittleEndian
	copy(b, markMagic)
	le.PutUint64(b[8:], m.seq)
	copy(b[16:], m.Database[:])
	le.PutUint32(b[32:], uint32(m.Timeline))
	le.PutUint64(b[40:], uint64(m.TXID))
	le.PutUint64(b[48:], m.Sum.Lo)
	le.PutUint64(b[56:], m.Sum.Hi)
	le.PutUint64(b[64:], uint64(m.time))
	le.PutUint32(b[124:], crc32.Checksum(b[:124], castagnoli))
}

// parseMark reads what put wrote; false when it is anything else.
func parseMark(b []byte) (mark, bool) {
	le := binary.LittleEndian
	if len(b) < markSize || string(b[:8]) != markMagic || le.Uint32(b[124:]) != crc32.Checksum(b[:124], castagnoli) {
		return mark{}, false
	}
	m := mark{seq: le.Uint64(b[8:]), time: journal.Time(le.Uint64(b[64:]))}
	copy(m.Database[:], b[16:32])
	m.Timeline = journal.Timeline(le.Uint32(b[32:]))
	m.TXID = journal.TXID(le.Uint64(b[40:]))
	m.Sum = diff.Sum{Lo: le.Uint64(b[48:]), Hi: le.Uint64(b[56:])}
	return m, true
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
