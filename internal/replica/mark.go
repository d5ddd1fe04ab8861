// Package replica knows how a replica says where it is: what package apply/follow writes, and what those who read the
// replica look at. The mark of a position is the content of the last frame of every commit in the WAL, under a page
// number that no database has, and is in the slots of the file R-pos. It imports no driver and no store.
package replica

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// Mark says which state a replica is in. All integers are little-endian.
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
type Mark struct {
	journal.Position
	Time journal.Time
	Seq  uint64 // in slots only
}

const (
	// MarkSize is the length of a mark in bytes.
	MarkSize = 128
	// Page is the number of the page whose content is a mark. No database has it: nothing reads it and no checkpoint
	// copies it.
	Page = 0xFFFFFFFF
	// SlotSize is the distance of the two slots: each has a sector, whatever a sector is, to itself.
	SlotSize = 4096
	// Suffix follows the name of a replica in that of the file of its slots.
	Suffix = "-pos"

	magic = "PTPOS\r\n\x01"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Put writes the mark to the first MarkSize bytes of b.
func (m *Mark) Put(b []byte) {
	clear(b[:MarkSize])
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint64(b[8:], m.Seq)
	copy(b[16:], m.Database[:])
	le.PutUint32(b[32:], uint32(m.Timeline))
	le.PutUint64(b[40:], uint64(m.TXID))
	le.PutUint64(b[48:], m.Sum.Lo)
	le.PutUint64(b[56:], m.Sum.Hi)
	le.PutUint64(b[64:], uint64(m.Time))
	le.PutUint32(b[124:], crc32.Checksum(b[:124], castagnoli))
}

// Parse reads what Put wrote; false when it is anything else.
func Parse(b []byte) (Mark, bool) {
	le := binary.LittleEndian
	if len(b) < MarkSize || string(b[:8]) != magic || le.Uint32(b[124:]) != crc32.Checksum(b[:124], castagnoli) {
		return Mark{}, false
	}
	m := Mark{Seq: le.Uint64(b[8:]), Time: journal.Time(le.Uint64(b[64:]))}
	copy(m.Database[:], b[16:32])
	m.Timeline = journal.Timeline(le.Uint32(b[32:]))
	m.TXID = journal.TXID(le.Uint64(b[40:]))
	m.Sum = diff.Sum{Lo: le.Uint64(b[48:]), Hi: le.Uint64(b[56:])}
	return m, true
}
