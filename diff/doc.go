// Package diff turns the pages that a transaction changed into patches and back.
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
