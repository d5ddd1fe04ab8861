package diff_test

import (
	"bytes"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"pgregory.net/rapid"
)

// TestPart takes bodies apart in every way that a draw of pages can, fills in
// what is missing, and decodes the parts: the pages are those of the whole.
func TestPart(t *testing.T) {
	var e diff.Encoder
	missing, literal := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		script := []byte{rapid.Byte().Draw(t, "size"), rapid.Byte().Draw(t, "pages")}
		for range rapid.IntRange(0, 12).Draw(t, "operations") {
			script = append(script, rapid.SliceOfN(rapid.Byte(), opLen, opLen).Draw(t, "operation")...)
		}
		size, pages := transaction(script)
		body, _ := e.Encode(diff.Body{}, size, pages)
		var d diff.Decoder
		if err := d.Load(body, size); err != nil {
			t.Fatal(err)
		}
		refs := d.Pages()
		keep, rest := make([]bool, len(refs)), make([]bool, len(refs))
		for i := range refs {
			keep[i] = rapid.Bool().Draw(t, "keep")
			rest[i] = !keep[i]
		}
		for _, c := range d.Copies() {
			if c.Literal() {
				literal++
			}
		}
		for _, part := range [][]bool{keep, rest} {
			missing += checkPart(t, &d, size, pages, part)
		}
	})
	if missing == 0 || literal == 0 {
		t.Errorf("%d copies were missing from a part, %d were literals: the test shows nothing", missing, literal)
	}
}

func checkPart(t *rapid.T, whole *diff.Decoder, size int, pages []diff.Page, keep []bool) int {
	page := func(i int) *diff.Page {
		for k := range pages {
			if pages[k].No == whole.Pages()[i].No {
				return &pages[k]
			}
		}
		panic("no such page")
	}
	type hole struct {
		c  diff.Copy
		at int
	}
	var holes []hole
	// What is in the streams already stays, and counts in no offset but at.
	before := diff.Body{Literals: []byte("before")}
	part := whole.AppendPart(before, keep, func(c diff.Copy, at int) { holes = append(holes, hole{c, at}) })
	for _, h := range holes {
		from := page(h.c.From).New
		if h.c.Old {
			from = page(h.c.From).Old
		}
		if keep[h.c.From] || !keep[h.c.To] || h.c.Literal() {
			t.Fatalf("%+v is missing from the part %v", h.c, keep)
		}
		copy(part.Literals[h.at:h.at+h.c.Len], from[h.c.Off:])
	}
	part.Literals = part.Literals[len("before"):]
	var d diff.Decoder
	if err := d.Load(part, size); err != nil {
		t.Fatalf("part %v: %v", keep, err)
	}
	var old, out, want [][]byte
	for i, ref := range whole.Pages() {
		if keep[i] {
			want = append(want, page(i).New)
			o := page(i).Old
			if ref.Full {
				o = nil
			}
			old, out = append(old, o), append(out, make([]byte, size))
		}
	}
	d.Decode(out, old)
	for i := range out {
		if !bytes.Equal(out[i], want[i]) {
			t.Fatalf("part %v: page %d differs", keep, d.Pages()[i].No)
		}
	}
	return len(holes)
}
