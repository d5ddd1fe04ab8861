// Package diff turns the pages that a transaction changed into patches, and
// patches back into pages. It is arithmetic on bytes: no files, no clock, no log.
//
//	var enc diff.Encoder
//	body, kept := enc.Encode(diff.Body{}, 4096, []diff.Page{{No: 7, Old: before, New: after}})
//
//	var dec diff.Decoder
//	err := dec.Load(body, 4096)                        // checks everything
//	dec.Decode([][]byte{page7}, [][]byte{before})      // cannot fail
//
// # Why copies
//
// A b-tree moves bytes about. An insert shifts the rest of the cell pointer
// array, a split moves cells to a sibling, VACUUM moves whole pages; a list of
// the ranges that differ holds all of that as if it were new. So a patch here
// says how to copy the new page together from what is there already: the page's
// own old content, the old content of the other pages of the transaction, and
// the new content of those before it. Only the rest is literal bytes.
//
// # A body
//
// The pages of a transaction become one [Body] of three streams, kept apart
// because they compress better so. A transaction of more than [GroupPages] is
// cut into groups, each a body of its own. A body together with the old
// contents of its pages says what the new ones are; nothing else is needed.
// For other implementations journal/FORMAT.md says the same, in section 5.3.
//
//	Pages      count, then of each page (gap from the number before × 2) + full
//	Tokens     of page after page, until each is complete
//	Literals   the bytes that literal tokens take, in order
//
// Numbers are unsigned LEB128 varints in their shortest form, at most 35 bits;
// signed ones are zigzag: 0, -1, 1, -2 are 0, 1, 2, 3. The first gap is from 0.
// A page that stands in full needs no old content and has none. A body of no
// pages is three empty streams.
//
// A token is a byte, its kind in the upper three bits and a length n in the
// lower five. When n is 31, a varint follows and is added to it. Then comes what
// the kind calls for:
//
//	0 same     n                n bytes of the old page at the same offset; n = 0: the rest of the page
//	1 literal  n                n bytes of Literals
//	2 shift    n, zigzag d      n bytes of the old page at the same offset + d
//	3 again    n                the same with the last d
//	4 from     n, zigzag r      n bytes of the window at r + where the last such copy ended
//	5 fill     n, byte          n times that byte
//	6, 7                        free for a later version, refused by this one
//
// The window is what copies may come from besides the page's own old content:
// the old pages of those that are not full, one after the other, then all new
// pages. For pages A, B and C of 512 bytes, B in full, while B is at work:
//
//	0          512         1024        1536        2048        2560
//	├── old A ──┼── old C ──┼── new A ──┼── new B ╌╌┼╌╌ new C ╌╌┤
//	└───────────── copies may come from here ──┘
//
// A copy from the window lies within one page and within what is complete; it
// does not overlap what it makes. d and r are kept from page to page; at the
// beginning of a body the last d is -2, because that is what an insert does to
// a pointer array, and the last copy ended at 0.
//
// # An example
//
// Page 3, of 512 bytes, gets nine new bytes at offset 100:
//
//	Pages     01 06           one page; 3 × 2, not full
//	Tokens    1f 45           same, 31 + 69 = 100 bytes
//	          29              literal, 9 bytes
//	          00              same, the rest
//	Literals  41 20 43 4f 55 4e 54 45 52
//
// More are in testdata/bodies.txt, with bodies that are to be refused.
//
// # One spelling
//
// A decoder refuses whatever can be said shorter: a number with leading zeros,
// a token of no bytes, a same that reaches the end of the page with its length,
// a shift by 0 or by the last d. It refuses copies from outside of what there
// is, tokens other than literal, from and fill in a full page, and any byte that
// is left over. Read tokens written again are the same bytes. Which tokens make
// up a page, however, is the encoder's choice: this one is deterministic, but a
// later release may choose better.
//
// # What a reader can rely on
//
// [Decoder.Load] checks all of a body, whatever the bytes, before a single page
// is written, and takes no memory beyond eight bytes a page. What it lets
// through, [Decoder.Decode] decodes without reading or writing out of range. It
// cannot know whether the old pages are the right ones: that is what the state
// checksum, [Sum], is for.
//
// Encoders and decoders keep their memory, and after a while allocate nothing.
// Each is for one goroutine at a time; everything else is safe for any.
package diff

import "fmt"

// Page is one page of a transaction.
type Page struct {
	No  uint32 // page number, from 1
	Old []byte // content before the transaction; nil encodes the page in full
	New []byte // content after it
}

// Body is the encoded pages of a transaction, or of one group of a large one:
// three streams, kept apart because they compress better so. The zero Body
// holds no pages.
type Body struct {
	Pages, Tokens, Literals []byte
}

// Len is the number of bytes in the three streams.
func (b Body) Len() int { return len(b.Pages) + len(b.Tokens) + len(b.Literals) }

// PageRef says of one page in a body which it is and whether its old content
// is needed.
type PageRef struct {
	No   uint32
	Full bool // stands in full: no old page needed
}

// Page sizes that SQLite allows are the powers of two between these.
const (
	MinPageSize = 512
	MaxPageSize = 65536
)

// MaxPageNo is the largest page number of a SQLite database,
// https://www.sqlite.org/fileformat2.html#pages.
const MaxPageNo = 0xFFFFFFFE

// LockPage is the number of the page that holds SQLite's lock bytes (at
// 1 GiB), never part of a database's content.
func LockPage(pageSize int) uint32 { return uint32((1<<30)/pageSize) + 1 }

// GroupPages is the most pages that one body may hold: 8,192 pages or 16 MiB
// of new content, whichever is less. It bounds what a reader of a body must
// keep in memory.
func GroupPages(pageSize int) int { return min(8192, (16<<20)/pageSize) }

func checkPageSize(n int) {
	if n < MinPageSize || n > MaxPageSize || n&(n-1) != 0 {
		panic(fmt.Sprintf("diff: page size %d is not a power of two from %d to %d", n, MinPageSize, MaxPageSize))
	}
}
