package diff

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/zeebo/xxh3"
)

// SumSize is the length of a Sum in binary form.
const SumSize = 16

// Sum is the checksum of a database state: the sum, modulo 2^64 in each half,
// of the seeded 128-bit hashes of its pages, the lock-byte page excepted.
// The zero Sum is the state of an empty database.
//
// Because the order of addition does not matter, a transaction's change of the
// state is Sub of the old pages' hashes and Add of the new ones'. Because each
// page's hash is seeded with its number and is not linear, two pages swapped,
// the same bit flipped in two pages, and a patch applied to the wrong page all
// change the Sum; an XOR of CRCs sees none of them. It finds accidents, it
// does not resist an adversary.
type Sum struct{ Hi, Lo uint64 }

// PageSum is the hash of one page: xxh3-128 seeded with the page number.
func PageSum(no uint32, page []byte) Sum {
	h := xxh3.Hash128Seed(page, uint64(no))
	return Sum{Hi: h.Hi, Lo: h.Lo}
}

// Add is the sum of s and t, each half modulo 2^64.
func (s Sum) Add(t Sum) Sum { return Sum{s.Hi + t.Hi, s.Lo + t.Lo} }

// Sub undoes Add.
func (s Sum) Sub(t Sum) Sum { return Sum{s.Hi - t.Hi, s.Lo - t.Lo} }

// Cut is the 4 bytes of the sum that sealed records carry: its low 32 bits.
func (s Sum) Cut() uint32 { return uint32(s.Lo) }

// IsZero tells whether s is the sum of an empty database.
func (s Sum) IsZero() bool { return s == Sum{} }

// String is 32 hexadecimal digits, Hi before Lo.
func (s Sum) String() string {
	var text [2 * SumSize]byte
	return string(s.appendText(text[:0]))
}

// MarshalText is String for encoders such as encoding/json.
func (s Sum) MarshalText() ([]byte, error) {
	return s.appendText(make([]byte, 0, 2*SumSize)), nil
}

// UnmarshalText is ParseSum for decoders such as encoding/json.
func (s *Sum) UnmarshalText(text []byte) error {
	t, err := ParseSum(string(text))
	if err != nil {
		return err
	}
	*s = t
	return nil
}

// ParseSum reads what String wrote. Upper-case digits are refused, so that a
// sum has one spelling.
func ParseSum(s string) (Sum, error) {
	var bin [SumSize]byte
	if len(s) != 2*SumSize {
		return Sum{}, fmt.Errorf("checksum %q: want %d hexadecimal digits, have %d characters", s, 2*SumSize, len(s))
	}
	for i := range len(s) {
		if s[i] >= 'A' && s[i] <= 'F' {
			return Sum{}, fmt.Errorf("checksum %q: want lower-case hexadecimal digits", s)
		}
	}
	if _, err := hex.Decode(bin[:], []byte(s)); err != nil {
		return Sum{}, fmt.Errorf("checksum %q: %w", s, err)
	}
	return Sum{Hi: binary.BigEndian.Uint64(bin[:8]), Lo: binary.BigEndian.Uint64(bin[8:])}, nil
}

// AppendBinary appends the 16 bytes that files hold: Lo, then Hi, each
// little-endian. It never fails; the error is encoding.BinaryAppender's.
func (s Sum) AppendBinary(b []byte) ([]byte, error) {
	b = binary.LittleEndian.AppendUint64(b, s.Lo)
	return binary.LittleEndian.AppendUint64(b, s.Hi), nil
}

// SumFromBytes reads the first 16 bytes of b, as AppendBinary wrote them. It
// panics when b is shorter.
func SumFromBytes(b []byte) Sum {
	_ = b[SumSize-1]
	return Sum{Lo: binary.LittleEndian.Uint64(b), Hi: binary.LittleEndian.Uint64(b[8:])}
}

func (s Sum) appendText(b []byte) []byte {
	var bin [SumSize]byte
	binary.BigEndian.PutUint64(bin[:8], s.Hi)
	binary.BigEndian.PutUint64(bin[8:], s.Lo)
	return hex.AppendEncode(b, bin[:])
}
