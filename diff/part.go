package diff

import "math/bits"

// Copy is a copy of bytes from one page of a body to another.
type Copy struct {
	To, From int  // indexes of pages
	Old      bool // from the old content of page From, else from the new
	Off, Len int  // in page From

	literal int // where the same bytes stand in Literals, -1: nowhere
}

// Literal tells whether the bytes are literals of the same body, so that they
// can be had without the page that they are copied from.
func (c *Copy) Literal() bool { return c.literal >= 0 }

// parts is what Copies and AppendPart remember of a body.
type parts struct {
	copies []Copy
	olds   []int  // the pages that are not full
	spans  []span // in the order of the tokens
	begin  []int  // of each page: its first span
	at     []int  // of each page kept: its old and its new content's place in the window
	token  token  // at which walk is
}

// span is a run of bytes of a new page that stands in Literals.
type span struct{ off, n, literal int }

// token is a token of a loaded body.
type token struct {
	kind       byte
	page       int
	off, n     int  // in the page
	shift      int  // of shift and again
	copy       Copy // of from
	literal    int  // of literal
	begin, end int  // in Tokens
}

// Copies lists the copies between different pages of the loaded body, in the
// order of its tokens. Valid until the next call.
func (d *Decoder) Copies() []Copy {
	d.parts.copies = d.parts.copies[:0]
	d.walk(func(t *token) {
		if t.kind == kindFrom && t.copy.From != t.page {
			d.parts.copies = append(d.parts.copies, t.copy)
		}
	})
	return d.parts.copies
}

// AppendPart appends to the streams of dst those pages i of the loaded body
// for which keep[i] is true, as a body of their own. What is copied from other
// pages becomes literals. The bytes of those that are not literals already are
// left zero: missing is told where in dst.Literals they belong.
func (d *Decoder) AppendPart(dst Body, keep []bool, missing func(c Copy, at int)) Body {
	dst.Pages = d.appendPages(dst.Pages, keep)
	shift, from := firstShift, 0
	d.walk(func(t *token) {
		switch {
		case !keep[t.page]:
		case t.kind == kindLiteral:
			dst.Tokens = append(dst.Tokens, d.body.Tokens[t.begin:t.end]...)
			dst.Literals = append(dst.Literals, d.body.Literals[t.literal:t.literal+t.n]...)
		case (t.kind == kindShift || t.kind == kindAgain) && t.shift == shift:
			dst.Tokens = appendToken(dst.Tokens, kindAgain, t.n)
		case t.kind == kindShift || t.kind == kindAgain:
			shift = t.shift
			dst.Tokens = appendUvarint(appendToken(dst.Tokens, kindShift, t.n), zigzag(shift))
		case t.kind == kindFrom && keep[t.copy.From]:
			at := d.parts.at[2*t.copy.From+1]
			if t.copy.Old {
				at = d.parts.at[2*t.copy.From]
			}
			at = at*d.pageSize + t.copy.Off
			dst.Tokens = appendUvarint(appendToken(dst.Tokens, kindFrom, t.n), zigzag(at-from))
			from = at + t.n
		case t.kind == kindFrom:
			dst.Tokens = appendToken(dst.Tokens, kindLiteral, t.n)
			if t.copy.Literal() {
				dst.Literals = append(dst.Literals, d.body.Literals[t.copy.literal:t.copy.literal+t.n]...)
				return
			}
			missing(t.copy, len(dst.Literals))
			dst.Literals = append(dst.Literals, make([]byte, t.n)...)
		default:
			dst.Tokens = append(dst.Tokens, d.body.Tokens[t.begin:t.end]...)
		}
	})
	return dst
}

// appendPages appends the stream of the pages kept, and finds their places in
// the window.
func (d *Decoder) appendPages(b []byte, keep []bool) []byte {
	p := &d.parts
	p.at = append(p.at[:0], make([]int, 2*len(d.pages))...)
	kept, old := 0, 0
	for i, ref := range d.pages {
		if keep[i] {
			kept++
			if !ref.Full {
				p.at[2*i] = old
				old++
			}
		}
	}
	if kept == 0 {
		return b
	}
	b = appendUvarint(b, uint64(kept))
	last, at := uint32(0), old
	for i, ref := range d.pages {
		if keep[i] {
			b = appendPageNo(b, ref.No-last, ref.Full)
			last = ref.No
			p.at[2*i+1] = at
			at++
		}
	}
	return b
}

// walk visits the tokens of the loaded body, which Load has checked.
func (d *Decoder) walk(visit func(t *token)) {
	p := &d.parts
	p.olds, p.spans, p.begin = p.olds[:0], p.spans[:0], p.begin[:0]
	for i, ref := range d.pages {
		if !ref.Full {
			p.olds = append(p.olds, i)
		}
	}
	tokens := d.body.Tokens
	p.token = token{} // here, as it would else be allocated each time
	t := &p.token
	shift, from, literal := firstShift, 0, 0
	for t.page = range d.pages {
		p.begin = append(p.begin, len(p.spans))
		for t.off = 0; t.off < d.pageSize; t.off += t.n {
			t.begin, t.end = t.end, t.end+1
			b := tokens[t.begin]
			t.kind, t.n = b>>kindBits, int(b&lengthMax)
			if t.n == lengthMax {
				v, next := readUvarint(tokens, t.end)
				t.n, t.end = t.n+int(v), next
			}
			switch t.kind {
			case kindSame:
				if t.n == 0 {
					t.n = d.pageSize - t.off
				}
			case kindLiteral:
				t.literal = literal
				literal += t.n
				p.spans = append(p.spans, span{t.off, t.n, t.literal})
			case kindShift:
				v, next := readUvarint(tokens, t.end)
				shift, t.end = unzigzag(v), next
			case kindFrom:
				v, next := readUvarint(tokens, t.end)
				at := from + unzigzag(v)
				from, t.end = at+t.n, next
				t.copy = d.copyOf(t, at)
				if t.copy.Literal() {
					p.spans = append(p.spans, span{t.off, t.n, t.copy.literal})
				}
			case kindFill:
				t.end++
			}
			t.shift = shift
			visit(t)
		}
	}
}

// copyOf says what a copy from the window at at copies.
func (d *Decoder) copyOf(t *token, at int) Copy {
	p := &d.parts
	i := at >> bits.TrailingZeros(uint(d.pageSize))
	c := Copy{To: t.page, Off: at & (d.pageSize - 1), Len: t.n, literal: -1}
	if i < len(p.olds) {
		c.From, c.Old = p.olds[i], true
		return c
	}
	c.From = i - len(p.olds)
	if c.From == t.page {
		return c
	}
	for _, s := range p.spans[p.begin[c.From]:p.begin[c.From+1]] {
		if s.off <= c.Off && c.Off+c.Len <= s.off+s.n {
			c.literal = s.literal + c.Off - s.off
			break
		}
	}
	return c
}
