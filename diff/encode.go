package diff

import "fmt"

const (
	// fewBytes is how many changed bytes of a page are written as literals
	// without a search: none would pay for itself.
	fewBytes = 32
	// fewLiterals is how many literals the search of a page's own old content
	// may leave before the other pages are searched too.
	fewLiterals = 24
)

// Encoder makes bodies. The zero value is ready. It reuses its tables, which
// grow to a few MiB with large transactions; not safe for concurrent use.
type Encoder struct {
	pageSize int
	changes  []change // of the pages that are kept
	window   [][]byte // old pages of those that are not full, then all new pages
	own      ownTable
	all      windowTable
	indexed  bool // all holds the old pages

	// What the tokens are relative to; see the package comment.
	shifts [2]int // the last shift and the one before it
	from   int    // where in the window the last copy from it ended
	fromTo int    // and where the copy itself ended

	// The page at work.
	new, old []byte // old is nil when it is written in full
	base     int    // where in the window its new content begins
	deep     bool   // all pages are searched, not only its own old content

	tokens, literals []byte
}

// Encode appends the patches of pages (ascending page numbers, at most
// GroupPages) to the streams of dst. A page whose Old equals its New is
// dropped. It returns the extended body and the number of pages kept; when
// that is 0, nothing was appended. Encode keeps none of the slices. It panics
// when the pages are not as described, which is the caller's mistake.
//
// A body is decoded alone: to encode one after the other into the same
// streams, remember their lengths in between.
func (e *Encoder) Encode(dst Body, pageSize int, pages []Page) (Body, int) {
	checkPages(pageSize, pages)
	e.begin(pageSize, pages)
	if len(e.changes) == 0 {
		return dst, 0
	}
	dst.Pages = appendUvarint(dst.Pages, uint64(len(e.changes)))
	e.tokens, e.literals = dst.Tokens, dst.Literals
	last := uint32(0)
	for _, c := range e.changes {
		pg := &pages[c.page]
		dst.Pages = appendPageNo(dst.Pages, pg.No-last, pg.Old == nil)
		last = pg.No
		e.new, e.old = pg.New, pg.Old
		e.page(c)
		e.base += pageSize
	}
	dst.Tokens, dst.Literals = e.tokens, e.literals
	clear(e.window)
	e.tokens, e.literals, e.new, e.old = nil, nil, nil, nil
	return dst, len(e.changes)
}

func checkPages(pageSize int, pages []Page) {
	checkPageSize(pageSize)
	if len(pages) > GroupPages(pageSize) {
		panic(fmt.Sprintf("diff: encode %d pages, a group holds %d", len(pages), GroupPages(pageSize)))
	}
	last := uint32(0)
	for i := range pages {
		pg := &pages[i]
		if pg.No <= last || pg.No > MaxPageNo {
			panic(fmt.Sprintf("diff: encode page %d after page %d", pg.No, last))
		}
		if len(pg.New) != pageSize || pg.Old != nil && len(pg.Old) != pageSize {
			panic(fmt.Sprintf("diff: encode page %d: new %d bytes, old %d bytes, page size %d",
				pg.No, len(pg.New), len(pg.Old), pageSize))
		}
		last = pg.No
	}
}

// begin finds what changed and lays out the window.
func (e *Encoder) begin(pageSize int, pages []Page) {
	e.pageSize, e.indexed = pageSize, false
	e.shifts, e.from, e.fromTo = [2]int{firstShift, -firstShift}, 0, 0
	e.changes, e.window = e.changes[:0], e.window[:0]
	for i := range pages {
		pg := &pages[i]
		c := change{hi: pageSize, bytes: pageSize}
		if pg.Old != nil {
			if c = compare(pg.Old, pg.New); c.bytes == 0 {
				continue
			}
			e.window = append(e.window, pg.Old)
		}
		c.page = i
		e.changes = append(e.changes, c)
	}
	e.base = len(e.window) * pageSize
	for _, c := range e.changes {
		e.window = append(e.window, pages[c.page].New)
	}
}

// page writes the tokens and literals of the page at work.
func (e *Encoder) page(c change) {
	if c.bytes <= fewBytes {
		e.ranges(c)
		return
	}
	e.own.build(e.old, e.pageSize)
	if e.deep = e.indexed; !e.deep && e.old != nil {
		tokens, literals, shifts := len(e.tokens), len(e.literals), e.shifts
		e.scan(c)
		if len(e.changes) == 1 || len(e.literals)-literals <= fewLiterals {
			return
		}
		e.tokens, e.literals, e.shifts = e.tokens[:tokens], e.literals[:literals], shifts
	}
	if !e.indexed {
		e.index()
	}
	e.deep = true
	e.scan(c)
}

// index enters the old pages into the table of all pages. New pages follow as
// they are encoded, and only their literals: what was copied is there already.
func (e *Encoder) index() {
	e.indexed = true
	e.all.reset(len(e.window) * e.pageSize)
	for i, page := range e.window[:len(e.window)-len(e.changes)] {
		e.all.add(page, i*e.pageSize, 0, e.pageSize)
	}
}

// ranges writes literals for the bytes that changed, and for gaps between them
// that are too short for a token of their own.
func (e *Encoder) ranges(c change) {
	off := 0
	for lo := c.lo; lo < c.hi; {
		if lo > off {
			e.tokens = appendToken(e.tokens, kindSame, lo-off)
		}
		hi := lo + 1
		for same := 0; hi+same < c.hi && same < minCheap; {
			if same++; e.old[hi+same-1] != e.new[hi+same-1] {
				hi, same = hi+same, 0
			}
		}
		e.literal(lo, hi)
		off = hi
		lo = hi + matchLen(e.old[hi:], e.new[hi:])
	}
	if off < e.pageSize {
		e.tokens = appendToken(e.tokens, kindSame, 0)
	}
}

// literal writes new[lo:hi] as it is.
func (e *Encoder) literal(lo, hi int) {
	if lo == hi {
		return
	}
	e.tokens = appendToken(e.tokens, kindLiteral, hi-lo)
	e.literals = append(e.literals, e.new[lo:hi]...)
	if e.indexed {
		e.all.add(e.new, e.base, lo, hi)
	}
}
