package diff_test

import (
	"bytes"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"pgregory.net/rapid"
)

func TestRoundTrip(t *testing.T) {
	var enc diff.Encoder
	var dec diff.Decoder
	rapid.Check(t, func(t *rapid.T) {
		size := 512 << rapid.IntRange(0, 7).Draw(t, "size")
		n := rapid.IntRange(0, 5).Draw(t, "pages")
		var pages []diff.Page
		for i := range n {
			old, new := make([]byte, size), make([]byte, size)
			for range rapid.IntRange(0, 9).Draw(t, "ops") {
				copy(new[rapid.IntRange(0, size-1).Draw(t, "at"):], rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
			}
			if rapid.IntRange(0, 3).Draw(t, "full") == 0 {
				old = nil
			}
			pages = append(pages, diff.Page{No: uint32(i*3 + 1), Old: old, New: new})
		}
		body, kept := enc.Encode(diff.Body{}, size, pages)
		if err := dec.Load(body, size); err != nil {
			t.Fatal(err)
		}
		if len(dec.Pages()) != kept {
			t.Fatal(kept, dec.Pages())
		}
		var out, old [][]byte
		j := 0
		for _, ref := range dec.Pages() {
			for pages[j].No != ref.No {
				j++
			}
			out, old = append(out, make([]byte, size)), append(old, pages[j].Old)
		}
		dec.Decode(out, old)
		for i, ref := range dec.Pages() {
			if !bytes.Equal(out[i], pages[(ref.No-1)/3].New) {
				t.Fatal("page", ref)
			}
		}
	})
}
