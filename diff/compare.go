package diff

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// compareBlock is how many bytes are compared at once where equality is
// likely: bytes.Equal is several times faster than a loop over words. It
// divides every page size.
const compareBlock = 256

// change says what of a page changed: everything before lo and from hi on is
// equal. bytes is the number of bytes in between that differ, exact up to
// fewBytes.
type change struct {
	page          int // index in Encode's pages
	lo, hi, bytes int
}

// compare finds what changed; bytes is 0 when nothing did.
func compare(old, new []byte) change {
	lo, hi := 0, len(new)
	for lo < hi && equalBlock(old, new, lo) {
		lo += compareBlock
	}
	if lo == hi {
		return change{}
	}
	for equalBlock(old, new, hi-compareBlock) {
		hi -= compareBlock
	}
	lo += matchLen(old[lo:hi], new[lo:hi])
	for hi -= 8; load64(old, hi) == load64(new, hi); {
		hi -= 8
	}
	hi += 8 - bits.LeadingZeros64(load64(old, hi)^load64(new, hi))>>3
	// Bytes of these words outside [lo, hi) are equal and count nothing. The last
	// ones come first: an insert's cell is there, and then that is that.
	first, end := lo&^7, (hi+7)&^7
	last := max(first, end-64)
	n := countChanged(old, new, last, end)
	if n <= fewBytes {
		n += countChanged(old, new, first, last)
	}
	return change{lo: lo, hi: hi, bytes: n}
}

// countChanged counts the bytes that differ in [lo, hi), both multiples of 8,
// until it has seen more than fewBytes.
func countChanged(old, new []byte, lo, hi int) int {
	n := 0
	for p := lo; p < hi && n <= fewBytes; {
		if p%compareBlock == 0 && p+compareBlock <= hi && equalBlock(old, new, p) {
			p += compareBlock
			continue
		}
		if x := load64(old, p) ^ load64(new, p); x != 0 {
			n += bytesSet(x)
		}
		p += 8
	}
	return n
}

func equalBlock(a, b []byte, at int) bool {
	return bytes.Equal(a[at:at+compareBlock], b[at:at+compareBlock])
}

// bytesSet is the number of bytes of x that are not zero.
func bytesSet(x uint64) int {
	x |= x >> 4
	x |= x >> 2
	x |= x >> 1
	return bits.OnesCount64(x & 0x0101010101010101)
}

func load64(b []byte, i int) uint64 { return binary.LittleEndian.Uint64(b[i : i+8 : i+8]) }

// matchLen is the length of the common prefix of a and b.
func matchLen(a, b []byte) int {
	n := min(len(a), len(b))
	a, b = a[:n:n], b[:n:n]
	i := 0
	for i >= 0 && i <= len(a)-8 {
		if x := load64(a, i) ^ load64(b, i); x != 0 {
			return i + bits.TrailingZeros64(x)>>3
		}
		// A few words first, because most matches are short, then blocks.
		if i += 8; i%64 == 0 {
			for i+compareBlock <= n && equalBlock(a, b, i) {
				i += compareBlock
			}
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// backLen is the length, at most limit, of the common suffix of a and b.
func backLen(a, b []byte, limit int) int {
	limit = min(limit, len(a), len(b))
	a, b = a[len(a)-limit:], b[len(b)-limit:]
	n := 0
	for n < limit && a[limit-1-n] == b[limit-1-n] {
		n++
	}
	return n
}
