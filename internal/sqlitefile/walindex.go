package sqlitefile

import "encoding/binary"

// IndexHeaderSize is the length in bytes of the header of a wal-index, the file
// with the suffix -shm.
const IndexHeaderSize = 136

// IndexHeader is the header of a wal-index: which frames of the log are
// committed and visible, and how many a checkpoint has copied.
// See https://www.sqlite.org/walformat.html#the_wal_index_header.
type IndexHeader struct {
	Change            uint32    // counts transactions
	BigEndian         bool      // order of the log's checksums
	PageSize          int       // bytes
	MxFrame           uint32    // last committed frame, 0: the log is not used
	PageCount         uint32    // size of the database in pages
	FrameChecksum     [2]uint32 // cumulative checksum of frame MxFrame
	Salt              [2]uint32 // as WALHeader.Salt
	Backfill          uint32    // frames that are known to be in the database file, synced
	ReadMark          [5]uint32 // frames up to which readers read; ^0: unused
	BackfillAttempted uint32    // frames that may be in it, even in part
}

// ParseIndexHeader reads the header from the first IndexHeaderSize bytes of b,
// which it does not keep. ok is false when b is too short, when the two copies
// of the header differ (a writer is at work: read again), when it was never
// initialised, or its version, page size or checksum is wrong.
//
// The integers of a wal-index are in the byte order of the machine, since it
// never outlives one; only the salts are copies of the log's bytes. Backfill
// and the fields after it are not covered by the checksum, and each may be
// newer than the rest.
func ParseIndexHeader(b []byte) (h IndexHeader, ok bool) {
	h, ok = parseIndexHeader(b)
	return h, ok && ValidPageSize(h.PageSize)
}

// ParseEmptyIndexHeader is ParseIndexHeader that takes the header of a log that
// has no frames and never had, too: that says no page size.
func ParseEmptyIndexHeader(b []byte) (h IndexHeader, ok bool) {
	h, ok = parseIndexHeader(b)
	return h, ok && (ValidPageSize(h.PageSize) || h.PageSize == 0 && h.MxFrame == 0)
}

func parseIndexHeader(b []byte) (h IndexHeader, ok bool) {
	const half = 48
	if len(b) < IndexHeaderSize || string(b[:half]) != string(b[half:2*half]) {
		return IndexHeader{}, false
	}
	u32 := func(off int) uint32 { return binary.NativeEndian.Uint32(b[off:]) }
	if u32(0) != WALVersion || b[12] == 0 {
		return IndexHeader{}, false
	}
	sum := Checksum(nativeIsBig, [2]uint32{}, b[:40])
	if sum != [2]uint32{u32(40), u32(44)} {
		return IndexHeader{}, false
	}
	size := pageSize16(binary.NativeEndian.Uint16(b[14:]))
	h = IndexHeader{
		Change:            u32(8),
		BigEndian:         b[13] != 0,
		PageSize:          size,
		MxFrame:           u32(16),
		PageCount:         u32(20),
		FrameChecksum:     [2]uint32{u32(24), u32(28)},
		Salt:              [2]uint32{binary.BigEndian.Uint32(b[32:]), binary.BigEndian.Uint32(b[36:])},
		Backfill:          u32(96),
		BackfillAttempted: u32(128),
	}
	for i := range h.ReadMark {
		h.ReadMark[i] = u32(100 + 4*i)
	}
	return h, true
}

// nativeIsBig is the byte order of this machine.
var nativeIsBig = binary.NativeEndian.Uint16([]byte{0, 1}) == 1
