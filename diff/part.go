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
	parsed bool
	tokens []token
	first  []int  // of each page: its first token; and the end of them all
	froms  []Copy // of all tokens of that kind
	copies []Copy // those between different pages
	olds   []int  // the pages that are not full
	spans  []span // in the order of the tokens
	begin  []int  // of each page: its first span
	at     []int  // of each page kept: its old and its new content's place in the window
}

// span is a run of bytes of a new page that stands in Literals.
type span struct{ off, n, literal int }

// token is a token of a loaded body.
type token struct {
	kind       byte
	n          int32 // bytes of the page
	begin, end int32 // in Tokens
	arg        int32 // of shift and again: the shift; of literal: where in Literals; of from: which of froms
}

// Copies lists the copies between different pages of the loaded body, in the
// order of its tokens. Valid until the next Load.
func (d *Decoder) Copies() []Copy {
	d.parse()
	return d.parts.copies
}

// AppendPart appends to the streams of dst those pages i of the loaded body
// for which keep[i] is true, as a body of their own. What is copied from other
// pages becomes literals. The bytes of those that are not literals already are
// left zero: missing is told where in dst.Literals they belong.
func (d *Decoder) AppendPart(dst Body, keep []bool, missing func(c Copy, at int)) Body {
	d.parse()
	dst.Pages = d.appendPages(dst.Pages, keep)
	w := partWriter{Body: dst, d: d, keep: keep, missing: missing, shift: firstShift}
	p := &d.parts
	for i := range d.pages {
		if !keep[i] {
			continue
		}
		tokens := p.tokens[p.first[i]:p.first[i+1]]
		for k := range tokens {
			w.token(&tokens[k])
		}
	}
	return w.Body
}

// partWriter writes a part of a loaded body.
type partWriter struct {
	Body
	d       *Decoder
	keep    []bool
	missing func(c Copy, at int)
	shift   int // the last one written
	from    int // where the last copy from the window ended
}

// token appends a token of a page that is kept.
func (w *partWriter) token(t *token) {
	n, arg := int(t.n), int(t.arg)
	switch t.kind {
	case kindLiteral:
		w.Tokens = append(w.Tokens, w.d.body.Tokens[t.begin:t.end]...)
		w.Literals = append(w.Literals, w.d.body.Literals[arg:arg+n]...)
	case kindShift, kindAgain:
		if arg == w.shift {
			w.Tokens = appendToken(w.Tokens, kindAgain, n)
			return
		}
		w.shift = arg
		w.Tokens = appendUvarint(appendToken(w.Tokens, kindShift, n), zigzag(arg))
	case kindFrom:
		w.copied(&w.d.parts.froms[arg])
	default:
		w.Tokens = append(w.Tokens, w.d.body.Tokens[t.begin:t.end]...)
	}
}

// copied appends a copy from a page, as literals if that is not kept.
func (w *partWriter) copied(c *Copy) {
	if w.keep[c.From] {
		at := w.d.parts.at[2*c.From+1]
		if c.Old {
			at = w.d.parts.at[2*c.From]
		}
		at = at*w.d.pageSize + c.Off
		w.Tokens = appendUvarint(appendToken(w.Tokens, kindFrom, c.Len), zigzag(at-w.from))
		w.from = at + c.Len
		return
	}
	w.Tokens = appendToken(w.Tokens, kindLiteral, c.Len)
	if c.Literal() {
		w.Literals = append(w.Literals, w.d.body.Literals[c.literal:c.literal+c.Len]...)
		return
	}
	w.missing(*c, len(w.Literals))
	w.Literals = append(w.Literals, make([]byte, c.Len)...)
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

// parse makes a list of the tokens of the loaded body, which Load has checked,
// unless there is one.
func (d *Decoder) parse() {
	p := &d.parts
	if p.parsed {
		return
	}
	*p = parts{
		parsed: true, tokens: p.tokens[:0], first: p.first[:0], froms: p.froms[:0], copies: p.copies[:0],
		olds: p.olds[:0], spans: p.spans[:0], begin: p.begin[:0], at: p.at,
	}
	for i, ref := range d.pages {
		if !ref.Full {
			p.olds = append(p.olds, i)
		}
	}
	tokens := d.body.Tokens
	shift, from, literal, end := firstShift, 0, 0, 0
	for page := range d.pages {
		p.first, p.begin = append(p.first, len(p.tokens)), append(p.begin, len(p.spans))
		for off := 0; off < d.pageSize; {
			begin := end
			kind, n := tokens[begin]>>kindBits, int(tokens[begin]&lengthMax)
			end++
			if n == lengthMax {
				v, next := readUvarint(tokens, end)
				n, end = n+int(v), next
			}
			arg := shift
			switch kind {
			case kindSame:
				if n == 0 {
					n = d.pageSize - off
				}
			case kindLiteral:
				arg = literal
				p.spans = append(p.spans, span{off, n, literal})
				literal += n
			case kindShift:
				v, next := readUvarint(tokens, end)
				shift, end = unzigzag(v), next
				arg = shift
			case kindFrom:
				v, next := readUvarint(tokens, end)
				at := from + unzigzag(v)
				from, end = at+n, next
				arg = len(p.froms)
				d.addCopy(page, at, off, n)
			case kindFill:
				end++
			}
			p.tokens = append(p.tokens, token{kind: kind, n: int32(n), begin: int32(begin), end: int32(end), arg: int32(arg)})
			off += n
		}
	}
	p.first = append(p.first, len(p.tokens))
}

// addCopy adds a copy of n bytes to a page at off, from the window at at.
func (d *Decoder) addCopy(page, at, off, n int) {
	p := &d.parts
	c := d.copyOf(page, at, n)
	p.froms = append(p.froms, c)
	if c.From != page {
		p.copies = append(p.copies, c)
	}
	if c.Literal() {
		p.spans = append(p.spans, span{off, n, c.literal})
	}
}

// copyOf says what a copy of n bytes to a page from the window at at copies.
func (d *Decoder) copyOf(page, at, n int) Copy {
	p := &d.parts
	i := at >> bits.TrailingZeros(uint(d.pageSize))
	c := Copy{To: page, Off: at & (d.pageSize - 1), Len: n, literal: -1}
	if i < len(p.olds) {
		c.From, c.Old = p.olds[i], true
		return c
	}
	c.From = i - len(p.olds)
	if c.From == page {
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
