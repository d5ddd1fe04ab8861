package diff

import (
	"fmt"
	"math/bits"
)

const (
	// fewBytes is how many changed bytes of a page are written as literals
	// without a search: none would pay for itself.
	fewBytes = 32
	// fewLiterals is how many literals the search of a page's own old content
	// and of the literals before it may leave: so little is new data, as a
	// rule. More may have moved here from another page, and then the old
	// content of all pages is searched too.
	fewLiterals = 288
	// fewPositions is for how much the table is made that has literals only.
	fewPositions = 4096
)

// Encoder makes bodies. The zero value is ready. It reuses its tables, which
// grow to a few MiB with large transactions; not safe for concurrent use.
type Encoder struct {
	pageSize int
	pageBits int      // pageSize is 1<<pageBits
	changes  []change // of the pages that are kept
	window   [][]byte // old pages of those that are not full, then all new pages
	own      ownTable
	all      windowTable
	depth    depth // what all holds

	state

	// The page at work.
	new, old []byte // old is nil when it is written in full
	base     int    // where in the window its new content begins

	tokens, literals []byte
}

// state is what tokens are relative to; see the package comment.
type state struct {
	shifts [2]int // the last shift and the one before it
	from   int    // where in the window the last copy from it ended
	fromTo int    // and where the copy itself ended
}

// depth says what the table of all pages has, and so what is searched.
type depth uint8

const (
	nothing  depth = iota
	literals       // those written so far
	pages          // the old pages, and the literals
)

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
	e.pageSize, e.pageBits, e.depth = pageSize, bits.TrailingZeros(uint(pageSize)), nothing
	e.state = state{shifts: [2]int{firstShift, -firstShift}}
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
	if e.own.ready = false; e.old == nil {
		e.own.build(nil, e.pageSize) // of nothing, so that nothing is found
	}
	tokens, literal, state := len(e.tokens), len(e.literals), e.state
	if e.depth == nothing && len(e.changes) > 1 {
		e.depth = literals
		e.all.reset(fewPositions)
	}
	e.scan(c)
	alone := len(e.changes) == 1 && e.old != nil // its own old content is all there is
	if e.depth == pages || alone || len(e.literals)-literal <= fewLiterals {
		return
	}
	e.tokens, e.literals, e.state = e.tokens[:tokens], e.literals[:literal], state
	e.index()
	e.scan(c)
}

// index enters the old pages into the table of all pages, and the new ones as
// far as they are encoded. Of those that follow only the literals are entered:
// what was copied is there already.
func (e *Encoder) index() {
	e.depth = pages
	e.all.reset(len(e.window) * e.pageSize)
	for i, page := range e.window[:e.base/e.pageSize] {
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
		for p := hi; p < c.hi && p-hi < minCheap; p++ {
			if e.old[p] != e.new[p] {
				hi = p + 1
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
	if e.depth != nothing && hi-lo >= 8 {
		e.all.add(e.new, e.base, lo, hi)
	}
}
