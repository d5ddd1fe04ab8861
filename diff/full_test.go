package diff_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// full encodes pages by EncodeFull and holds what two decoders make of it
// against them.
func full(t *testing.T, size int, pages []diff.Page) diff.Body {
	t.Helper()
	body := diff.EncodeFull(diff.Body{}, size, pages)
	var d diff.Decoder
	out, old := buffers(t, &d, body, size, nil)
	decode(t, &d, body, size, out, old)
	ref, _, err := refDecode(body, size, func(uint32) []byte { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(pages) || len(ref) != len(pages) {
		t.Fatalf("%d pages of %d", len(out), len(pages))
	}
	for i, p := range d.Pages() {
		if want := pages[i]; !p.Full || p.No != want.No || !bytes.Equal(out[i], want.New) || !bytes.Equal(ref[i], want.New) {
			t.Fatalf("page %d, full %v, is not page %d as it was", p.No, p.Full, want.No)
		}
	}
	return body
}

// TestEncodeFull puts a run of every length near the shortest that counts at
// every place where the search for runs could go wrong.
func TestEncodeFull(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		random := make([]byte, size)
		change(random, "random")
		for _, n := range []int{0, 1, 15, 16, 17, 30, 31, 32, 33, 34, 47, 48, 49, 63, 64, 65, 256, size - 1, size} {
			for _, at := range []int{0, 1, 15, 16, 17, 31, 32, 33, size / 2, size - n - 1, size - n} {
				if at < 0 || at+n > size {
					continue
				}
				page := bytes.Clone(random)
				change(page[at:at+n], "fill")
				body := full(t, size, []diff.Page{{No: 9, New: page}})
				if n >= 32 && len(body.Literals) > size-n {
					t.Fatalf("page size %d: a run of %d at %d was written out", size, n, at)
				}
			}
		}
	}
}

func TestEncodeFullGroup(t *testing.T) {
	const size = 512
	var pages []diff.Page
	for i := range 300 {
		pages = append(pages, diff.Page{No: uint32(3*i + 1), Old: leaf(size, 1), New: leaf(size, uint64(i))})
	}
	pages = append(pages, diff.Page{No: 5000, New: make([]byte, size)}, diff.Page{No: 5001, New: bytes.Repeat([]byte{7}, size)})
	body := full(t, size, pages)
	before := diff.Body{Pages: []byte("p"), Tokens: []byte("to"), Literals: []byte("lit")}
	if got := diff.EncodeFull(before, size, pages); string(got.Pages) != "p"+string(body.Pages) ||
		string(got.Tokens) != "to"+string(body.Tokens) || string(got.Literals) != "lit"+string(body.Literals) {
		t.Error("EncodeFull does not append")
	}
	if got := diff.EncodeFull(before, size, nil); !equalBodies(got, before) {
		t.Errorf("no pages: %v", got)
	}
	if panics(func() { diff.EncodeFull(diff.Body{}, size, []diff.Page{pages[1], pages[0]}) }) == "" {
		t.Error("pages in the wrong order were taken")
	}
}

// BenchmarkEncodeFull asks what a commit pays for a page that it has only to
// write down, random bytes being what has the fewest runs.
func BenchmarkEncodeFull(b *testing.B) {
	const size = 4096
	data := make([]byte, 256*size)
	change(data, "random")
	for _, sparse := range []bool{false, true} {
		b.Run(fmt.Sprintf("sparse=%v", sparse), func(b *testing.B) {
			var pages []diff.Page
			for i := range len(data) / size {
				p := diff.Page{No: uint32(i + 1), New: bytes.Clone(data[i*size : (i+1)*size])}
				if sparse {
					clear(p.New[200:3000])
				}
				pages = append(pages, p)
			}
			var body diff.Body
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				body = diff.EncodeFull(reuse(body), size, pages)
			}
		})
	}
}
