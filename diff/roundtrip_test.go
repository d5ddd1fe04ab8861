package diff_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	var e diff.Encoder
	rapid.Check(t, func(t *rapid.T) {
		script := []byte{rapid.Byte().Draw(t, "size"), rapid.Byte().Draw(t, "pages")}
		for range rapid.IntRange(0, 12).Draw(t, "operations") {
			op := rapid.SliceOfN(rapid.Byte(), opLen, opLen).Draw(t, "operation")
			script = append(script, op...)
		}
		size, pages := transaction(script)
		roundTrip(t, &e, size, pages)
	})
}

// TestLengths changes runs of every length near the ones where the encoding
// changes its mind, at both ends of the page and in between.
func TestLengths(t *testing.T) {
	var e diff.Encoder
	lengths := []int{
		1, 2, 7, 8, 9, 11, 12, 13, 15, 16, 17, 23, 24, 25, 29, 30, 31, 32, 33, 63, 64, 65, 127, 128, 129,
		158, 159, 160, 255, 256, 257, 510, 511, 512,
	}
	for size := diff.MinPageSize; size <= diff.MaxPageSize; size *= 2 {
		if testing.Short() && size > 1024 && size < diff.MaxPageSize {
			continue // under the race detector they take long and differ little
		}
		old := leaf(size, 3)
		for _, n := range append(lengths, size/2, size-8, size-1, size) {
			for _, at := range []int{0, 1, 7, size/2 - n/2, size - n - 1, size - n} {
				if at < 0 || at+n > size {
					continue
				}
				for _, how := range []string{"invert", "random", "fill", "shift"} {
					pg := diff.Page{No: 7, Old: old, New: bytes.Clone(old)}
					change(pg.New[at:at+n], how)
					roundTrip(t, &e, size, []diff.Page{pg})
				}
			}
		}
	}
}

func change(b []byte, how string) {
	r := rand.New(rand.NewPCG(uint64(len(b)), 2))
	switch how {
	case "invert":
		for i := range b {
			b[i] = ^b[i]
		}
	case "random":
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	case "fill":
		for i := range b {
			b[i] = 0xf1
		}
	case "shift":
		copy(b, b[len(b)/3:])
	}
}

// TestMoves are the changes that the encoding exists for; each has a size in
// bytes it must not exceed.
func TestMoves(t *testing.T) {
	const size = 4096
	a, b := leaf(size, 1), leaf(size, 2)
	random := make([]byte, 2*size)
	change(random, "random")
	r1, r2 := random[:size], random[size:]
	zero := make([]byte, size)
	shifted := append(bytes.Clone(r1[:100]), r1[98:size-2]...)
	pointers := bytes.Clone(r1)
	copy(pointers, r1[40:140])
	copy(pointers[100:], r1[300:400])
	copy(pointers[200:], r1[202:212])
	copy(pointers[300:], r1[298:308])
	periodic := bytes.Repeat(append(bytes.Clone(r1[:48]), zero[:16]...), size/64)
	for _, c := range []struct {
		name  string
		pages []diff.Page
		most  int
	}{
		{"nothing", []diff.Page{{No: 1, Old: a, New: a}}, 0},
		{"two pages change places", []diff.Page{{No: 1, Old: r1, New: r2}, {No: 2, Old: r2, New: r1}}, 18},
		{"a page moves", []diff.Page{{No: 1, Old: r1, New: b}, {No: 2, Old: b, New: r1}}, 18},
		{"a new page like another's old content", []diff.Page{{No: 1, Old: r1, New: zero}, {No: 2, Old: zero, New: r1}}, 16},
		{"a new page like another new page", []diff.Page{{No: 1, New: r1}, {No: 2, Old: zero, New: r1}}, size + 16},
		{"half a page moves", []diff.Page{
			{No: 1, Old: r1, New: append(bytes.Clone(r1[:size/2]), zero[size/2:]...)},
			{No: 2, Old: zero, New: append(bytes.Clone(zero[size/2:]), r1[size/2:]...)},
		}, 24},
		{"two bytes are inserted", []diff.Page{{No: 1, Old: r1, New: shifted}}, 12},
		{"few pointers move after other shifts", []diff.Page{{No: 1, Old: r1, New: pointers}}, 20},
		{"a page repeats itself", []diff.Page{{No: 1, New: periodic}}, 48 + 40},
		{"a page is cleared", []diff.Page{{No: 1, Old: r1, New: zero}}, 8},
		{"a page of zeros in full", []diff.Page{{No: 1, New: zero}}, 8},
	} {
		t.Run(c.name, func(t *testing.T) {
			var e diff.Encoder
			if n := roundTrip(t, &e, size, c.pages).Len(); n > c.most {
				t.Errorf("took %d bytes, want at most %d", n, c.most)
			}
		})
	}
}

// TestLargeGroup fills a group, so that window positions and tables are at
// their limits. VACUUM makes such transactions: most pages are some other
// page's old content.
func TestLargeGroup(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		n := diff.GroupPages(size)
		r := rand.New(rand.NewPCG(uint64(size), 4))
		pages := make([]diff.Page, n)
		content := make([]byte, (n+1)*size)
		change(content, "random")
		for i := range pages {
			from := r.IntN(n) * size
			pages[i] = diff.Page{No: uint32(i + 1), Old: content[i*size : (i+1)*size], New: content[from : from+size]}
		}
		var e diff.Encoder
		body := roundTrip(t, &e, size, pages)
		if most := n * size / 10; size > 512 && body.Len() > most {
			t.Errorf("page size %d: moving pages took %d bytes, want at most %d", size, body.Len(), most)
		}
	}
}

// TestEncoderForgets: an encoder that still had the places of an earlier
// transaction in its table would find the second page here where a new encoder
// does not, in the first new page; and processes that encode the same
// transaction would differ.
func TestEncoderForgets(t *testing.T) {
	const size = 4096
	random, zero := make([]byte, size), make([]byte, size)
	change(random, "random")
	shifted := append([]byte("four"), random[:size-4]...)
	var e diff.Encoder
	roundTrip(t, &e, size, []diff.Page{{No: 1, Old: zero, New: random}, {No: 2, Old: zero, New: random}})
	roundTrip(t, &e, size, []diff.Page{{No: 1, Old: shifted, New: random}, {No: 2, Old: zero, New: random}})
}
