package diff_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// sample is a body with every kind of token.
func sample(t testing.TB) (size int, pages []diff.Page, body diff.Body) {
	t.Helper()
	size, pages = transaction([]byte{
		0, 3,
		2, 0, 40, 0, 2, 0, 0, // a shift
		1, 0, 200, 1, 40, 0, 9, // literals
		4, 1, 10, 0, 120, 0, 0, // from
		5, 1, 200, 0, 70, 0, 0xee, // fill
		3, 2, 100, 0, 5, 0, 0,
		7, 3, 0, 0, 0, 0, 0, // full
	})
	var e diff.Encoder
	body = roundTrip(t, &e, size, pages)
	kinds := map[int]bool{}
	_, ref, _ := refDecode(body, size, func(no uint32) []byte {
		for _, pg := range pages {
			if pg.No == no {
				return pg.Old
			}
		}
		return nil
	})
	for _, p := range ref {
		for _, k := range p.tokens {
			kinds[k.kind] = true
		}
	}
	for kind := range 6 {
		if !kinds[kind] {
			t.Fatalf("the sample has no token of kind %d: %v", kind, ref)
		}
	}
	return size, pages, body
}

// TestLoadDamage cuts and extends each stream at every byte, and flips every
// bit. What Load lets through must decode; cuts and extensions it must refuse.
func TestLoadDamage(t *testing.T) {
	size, pages, body := sample(t)
	var d diff.Decoder
	streams := func(b *diff.Body) []*[]byte { return []*[]byte{&b.Pages, &b.Tokens, &b.Literals} }
	for k, whole := range streams(&body) {
		for n := range len(*whole) {
			damaged := body
			*streams(&damaged)[k] = (*whole)[:n]
			if err := d.Load(damaged, size); !errors.Is(err, diff.ErrInvalid) {
				t.Errorf("stream %d cut at %d: %v", k, n, err)
			}
		}
		for c := range 256 {
			damaged := body
			*streams(&damaged)[k] = append(bytes.Clone(*whole), byte(c))
			if err := d.Load(damaged, size); !errors.Is(err, diff.ErrInvalid) {
				t.Errorf("stream %d with a byte %x more: %v", k, c, err)
			}
		}
		for bit := range 8 * len(*whole) {
			damaged := body
			s := bytes.Clone(*whole)
			s[bit/8] ^= 1 << (bit % 8)
			*streams(&damaged)[k] = s
			if d.Load(damaged, size) != nil {
				continue
			}
			old, out := make([][]byte, len(d.Pages())), make([][]byte, len(d.Pages()))
			for i, ref := range d.Pages() {
				out[i] = make([]byte, size)
				if !ref.Full {
					old[i] = pages[0].Old
				}
			}
			d.Decode(out, old)
		}
	}
}

func TestLoadError(t *testing.T) {
	var d diff.Decoder
	err := d.Load(diff.Body{Pages: []byte{1, 14}, Tokens: []byte{0x1f, 0x45, 0xc9}}, 512)
	const want = "invalid patches: page 7: tokens stream at 2: unknown kind of token"
	if err == nil || err.Error() != want {
		t.Errorf("Load: %v, want %s", err, want)
	}
	err = d.Load(diff.Body{Pages: []byte{1, 14, 3}}, 512)
	if err == nil || err.Error() != "invalid patches: pages stream at 2: bytes after the last page" {
		t.Errorf("Load: %v", err)
	}
	if got := panics(func() { _ = d.Load(diff.Body{}, 513) }); !strings.Contains(got, "page size 513") {
		t.Errorf("page size 513: panic %q", got)
	}
}

// TestDecoderForgets: after an error nothing of an earlier body is left, and a
// decoder takes bodies of any page size one after the other.
func TestDecoderForgets(t *testing.T) {
	var d diff.Decoder
	var e diff.Encoder
	for _, w := range workloads(1024) {
		body, _ := e.Encode(diff.Body{}, 1024, w.pages)
		out, old := buffers(t, &d, body, 1024, w.pages)
		decode(t, &d, body, 1024, out, old)
		if err := d.Load(diff.Body{Pages: body.Pages}, 1024); err == nil || len(d.Pages()) != 0 {
			t.Fatalf("%s without tokens: %v, %d pages", w.name, err, len(d.Pages()))
		}
		d.Decode(nil, nil)
		size, pages, other := sample(t)
		out, old = buffers(t, &d, other, size, pages)
		decode(t, &d, other, size, out, old)
	}
}

func TestDecodeMistakes(t *testing.T) {
	size, pages, body := sample(t)
	var d diff.Decoder
	out, old := buffers(t, &d, body, size, pages)
	for name, f := range map[string]func(out, old [][]byte) ([][]byte, [][]byte){
		"a page too few":        func(out, old [][]byte) ([][]byte, [][]byte) { return out[1:], old[1:] },
		"an old page too few":   func(out, old [][]byte) ([][]byte, [][]byte) { return out, old[1:] },
		"a short new page":      func(out, old [][]byte) ([][]byte, [][]byte) { out[1] = out[1][1:]; return out, old },
		"an old page missing":   func(out, old [][]byte) ([][]byte, [][]byte) { old[0] = nil; return out, old },
		"an old page too large": func(out, old [][]byte) ([][]byte, [][]byte) { old[0] = make([]byte, size+1); return out, old },
	} {
		o, b := f(append([][]byte(nil), out...), append([][]byte(nil), old...))
		if got := panics(func() { d.Decode(o, b) }); !strings.HasPrefix(got, "diff: decode") {
			t.Errorf("%s: panic %q", name, got)
		}
	}
	d.Decode(out, old) // and it can still be done right
	for i, ref := range d.Pages() {
		if want := pages[i]; ref.No != want.No || !bytes.Equal(out[i], want.New) {
			t.Errorf("page %d differs", ref.No)
		}
	}
}
