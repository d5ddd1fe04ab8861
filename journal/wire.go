package journal

import (
	"encoding/binary"
	"hash/crc32"
	"strings"
	"unicode/utf8"

	"github.com/pagetrail/pagetrail/diff"
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// appendSum writes a sum as 16 bytes: Lo, then Hi.
func appendSum(b []byte, s diff.Sum) []byte {
	return le.AppendUint64(le.AppendUint64(b, s.Lo), s.Hi)
}

func getSum(b []byte) diff.Sum {
	return diff.Sum{Lo: le.Uint64(b), Hi: le.Uint64(b[8:])}
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }

// fields reads fixed and variable fields off a slice. After the first mistake it returns zeros and
// bad stays true, so that callers check once, at the end.
type fields struct {
	b   []byte
	bad bool
}

// uvarint reads a LEB128 number in its minimal form: there is one encoding for a value.
func (f *fields) uvarint() uint64 {
	if len(f.b) > 0 && f.b[0] < 0x80 { // nearly all of them
		v := f.b[0]
		f.b = f.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(f.b)
	if n <= 0 || f.b[n-1] == 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

// upTo reads a uvarint that may not exceed most.
func (f *fields) upTo(most uint64) uint64 {
	v := f.uvarint()
	if v > most {
		f.fail()
		return 0
	}
	return v
}

// bytes takes the next n bytes, without copying.
func (f *fields) bytes(n int) []byte {
	if n < 0 || n > len(f.b) {
		f.fail()
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) u8() byte {
	if b := f.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (f *fields) u32() uint32 {
	if b := f.bytes(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (f *fields) u64() uint64 {
	if b := f.bytes(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (f *fields) sum() diff.Sum {
	if b := f.bytes(16); b != nil {
		return getSum(b)
	}
	return diff.Sum{}
}

func (f *fields) fail() {
	f.bad = true
	f.b = nil
}

func crcUpdate(crc uint32, b []byte) uint32 { return crc32.Update(crc, castagnoli, b) }

// validName says whether a restore point may be called so: it must stand on one line, and leave the lines around it as
// they are. What may be in it is said in numbers, and not by what is printable, since each version of Unicode has more
// of that: a name that one release writes would be corruption to the one before.
func validName(s string) bool {
	return s != "" && len(s) <= maxName && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return r < 0x20 || r >= 0x7f && r < 0xa0 || // C0, DEL and C1
			r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 // line and paragraph separators, directions
	})
}
