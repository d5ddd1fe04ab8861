package diff_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// FuzzRoundTrip runs scripts of operations on pages; see transaction.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{})
	for kind := range byte(11) {
		f.Add([]byte{3, 2, kind, 1, 100, 0, 60, 0, 77})
		f.Add([]byte{0, 0x15, kind, 0, 0, 0, 255, 255, 1, kind, 3, 8, 1, 9, 0, 2})
	}
	f.Add([]byte{7, 4, 6, 0, 0, 0, 0, 0, 3, 7, 1, 0, 0, 0, 0, 0, 4, 2, 9, 9, 255, 127, 128, 8, 4, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 2+40*opLen {
			t.Skip("long scripts are slow and show nothing more")
		}
		var e diff.Encoder
		size, pages := transaction(script)
		roundTrip(t, &e, size, pages)
	})
}

// FuzzLoad gives the decoder arbitrary streams. It must accept exactly what the
// reference decoder accepts, decode it alike, and there must be no second way
// to write the same.
func FuzzLoad(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(v.body.Pages, v.body.Tokens, v.body.Literals, byte(0))
	}
	for _, script := range [][]byte{{3, 2, 2, 1, 0, 1, 2, 0, 77, 4, 0, 0, 9, 0, 2, 9}, {1, 3, 1, 0, 9, 0, 9, 0, 9, 6, 0, 0, 0, 0, 0, 1}} {
		var e diff.Encoder
		size, pages := transaction(script)
		b, _ := e.Encode(diff.Body{}, size, pages)
		f.Add(b.Pages, b.Tokens, b.Literals, script[0])
	}
	f.Fuzz(func(t *testing.T, pages, tokens, literals []byte, log byte) {
		size := diff.MinPageSize << (log % 8)
		if len(pages)*size > 1<<18 {
			t.Skip("many pages are slow and show nothing more")
		}
		body := diff.Body{Pages: pages, Tokens: tokens, Literals: literals}
		olds := make(map[uint32][]byte)
		oldPage := func(no uint32) []byte {
			if olds[no] == nil {
				olds[no] = leaf(size, uint64(no))
			}
			return olds[no]
		}
		var d diff.Decoder
		if err := d.Load(body, size); err != nil {
			if !errors.Is(err, diff.ErrInvalid) {
				t.Fatalf("Load: %v is not ErrInvalid", err)
			}
			if _, _, refErr := refDecode(body, size, oldPage); refErr == nil {
				t.Fatalf("Load: %v, but the reference decoder accepts it", err)
			}
			return
		}
		var out, old [][]byte
		var want []diff.Page
		for _, ref := range d.Pages() {
			pg := diff.Page{No: ref.No, New: bytes.Repeat([]byte{0xdb}, size)}
			if !ref.Full {
				pg.Old = oldPage(ref.No)
			}
			old, out, want = append(old, pg.Old), append(out, pg.New), append(want, pg)
		}
		d.Decode(out, old)
		agree(t, body, size, want, out)

		// What was decoded can be encoded, and comes back.
		var e diff.Encoder
		roundTrip(t, &e, size, want)
	})
}
