package journal

import "math/bits"

// The limits of the format. Every length in a file is checked against one of them, and against the
// size of the file, before anything is allocated or sliced.
const (
	// maxStreams bounds the decoded streams of a T or P block. A body covers at most 16 MiB of new
	// content (diff.GroupPages), and no encoding of it comes near twice that.
	maxStreams = 32 << 20
	// maxPayload bounds what is stored: streams are stored raw when zstd does not make them smaller,
	// so only lengths, the chain and the record headers come on top.
	maxPayload = maxStreams + 64<<10
	// maxFooter bounds the decoded footer. A million transactions of ten pages each need under
	// 16 MiB; the sealer leaves the page index out when it would not fit.
	maxFooter = 32 << 20
	// maxRecords bounds the records of a block: the writer ends a block at 4096, this leaves room.
	maxRecords = 1 << 16
	// maxNote and maxSuper bound strings. SQLite's longest path is 4096 bytes with its terminator.
	maxNote  = 4096
	maxSuper = 4096
	// maxName bounds the name of a restore point: it must fit in a line and a file name.
	maxName = 255
	// maxFolded bounds the transactions that one record stands for: a thousand a second for thirty years.
	maxFolded = 1 << 40
	// maxParts bounds the groups of one transaction: 2^32 pages in groups of 256 (64 KiB pages).
	maxParts = 1 << 24

	minPageSize = 512
	maxPageSize = 65536
	// maxPageCount is SQLite's largest database.
	maxPageCount = 0xfffffffe
)

// validPageSize says whether SQLite could use the page size.
func validPageSize(n uint32) bool {
	return n >= minPageSize && n <= maxPageSize && bits.OnesCount32(n) == 1
}
