package diff_test

import (
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
)

// A second decoder, written from the format's description for clarity alone.
// The package's own must accept what it accepts and make the same pages of it.

// refToken is a token as the format describes it.
type refToken struct {
	kind int
	n    int64 // as written: 0 is the rest of the page
	arg  int64 // shift, relative position, or byte of a fill
}

type refPage struct {
	no     uint64
	full   bool
	tokens []refToken
}

type refReader struct{ b []byte }

func (r *refReader) byte() byte {
	if len(r.b) == 0 {
		panic(errRef("stream ends early"))
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *refReader) uvarint() uint64 {
	var v uint64
	for i := range 5 {
		c := r.byte()
		v += uint64(c%128) << (7 * i)
		if c < 128 {
			if c == 0 && i > 0 {
				panic(errRef("number not in its shortest form"))
			}
			return v
		}
	}
	panic(errRef("number too long"))
}

func (r *refReader) zigzag() int64 {
	v := r.uvarint()
	if v%2 == 1 {
		return -int64(v/2) - 1
	}
	return int64(v / 2)
}

type errRef string

func (e errRef) Error() string { return string(e) }

// refDecode returns the new pages of a body, given a way to get old ones, and
// its tokens.
func refDecode(b diff.Body, size int, old func(no uint32) []byte) (out [][]byte, pages []refPage, err error) {
	defer func() {
		if r := recover(); r != nil {
			var bad errRef
			if e, ok := r.(error); !ok || !errors.As(e, &bad) {
				panic(r)
			}
			out, pages, err = nil, nil, bad
		}
	}()
	pages = refPages(b.Pages, size)
	d := refDecoder{size: size, tokens: refReader{b.Tokens}, literals: refReader{b.Literals}, shift: -2}
	for _, p := range pages {
		if !p.full {
			d.window = append(d.window, old(uint32(p.no))...)
		}
	}
	for i := range pages {
		var before []byte
		if !pages[i].full {
			before = old(uint32(pages[i].no))
		}
		out = append(out, d.page(&pages[i], before))
	}
	if len(d.tokens.b) > 0 || len(d.literals.b) > 0 {
		panic(errRef("bytes left over"))
	}
	return out, pages, nil
}

// refDecoder is what a body's pages share.
type refDecoder struct {
	size             int
	tokens, literals refReader
	window           []byte
	shift, from      int64
}

// page decodes the next page at the end of the window.
func (d *refDecoder) page(p *refPage, before []byte) []byte {
	start := len(d.window)
	for len(d.window) < start+d.size {
		t := refReadToken(&d.tokens)
		off := int64(len(d.window) - start)
		if p.full && (t.kind == 0 || t.kind == 2 || t.kind == 3) {
			panic(errRef("old page of a full page"))
		}
		n, rest := t.n, int64(d.size)-off
		if t.kind == 0 && n == 0 {
			n = rest
		} else if t.kind == 0 && n == rest {
			panic(errRef("rest of the page with a length"))
		}
		if n == 0 || n > rest {
			panic(errRef("bad length"))
		}
		d.token(t, n, off, before)
		p.tokens = append(p.tokens, t)
	}
	return d.window[start : start+d.size : start+d.size]
}

// token appends the n bytes at off that a token stands for.
func (d *refDecoder) token(t refToken, n, off int64, before []byte) {
	switch t.kind {
	case 0:
		d.window = append(d.window, before[off:off+n]...)
	case 1:
		for range n {
			d.window = append(d.window, d.literals.byte())
		}
	case 2, 3:
		if t.kind == 2 {
			if t.arg == 0 || t.arg == d.shift {
				panic(errRef("shift with a shorter spelling"))
			}
			d.shift = t.arg
		}
		if off+d.shift < 0 || off+d.shift+n > int64(d.size) {
			panic(errRef("shift out of the page"))
		}
		d.window = append(d.window, before[off+d.shift:off+d.shift+n]...)
	case 4:
		at := d.from + t.arg
		if at < 0 || at+n > int64(len(d.window)) || at/int64(d.size) != (at+n-1)/int64(d.size) {
			panic(errRef("copy out of the window"))
		}
		d.window = append(d.window, d.window[at:at+n]...)
		d.from = at + n
	case 5:
		for range n {
			d.window = append(d.window, byte(t.arg))
		}
	default:
		panic(errRef("unknown kind"))
	}
}

func refPages(b []byte, size int) []refPage {
	if len(b) == 0 {
		return nil
	}
	r := refReader{b}
	n := r.uvarint()
	if n == 0 || n > uint64(diff.GroupPages(size)) {
		panic(errRef("bad count"))
	}
	var pages []refPage
	no := uint64(0)
	for range n {
		v := r.uvarint()
		if v/2 == 0 {
			panic(errRef("page numbers do not ascend"))
		}
		if no += v / 2; no > 1<<32-2 {
			panic(errRef("page number too large"))
		}
		pages = append(pages, refPage{no: no, full: v%2 == 1})
	}
	if len(r.b) > 0 {
		panic(errRef("bytes left over"))
	}
	return pages
}

func refReadToken(r *refReader) refToken {
	c := r.byte()
	t := refToken{kind: int(c / 32), n: int64(c % 32)}
	if t.n == 31 {
		t.n += int64(r.uvarint())
	}
	switch t.kind {
	case 2, 4:
		t.arg = r.zigzag()
	case 5:
		t.arg = int64(r.byte())
	}
	return t
}

// refEncode writes pages and tokens again: the same bytes must come out.
func refEncode(pages []refPage) (pageStream, tokenStream []byte) {
	if len(pages) == 0 {
		return nil, nil
	}
	uvarint := func(b []byte, v uint64) []byte {
		for ; v >= 128; v /= 128 {
			b = append(b, byte(v%128)+128)
		}
		return append(b, byte(v))
	}
	zigzag := func(b []byte, v int64) []byte {
		if v < 0 {
			return uvarint(b, uint64(-v)*2-1)
		}
		return uvarint(b, uint64(v)*2)
	}
	pageStream = uvarint(nil, uint64(len(pages)))
	last := uint64(0)
	for _, p := range pages {
		v := (p.no - last) * 2
		if p.full {
			v++
		}
		pageStream = uvarint(pageStream, v)
		last = p.no
		for _, t := range p.tokens {
			if t.n < 31 {
				tokenStream = append(tokenStream, byte(t.kind*32)+byte(t.n))
			} else {
				tokenStream = uvarint(append(tokenStream, byte(t.kind*32+31)), uint64(t.n-31))
			}
			switch t.kind {
			case 2, 4:
				tokenStream = zigzag(tokenStream, t.arg)
			case 5:
				tokenStream = append(tokenStream, byte(t.arg))
			}
		}
	}
	return pageStream, tokenStream
}

func (t refToken) String() string {
	name := [...]string{"same", "literal", "shift", "again", "from", "fill"}[t.kind]
	switch t.kind {
	case 2, 4, 5:
		return fmt.Sprintf("%s %d %d", name, t.n, t.arg)
	}
	return fmt.Sprintf("%s %d", name, t.n)
}
