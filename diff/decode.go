package diff

import (
	"fmt"
	"math/bits"
)

// Decoder undoes an Encoder's work. The zero value is ready; not safe for
// concurrent use.
type Decoder struct {
	body     Body
	pageSize int
	pages    []PageRef
	window   [][]byte // during Decode: the old pages that take part
	parts    parts
}

// Load parses and checks a body in full, so that Decode cannot fail. It keeps
// b until the next Load, and b must not change until then. After an error the
// decoder holds no pages. The error is an *Error.
func (d *Decoder) Load(b Body, pageSize int) error {
	checkPageSize(pageSize)
	d.body, d.pageSize, d.pages, d.parts.parsed = b, pageSize, d.pages[:0], false
	if err := d.loadPages(b.Pages); err != nil {
		d.body, d.pages = Body{}, d.pages[:0]
		return err
	}
	if err := d.checkTokens(); err != nil {
		d.body, d.pages = Body{}, d.pages[:0]
		return err
	}
	return nil
}

// Pages lists the pages of the loaded body, ascending. Valid until the next
// Load.
func (d *Decoder) Pages() []PageRef { return d.pages }

// Decode writes the new content of page i of Pages into out[i]; old[i] is its
// old content (nil where Full). The slices are of page size and must not
// overlap. It panics when their number or sizes are wrong, which is the
// caller's mistake; it keeps none of them.
func (d *Decoder) Decode(out, old [][]byte) {
	if len(out) != len(d.pages) || len(old) != len(d.pages) {
		panic(fmt.Sprintf("diff: decode %d pages into %d from %d", len(d.pages), len(out), len(old)))
	}
	d.window = d.window[:0]
	for i, ref := range d.pages {
		if len(out[i]) != d.pageSize || !ref.Full && len(old[i]) != d.pageSize {
			panic(fmt.Sprintf("diff: decode page %d: new %d bytes, old %d bytes, page size %d", ref.No, len(out[i]), len(old[i]), d.pageSize))
		}
		if !ref.Full {
			d.window = append(d.window, old[i])
		}
	}
	d.window = append(d.window, out...)
	d.run(out, old)
	clear(d.window)
}

func (d *Decoder) run(out, old [][]byte) {
	tokens, literals, size := d.body.Tokens, d.body.Literals, d.pageSize
	sizeBits := bits.TrailingZeros(uint(size))
	p, shift, from := 0, firstShift, 0
	for i := range out {
		dst, src := out[i], old[i]
		for off := 0; off < size; {
			t := tokens[p]
			p++
			n := int(t & lengthMax)
			if n == lengthMax {
				v, next := readUvarint(tokens, p)
				n, p = n+int(v), next
			}
			switch t >> kindBits {
			case kindSame:
				if n == 0 {
					n = size - off
				}
				copy(dst[off:off+n], src[off:])
			case kindLiteral:
				copy(dst[off:off+n], literals)
				literals = literals[n:]
			case kindShift:
				v, next := readUvarint(tokens, p)
				shift, p = unzigzag(v), next
				copy(dst[off:off+n], src[off+shift:])
			case kindAgain:
				copy(dst[off:off+n], src[off+shift:])
			case kindFrom:
				v, next := readUvarint(tokens, p)
				p = next
				pos := from + unzigzag(v)
				copy(dst[off:off+n], d.window[pos>>sizeBits][pos&(size-1):])
				from = pos + n
			case kindFill:
				fill(dst[off:off+n], tokens[p])
				p++
			}
			off += n
		}
	}
}

func fill(b []byte, c byte) {
	if c == 0 {
		clear(b)
		return
	}
	for i := range b {
		b[i] = c
	}
}
