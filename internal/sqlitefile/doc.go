// Package sqlitefile reads the bytes that SQLite itself puts on disk: the
// database header, the write-ahead log and its index, and the numbers of the
// lock bytes; and it can say what each page of a database is for.
//
// It is pure parsing. Nothing here opens, locks or writes a file: what is read
// comes as a slice or through an [io.ReaderAt], and the caller answers for
// reading it at a moment when it holds still. The smallest use:
//
//	h, err := sqlitefile.ParseHeader(first100Bytes)
//	pages := h.Pages(fileSize)
//
// # Guarantees
//
// No input makes a function of this package panic, loop without end, or
// allocate more than it says: files are read as found after crashes, and half
// of what is found there is garbage. Every parser is fuzzed. What a parser
// accepts is what SQLite would accept; where SQLite is lenient, so is it, and
// the comment says so.
//
// Functions are safe for concurrent use, the types with methods that move
// ([WALScanner]) are not.
//
// # Sources
//
// Each item links its section of https://www.sqlite.org/fileformat2.html or
// https://www.sqlite.org/walformat.html, which are normative. Where those are
// silent (the rounding of a file's size to pages, the byte order of the salts
// in the wal-index), behaviour was taken from experiments, and tests hold it
// against files that the C library made.
package sqlitefile

import "errors"

// ErrMalformed is wrapped by every error that says "these bytes are not what
// they should be", as opposed to an error of reading them.
var ErrMalformed = errors.New("malformed SQLite file")

// Page sizes that SQLite allows: the powers of two between these.
// See https://www.sqlite.org/fileformat2.html#page_size.
const (
	MinPageSize = 512
	MaxPageSize = 65536
)

// ValidPageSize says whether SQLite allows pages of n bytes.
func ValidPageSize(n int) bool {
	return n >= MinPageSize && n <= MaxPageSize && n&(n-1) == 0
}
