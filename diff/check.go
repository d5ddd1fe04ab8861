package diff

import (
	"errors"
	"fmt"
)

// ErrInvalid is what every error of Load is: the streams are not a body that
// an Encoder could have written. Nothing has been changed anywhere.
var ErrInvalid = errors.New("invalid patches")

// Error says where in a body Load found what it cannot accept. It is ErrInvalid.
type Error struct {
	Stream string // "pages", "tokens" or "literals"
	Offset int    // in that stream, in bytes
	No     uint32 // page number, 0 when none was being read
	Reason string
}

func (e *Error) Error() string {
	if e.No == 0 {
		return fmt.Sprintf("%v: %s stream at %d: %s", ErrInvalid, e.Stream, e.Offset, e.Reason)
	}
	return fmt.Sprintf("%v: page %d: %s stream at %d: %s", ErrInvalid, e.No, e.Stream, e.Offset, e.Reason)
}

// Is makes every Error an ErrInvalid.
func (e *Error) Is(target error) bool { return target == ErrInvalid }

// loadPages reads and checks the stream of pages.
func (d *Decoder) loadPages(b []byte) error {
	if len(b) == 0 {
		return nil // no pages; a count of zero would be a second way to say so
	}
	fail := func(at int, reason string) error {
		return &Error{Stream: "pages", Offset: at, Reason: reason}
	}
	count, p := readUvarint(b, 0)
	switch {
	case p < 0:
		return fail(0, "bad count")
	case count == 0:
		return fail(0, "count of zero")
	case count > uint64(GroupPages(d.pageSize)):
		return fail(0, "more pages than a group may hold")
	case count > uint64(len(b)-p):
		return fail(0, "more pages than the stream has room for")
	}
	no := uint64(0)
	for range count {
		v, next := readUvarint(b, p)
		if next < 0 {
			return fail(p, "bad page number")
		}
		if v>>1 == 0 {
			return fail(p, "page number does not ascend")
		}
		if no += v >> 1; no > MaxPageNo {
			return fail(p, "page number beyond the largest")
		}
		d.pages = append(d.pages, PageRef{No: uint32(no), Full: v&1 != 0})
		p = next
	}
	if p != len(b) {
		return fail(p, "bytes after the last page")
	}
	return nil
}

// checkTokens walks the tokens as Decode will, moving no bytes.
func (d *Decoder) checkTokens() error {
	c := checker{tokens: d.body.Tokens, literals: len(d.body.Literals), pageSize: d.pageSize, shift: firstShift}
	for _, ref := range d.pages {
		if !ref.Full {
			c.ready += d.pageSize
		}
	}
	for _, ref := range d.pages {
		for c.off = 0; c.off < d.pageSize; {
			at := c.p
			if reason := c.token(ref.Full); reason != "" {
				return &Error{Stream: "tokens", Offset: at, No: ref.No, Reason: reason}
			}
		}
		c.ready += d.pageSize
	}
	if c.p != len(c.tokens) {
		return &Error{Stream: "tokens", Offset: c.p, Reason: "bytes after the last page is complete"}
	}
	if c.literals != 0 {
		return &Error{Stream: "literals", Offset: len(d.body.Literals) - c.literals, Reason: "bytes that no token uses"}
	}
	return nil
}

// checker is the state of a walk through the tokens.
type checker struct {
	tokens   []byte
	p        int // offset in tokens
	literals int // not yet used
	pageSize int
	off      int // in the page under construction
	ready    int // window positions before the page under construction
	shift    int // the last shift
	from     int // where the last copy from the window ended
}

// token checks one token and steps over it; it returns what is wrong.
func (c *checker) token(full bool) string {
	if c.p >= len(c.tokens) {
		return "stream ends before the page is complete"
	}
	t := c.tokens[c.p]
	c.p++
	n, kind := int(t&lengthMax), t>>kindBits
	room := c.pageSize - c.off
	if n == lengthMax {
		v, next := readUvarint(c.tokens, c.p)
		if next < 0 || v > maxOperand {
			return "bad length"
		}
		n, c.p = n+int(v), next
	}
	switch {
	case n > room:
		return "length beyond the end of the page"
	case n == 0 && kind != kindSame:
		return "length of zero"
	case full && (kind == kindSame || kind == kindShift || kind == kindAgain):
		return "copy from the old page in a full page"
	}
	if reason := c.operand(kind, n); reason != "" {
		return reason
	}
	if n == 0 {
		n = room
	}
	c.off += n
	return ""
}

// operand checks what follows the length of a token.
func (c *checker) operand(kind byte, n int) string {
	switch kind {
	case kindSame:
		if n == c.pageSize-c.off {
			return "rest of the page spelled with its length"
		}
	case kindLiteral:
		if n > c.literals {
			return "more literals than there are"
		}
		c.literals -= n
	case kindShift:
		v, next := readUvarint(c.tokens, c.p)
		if next < 0 || v > maxOperand {
			return "bad shift"
		}
		if d := unzigzag(v); d == 0 || d == c.shift {
			return "shift that has a shorter token"
		} else {
			c.shift, c.p = d, next
		}
		return c.shifted(n)
	case kindAgain:
		return c.shifted(n)
	case kindFrom:
		v, next := readUvarint(c.tokens, c.p)
		if next < 0 || v > maxOperand {
			return "bad position"
		}
		pos := c.from + unzigzag(v)
		c.p = next
		if pos < 0 || pos+n > c.ready+c.off {
			return "copy from outside the window"
		}
		if pos&(c.pageSize-1)+n > c.pageSize {
			return "copy across the end of a page"
		}
		c.from = pos + n
	case kindFill:
		if c.p >= len(c.tokens) {
			return "fill without its byte"
		}
		c.p++
	default:
		return "unknown kind of token"
	}
	return ""
}

func (c *checker) shifted(n int) string {
	if at := c.off + c.shift; at < 0 || at+n > c.pageSize {
		return "shift from outside the page"
	}
	return ""
}
