package sqlitefile

import "encoding/binary"

// NewWALHeader makes the header of a new generation of a log, in the byte
// order whose checksums are the fastest here, and with its own checksum set.
// A page size that SQLite does not allow is a bug of the caller and panics.
func NewWALHeader(pageSize int, sequence uint32, salt [2]uint32) WALHeader {
	if !ValidPageSize(pageSize) {
		panic("sqlitefile: page size is not one of SQLite's")
	}
	h := WALHeader{PageSize: pageSize, Sequence: sequence, Salt: salt, BigEndian: nativeIsBig}
	var b [WALHeaderSize]byte
	h.put(b[:])
	h.Checksum = Checksum(h.BigEndian, [2]uint32{}, b[:24])
	return h
}

// Append appends the WALHeaderSize bytes that ParseWALHeader reads.
func (h WALHeader) Append(dst []byte) []byte {
	var b [WALHeaderSize]byte
	h.put(b[:])
	return append(dst, b[:]...)
}

func (h WALHeader) put(b []byte) {
	magic := uint32(WALMagicLittle)
	if h.BigEndian {
		magic = WALMagicBig
	}
	for i, v := range [...]uint32{
		magic, WALVersion, uint32(h.PageSize), h.Sequence, h.Salt[0], h.Salt[1], h.Checksum[0], h.Checksum[1],
	} {
		binary.BigEndian.PutUint32(b[4*i:], v)
	}
}

// AppendFrame appends a frame with page number no and the given content, which
// is of the log's page size, to dst. commit is the size of the database in
// pages if the frame ends a transaction, else 0. prev is the cumulative
// checksum of the frame before (of the header, for the first); the frame's own
// is returned.
func (h WALHeader) AppendFrame(dst []byte, no, commit uint32, page []byte, prev [2]uint32) ([]byte, [2]uint32) {
	if len(page) != h.PageSize || no == 0 {
		panic("sqlitefile: frame without a page, or of another size")
	}
	at := len(dst)
	var b [FrameHeaderSize]byte
	dst = append(dst, b[:]...)
	dst = append(dst, page...)
	f := dst[at:]
	u32 := func(off int, v uint32) { binary.BigEndian.PutUint32(f[off:], v) }
	u32(0, no)
	u32(4, commit)
	u32(8, h.Salt[0])
	u32(12, h.Salt[1])
	sum := Checksum(h.BigEndian, prev, f[:8])
	sum = Checksum(h.BigEndian, sum, f[FrameHeaderSize:])
	u32(16, sum[0])
	u32(20, sum[1])
	return dst, sum
}
