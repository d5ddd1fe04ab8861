package sqlitefile

import (
	"encoding/binary"
	"fmt"
)

// Layout of a write-ahead log: a header, then frames of a header and a page.
// All integers are big-endian.
// See https://www.sqlite.org/fileformat2.html#the_write_ahead_log.
const (
	WALHeaderSize   = 32         // bytes at the beginning of the file
	FrameHeaderSize = 24         // bytes before the page of each frame
	WALMagicLittle  = 0x377f0682 // checksums take their words as little-endian
	WALMagicBig     = 0x377f0683 // checksums take their words as big-endian
	WALVersion      = 3007000    // the only version there is, of the log and of its index
)

// WALHeader is the header of a write-ahead log.
// See https://www.sqlite.org/fileformat2.html#wal_file_format.
type WALHeader struct {
	PageSize  int       // bytes
	Sequence  uint32    // checkpoint sequence number
	Salt      [2]uint32 // frames of this generation carry them; the first counts up by one a restart
	Checksum  [2]uint32 // of the 24 bytes before; the first frame's checksum goes on from here
	BigEndian bool      // order in which checksums take their words
}

// ParseWALHeader reads the header from the first WALHeaderSize bytes of b,
// which it does not keep. It refuses a wrong magic, an unknown version, a page
// size out of range and a wrong checksum, with an error wrapping
// [ErrMalformed]; SQLite takes such a log as one without any frame.
func ParseWALHeader(b []byte) (WALHeader, error) {
	if len(b) < WALHeaderSize {
		return WALHeader{}, fmt.Errorf("%w: WAL header: %d bytes, want %d", ErrMalformed, len(b), WALHeaderSize)
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	magic := u32(0)
	if magic != WALMagicLittle && magic != WALMagicBig {
		return WALHeader{}, fmt.Errorf("%w: WAL header: magic %#08x", ErrMalformed, magic)
	}
	h := WALHeader{
		Sequence:  u32(12),
		Salt:      [2]uint32{u32(16), u32(20)},
		Checksum:  [2]uint32{u32(24), u32(28)},
		BigEndian: magic == WALMagicBig,
	}
	if sum := Checksum(h.BigEndian, [2]uint32{}, b[:24]); sum != h.Checksum {
		return WALHeader{}, fmt.Errorf("%w: WAL header: checksum %08x, want %08x", ErrMalformed, sum, h.Checksum)
	}
	if v := u32(4); v != WALVersion {
		return WALHeader{}, fmt.Errorf("%w: WAL header: version %d, want %d", ErrMalformed, v, WALVersion)
	}
	size := u32(8)
	if size > MaxPageSize || !ValidPageSize(int(size)) {
		return WALHeader{}, fmt.Errorf("%w: WAL header: page size %d", ErrMalformed, size)
	}
	h.PageSize = int(size)
	return h, nil
}

// FrameSize is the length in bytes of a frame, header and page.
func (h WALHeader) FrameSize() int { return FrameHeaderSize + h.PageSize }

// FrameOffset is where frame number n, counted from 1, begins in the file.
func (h WALHeader) FrameOffset(n uint32) int64 {
	return WALHeaderSize + (int64(n)-1)*int64(h.FrameSize())
}

// Frames is the number of whole frames that fit a log of size bytes, valid or
// not.
func (h WALHeader) Frames(size int64) uint32 {
	if size <= WALHeaderSize {
		return 0
	}
	return uint32(min((size-WALHeaderSize)/int64(h.FrameSize()), 1<<32-1))
}

// Frame is the header of a frame.
// See https://www.sqlite.org/fileformat2.html#wal_file_format.
type Frame struct {
	Page     uint32    // number of the page that follows
	Commit   uint32    // size of the database in pages after the commit; 0: not a commit
	Salt     [2]uint32 // those of the log's header, or the frame is of an older generation
	Checksum [2]uint32 // cumulative: over all frames up to and with this one
}

// ParseFrame reads a frame's header from the first FrameHeaderSize bytes of b,
// which must have them. It checks nothing; see [WALHeader.CheckFrame].
func ParseFrame(b []byte) Frame {
	_ = b[FrameHeaderSize-1]
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	return Frame{
		Page:     u32(0),
		Commit:   u32(4),
		Salt:     [2]uint32{u32(8), u32(12)},
		Checksum: [2]uint32{u32(16), u32(20)},
	}
}

// CheckFrame reads the header of the frame b, which is FrameSize bytes, and
// says whether it is a valid successor of the frame (or header) whose
// cumulative checksum is prev.
func (h WALHeader) CheckFrame(b []byte, prev [2]uint32) (Frame, bool) {
	f := ParseFrame(b)
	if f.Page == 0 || f.Salt != h.Salt {
		return f, false
	}
	sum := Checksum(h.BigEndian, prev, b[:8])
	sum = Checksum(h.BigEndian, sum, b[FrameHeaderSize:h.FrameSize()])
	return f, sum == f.Checksum
}

// Checksum continues the checksum s over data, whose length must be a multiple
// of 8 (what exceeds one is ignored). The words of data are taken big-endian
// or little-endian; the result has no byte order.
// See https://www.sqlite.org/fileformat2.html#checksum_algorithm.
//
// It is called for every byte that is committed in WAL mode. Each step depends
// on the one before, two additions deep, which is all that limits it once the
// loop is unrolled: so the sums are written with the operand that is known
// last standing last.
func Checksum(bigEndian bool, s [2]uint32, data []byte) [2]uint32 {
	if bigEndian {
		return checksumBig(s, data)
	}
	return checksumLittle(s, data)
}

func checksumLittle(s [2]uint32, data []byte) [2]uint32 {
	a, b := s[0], s[1]
	for len(data) >= 32 {
		d := data[:32:32]
		v0 := binary.LittleEndian.Uint64(d[0:])
		v1 := binary.LittleEndian.Uint64(d[8:])
		v2 := binary.LittleEndian.Uint64(d[16:])
		v3 := binary.LittleEndian.Uint64(d[24:])
		a = (a + uint32(v0)) + b
		b = (b + uint32(v0>>32)) + a
		a = (a + uint32(v1)) + b
		b = (b + uint32(v1>>32)) + a
		a = (a + uint32(v2)) + b
		b = (b + uint32(v2>>32)) + a
		a = (a + uint32(v3)) + b
		b = (b + uint32(v3>>32)) + a
		data = data[32:]
	}
	for ; len(data) >= 8; data = data[8:] {
		v := binary.LittleEndian.Uint64(data)
		a = (a + uint32(v)) + b
		b = (b + uint32(v>>32)) + a
	}
	return [2]uint32{a, b}
}

func checksumBig(s [2]uint32, data []byte) [2]uint32 {
	a, b := s[0], s[1]
	for len(data) >= 32 {
		d := data[:32:32]
		v0 := binary.BigEndian.Uint64(d[0:])
		v1 := binary.BigEndian.Uint64(d[8:])
		v2 := binary.BigEndian.Uint64(d[16:])
		v3 := binary.BigEndian.Uint64(d[24:])
		a = (a + uint32(v0>>32)) + b
		b = (b + uint32(v0)) + a
		a = (a + uint32(v1>>32)) + b
		b = (b + uint32(v1)) + a
		a = (a + uint32(v2>>32)) + b
		b = (b + uint32(v2)) + a
		a = (a + uint32(v3>>32)) + b
		b = (b + uint32(v3)) + a
		data = data[32:]
	}
	for ; len(data) >= 8; data = data[8:] {
		v := binary.BigEndian.Uint64(data)
		a = (a + uint32(v>>32)) + b
		b = (b + uint32(v)) + a
	}
	return [2]uint32{a, b}
}
