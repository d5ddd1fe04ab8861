package diff_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"

	"github.com/pagetrail/pagetrail/diff"
)

// A script is bytes that tell what a transaction does to its pages. Both rapid
// and the fuzzer write them, so that what one finds the other can keep.
//
//	sizes, pages, then of each operation: kind, page, offset (2), length (2), value
const opLen = 7

// transaction runs a script. All its pages are of sequential b-tree-like
// content before.
func transaction(script []byte) (size int, pages []diff.Page) {
	head := append(bytes.Clone(script[:min(2, len(script))]), 0, 0)
	size = diff.MinPageSize << (head[0] % 8)
	for i := range 1 + int(head[1]%6) {
		no := uint32(i*i+1) << (head[1] >> 4)
		pages = append(pages, diff.Page{No: no, Old: leaf(size, uint64(i/2))})
		pages[i].New = bytes.Clone(pages[i].Old)
	}
	for script = script[min(2, len(script)):]; len(script) >= opLen; script = script[opLen:] {
		operate(pages, script[:opLen])
	}
	return size, pages
}

// leaf is a page like one of a table: pointers, a gap, rows of text. Pages of
// one seed share their text.
func leaf(size int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	page := make([]byte, size)
	page[0] = 13
	end := size
	for p := 8; p+2 < end-90; p += 2 {
		row := 20 + r.IntN(60)
		end -= row
		for i := range row {
			page[end+i] = "abcdefghijklmnop"[r.IntN(16)]
		}
		binary.BigEndian.PutUint16(page[p:], uint16(end))
	}
	return page
}

func operate(pages []diff.Page, op []byte) {
	pg, other := &pages[int(op[1])%len(pages)], &pages[int(op[6])%len(pages)]
	page, size, value := pg.New, len(pg.New), op[6]
	off := int(binary.LittleEndian.Uint16(op[2:])) % size
	n := 1 + int(binary.LittleEndian.Uint16(op[4:]))%(size-off)
	switch op[0] % 11 {
	case 0: // a few bytes
		for i := range min(n, 9) {
			page[off+i] += value
		}
	case 1: // bytes that nobody has seen
		r := rand.New(rand.NewPCG(uint64(value), uint64(n)))
		for i := range n {
			page[off+i] = byte(r.Uint32())
		}
	case 2: // make room: everything behind moves on
		copy(page[min(off+n%80, size):], page[off:])
	case 3: // and back
		copy(page[off:], page[min(off+n%80, size):])
	case 4: // bytes of another page move here
		from := int(value) * size / 256
		copy(page[off:off+n], other.New[from:])
	case 5:
		for i := range n {
			page[off+i] = value
		}
	case 6: // two pages change places
		tmp := bytes.Clone(page)
		copy(page, other.New)
		copy(other.New, tmp)
	case 7:
		pg.Old = nil
	case 8: // a page that was not there before
		pg.Old = make([]byte, size)
	case 9: // pointers move by a constant
		for i := off; i+2 <= off+n; i += 2 {
			binary.BigEndian.PutUint16(page[i:], binary.BigEndian.Uint16(page[i:])+uint16(value))
		}
	case 10: // the page is itself again
		if pg.Old != nil {
			copy(page, pg.Old)
		}
	}
}

// failer is what testing's and rapid's T have in common that we need.
type failer interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// roundTrip encodes pages, holds the body against everything that is promised
// of it, and returns it.
func roundTrip(t failer, e *diff.Encoder, size int, pages []diff.Page) diff.Body {
	t.Helper()
	var fresh diff.Encoder
	body, kept := e.Encode(diff.Body{}, size, pages)
	again, _ := fresh.Encode(diff.Body{}, size, pages)
	if !equalBodies(body, again) {
		t.Fatal("an encoder that was used before writes something else than a new one")
	}
	var d diff.Decoder
	if err := d.Load(body, size); err != nil {
		t.Fatal(err)
	}
	var out, old [][]byte
	var want []diff.Page
	for _, pg := range pages {
		if pg.Old == nil || !bytes.Equal(pg.Old, pg.New) {
			want = append(want, pg)
			old, out = append(old, pg.Old), append(out, bytes.Repeat([]byte{0xdb}, size))
		}
	}
	if kept != len(want) || len(d.Pages()) != len(want) {
		t.Fatalf("kept %d pages, lists %d, changed are %d", kept, len(d.Pages()), len(want))
	}
	d.Decode(out, old)
	room := 5
	for i, ref := range d.Pages() {
		if ref.No != want[i].No || ref.Full != (want[i].Old == nil) {
			t.Fatalf("page %d of the body is %v, want %d", i, ref, want[i].No)
		}
		if !bytes.Equal(out[i], want[i].New) {
			t.Fatalf("page %d: decoded\n%x, want\n%x", ref.No, out[i], want[i].New)
		}
		room += size + 5 + 4 // the page as one literal, and its number
	}
	if body.Len() > room {
		t.Fatalf("%d pages took %d bytes, more than literals would", kept, body.Len())
	}
	agree(t, body, size, want, out)
	return body
}

// agree checks that the reference decoder makes the same pages of a body, and
// writing its tokens again the same body.
func agree(t failer, body diff.Body, size int, want []diff.Page, out [][]byte) {
	t.Helper()
	ref, tokens, err := refDecode(body, size, func(no uint32) []byte {
		for _, pg := range want {
			if pg.No == no {
				return pg.Old
			}
		}
		panic("no such page")
	})
	if err != nil {
		t.Fatalf("the reference decoder refuses: %v", err)
	}
	for i := range out {
		if !bytes.Equal(ref[i], out[i]) {
			t.Fatalf("page %d: the reference decoder makes\n%x, not\n%x\nof %v", want[i].No, ref[i], out[i], tokens[i].tokens)
		}
	}
	p, k := refEncode(tokens)
	if !bytes.Equal(p, body.Pages) || !bytes.Equal(k, body.Tokens) {
		t.Fatalf("written again, the streams are\n%x\n%x, not\n%x\n%x", p, k, body.Pages, body.Tokens)
	}
}
