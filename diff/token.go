package diff

import (
	"encoding/binary"
	"math/bits"
)

// The kinds of token, in the upper three bits of a token byte. Kinds are never
// renumbered; 6 and 7 are free for a later version of the format.
const (
	kindSame    = 0 // n bytes of the old page at this offset; n = 0: the rest of the page
	kindLiteral = 1 // n bytes of the literals
	kindShift   = 2 // n bytes of the old page at this offset + d
	kindAgain   = 3 // the same with the last d
	kindFrom    = 4 // n bytes of the window
	kindFill    = 5 // n times one byte
)

const (
	kindBits  = 5               // a token byte is kind<<kindBits | length
	lengthMax = 1<<kindBits - 1 // a length from here on continues in a uvarint
)

// firstShift is the last shift before there was one: an insert moves the rest
// of a b-tree page's cell pointer array by one entry.
const firstShift = -2

// maxOperand is more than any length, shift or distance in a window of 32 MiB
// takes as a varint, and little enough for an int of 32 bits.
const maxOperand = 1 << 27

func appendToken(b []byte, kind byte, n int) []byte {
	if n < lengthMax {
		return append(b, kind<<kindBits|byte(n))
	}
	return appendUvarint(append(b, kind<<kindBits|lengthMax), uint64(n-lengthMax))
}

func appendUvarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return binary.AppendUvarint(b, v)
}

// appendPageNo appends the gap between a page's number and the one before it,
// and whether the page stands in full.
func appendPageNo(b []byte, gap uint32, full bool) []byte {
	v := uint64(gap) << 1
	if full {
		v |= 1
	}
	return appendUvarint(b, v)
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func zigzag(v int) uint64 { return uint64(v<<1) ^ uint64(v>>63) }

func unzigzag(v uint64) int { return int(v>>1) ^ -int(v&1) }

// readUvarint reads a number of at most five bytes (35 bits: the largest we
// write is a page number doubled) at b[p:]. It returns the offset after it, or
// -1 when it is cut short, too long or not in its shortest form.
func readUvarint(b []byte, p int) (uint64, int) {
	var v uint64
	for shift := 0; shift < 35 && p < len(b); shift += 7 {
		c := b[p]
		p++
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if c == 0 && shift > 0 {
				return 0, -1
			}
			return v, p
		}
	}
	return 0, -1
}
