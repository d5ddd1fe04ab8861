package diff

import "math/bits"

// minRun is how long a run of one byte is at the least for EncodeFull to find
// it. Shorter ones are left to the compressor that follows.
const minRun = 32

// EncodeFull appends pages in full to the streams of dst, at little more than
// the cost of a copy: it looks for nothing but long runs of one byte. The pages
// are as Encode takes them, and Old is not looked at. It is for the many new
// pages of a large transaction: measured on bulk loads and indexes, a search
// for copies among them takes a hundred times as long, and a compressor makes
// the same bytes smaller when they are left alone.
func EncodeFull(dst Body, pageSize int, pages []Page) Body {
	checkPages(pageSize, pages)
	if len(pages) == 0 {
		return dst
	}
	dst.Pages = appendUvarint(dst.Pages, uint64(len(pages)))
	last := uint32(0)
	for i := range pages {
		pg := &pages[i]
		dst.Pages = appendPageNo(dst.Pages, pg.No-last, true)
		last = pg.No
		dst.Tokens, dst.Literals = appendRuns(dst.Tokens, dst.Literals, pg.New)
	}
	return dst
}

// appendRuns writes a page as runs of one byte and what is between them.
func appendRuns(tokens, literals, page []byte) (t, l []byte) {
	lit := 0 // literals from here are not yet written
	for i := 0; i < len(page); i += minRun / 2 {
		// Every run of minRun bytes covers 16 that begin at a multiple of 16.
		v := load64(page, i)
		if v != bits.RotateLeft64(v, 8) || v != load64(page, i+8) {
			continue
		}
		lo, hi := i, i+1+matchLen(page[i:], page[i+1:])
		for lo > lit && page[lo-1] == page[i] {
			lo--
		}
		if hi-lo < minRun {
			continue
		}
		if lo > lit {
			tokens = appendToken(tokens, kindLiteral, lo-lit)
			literals = append(literals, page[lit:lo]...)
		}
		tokens = append(appendToken(tokens, kindFill, hi-lo), page[i])
		lit = hi
		i = (hi - 1) &^ (minRun/2 - 1) // the next step is to the first multiple of 16 from hi on
	}
	if lit < len(page) {
		tokens = appendToken(tokens, kindLiteral, len(page)-lit)
		literals = append(literals, page[lit:]...)
	}
	return tokens, literals
}
