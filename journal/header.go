package journal

import (
	"crypto/sha256"

	"github.com/pagetrail/pagetrail/diff"
)

const (
	fileHeaderSize = 128
	trailerSize    = 32

	// formatVersion is written into every file and the identity. Version 1 came with the first release.
	formatVersion = 1

	flagSealed   = 1 << 0 // segments: compressed, with a footer; never written again
	flagSalvaged = 1 << 1 // sealed segments: what a repair found whole of a damaged one
)

// The magic numbers begin with a byte that is not ASCII and end in CR LF, so that a transfer which
// mangles either is noticed at once, as in PNG.
var (
	segmentMagic = [8]byte{0x89, 'P', 'T', 'S', 'E', 'G', '\r', '\n'}
	baseMagic    = [8]byte{0x89, 'P', 'T', 'B', 'A', 'S', '\r', '\n'}
	trailerMagic = [8]byte{0x89, 'P', 'T', 'E', 'N', 'D', '\r', '\n'}
)

type chainHash = [sha256.Size]byte

// fileHeader begins a segment or a base.
type fileHeader struct {
	magic    [8]byte
	flags    uint16
	database DatabaseID
	timeline Timeline
	first    TXID      // segments: of its first record; bases: whose state it is
	before   state     // segments: the state before first; bases: the state itself (txid is not stored)
	chain    chainHash // sealed segments: of the last block of the segment before, zero when unknown
}

// state is what the next record continues.
type state struct {
	txid      TXID
	time      Time
	sum       diff.Sum
	pageSize  uint32 // 0: no database yet
	pageCount uint32
}

func (h *fileHeader) sealed() bool { return h.flags&flagSealed != 0 }

// put writes the header into b, which is fileHeaderSize long.
func (h *fileHeader) put(b []byte) {
	clear(b[:fileHeaderSize])
	copy(b, h.magic[:])
	le.PutUint16(b[8:], formatVersion)
	le.PutUint16(b[10:], h.flags)
	le.PutUint32(b[12:], h.before.pageSize)
	copy(b[16:], h.database[:])
	le.PutUint32(b[32:], uint32(h.timeline))
	le.PutUint32(b[36:], h.before.pageCount)
	le.PutUint64(b[40:], uint64(h.first))
	appendSum(b[48:48], h.before.sum)
	le.PutUint64(b[64:], uint64(h.before.time))
	copy(b[72:], h.chain[:])
	le.PutUint32(b[124:], crcOf(b[:124]))
}

// parse reads a header of a segment or base. The version is looked at before the checksum, since a
// newer version may compute it otherwise.
func (h *fileHeader) parse(b []byte, magic [8]byte) error {
	if len(b) < fileHeaderSize {
		return because(ErrCorrupt, "header of %d bytes, want %d", len(b), fileHeaderSize)
	}
	b = b[:fileHeaderSize]
	if [8]byte(b) != magic {
		return because(ErrCorrupt, "not a pagetrail file of this kind: magic number % x", b[:8])
	}
	if v := le.Uint16(b[8:]); v > formatVersion {
		return because(ErrVersion, "format version %d, this program reads up to %d", v, formatVersion)
	}
	if crcOf(b[:124]) != le.Uint32(b[124:]) {
		return because(ErrCorrupt, "header checksum")
	}
	*h = fileHeader{
		magic:    magic,
		flags:    le.Uint16(b[10:]),
		database: DatabaseID(b[16:32]),
		timeline: Timeline(le.Uint32(b[32:])),
		first:    TXID(le.Uint64(b[40:])),
		before: state{
			time: Time(le.Uint64(b[64:])), sum: getSum(b[48:]),
			pageSize: le.Uint32(b[12:]), pageCount: le.Uint32(b[36:]),
		},
		chain: chainHash(b[72:104]),
	}
	return h.check(b)
}

func (h *fileHeader) check(b []byte) error {
	if le.Uint16(b[8:]) == 0 {
		return because(ErrCorrupt, "format version 0")
	}
	known := uint16(0)
	if h.magic == segmentMagic {
		known = flagSealed
	}
	if h.magic == segmentMagic && h.sealed() {
		known |= flagSalvaged
	}
	if h.flags&^known != 0 {
		return because(ErrFlag, "header flags %#x", h.flags)
	}
	if h.chain != (chainHash{}) && (!h.sealed() || h.magic == baseMagic) {
		return because(ErrCorrupt, "chain in a file that has none before it")
	}
	for _, z := range b[104:124] {
		if z != 0 {
			return because(ErrFlag, "reserved header bytes are not zero")
		}
	}
	if h.before.pageSize != 0 && !validPageSize(h.before.pageSize) {
		return because(ErrCorrupt, "page size %d", h.before.pageSize)
	}
	if h.before.pageSize == 0 && h.before.pageCount != 0 || h.before.pageCount > maxPageCount {
		return because(ErrCorrupt, "%d pages of %d bytes", h.before.pageCount, h.before.pageSize)
	}
	if h.first > MaxTXID || h.first == 0 && h.magic == segmentMagic {
		return because(ErrCorrupt, "first transaction %d", uint64(h.first))
	}
	if h.magic == segmentMagic {
		h.before.txid = h.first - 1
		return nil
	}
	h.before.txid = h.first
	return nil
}
