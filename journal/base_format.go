package journal

import (
	"encoding/binary"

	"github.com/pagetrail/pagetrail/diff"
)

// BaseInfo describes a base file.
type BaseInfo struct {
	Name      string // file name in the trail
	TXID      TXID
	Time      Time // of the transaction
	PageSize  int
	PageCount uint32
	Sum       diff.Sum
	Size      int64 // of the file
}

// baseBlockBytes is what a B block holds of pages, or one page: enough for zstd to work with, little enough
// that reading one page costs little.
const baseBlockBytes = 256 << 10

// basePages is the number of pages in a block of a base: all but the last, and the one before the
// lock-byte page, hold so many.
func basePages(pageSize int) int { return baseBlockBytes / pageSize }

// baseBlock is the place of a B block.
type baseBlock struct {
	off   int64
	first uint32
	pages uint32
}

// appendBaseFooter is the content of a base's F block: the SHA-256 of the file's header, then the number of
// blocks and for each its size and number of pages.
func appendBaseFooter(b []byte, header chainHash, blocks []baseBlock, end int64) []byte {
	b = append(b, header[:]...)
	b = binary.AppendUvarint(b, uint64(len(blocks)))
	for i, bl := range blocks {
		next := end
		if i+1 < len(blocks) {
			next = blocks[i+1].off
		}
		b = binary.AppendUvarint(b, uint64(next-bl.off))
		b = binary.AppendUvarint(b, uint64(bl.pages))
	}
	return b
}

// parseBaseFooter reads it back; the blocks must cover the pages from 1 to pageCount without the
// lock-byte page, and the file from its header to end.
func parseBaseFooter(b []byte, hdr *fileHeader, end int64) (header chainHash, blocks []baseBlock, err error) {
	f := fields{b: b}
	if h := f.bytes(chainSize); h != nil {
		header = chainHash(h)
	}
	n := f.upTo(uint64(len(b))) // each takes two bytes or more
	off, page, lock := int64(fileHeaderSize), uint64(1), uint64(lockPage(hdr.before.pageSize))
	most := uint64(basePages(int(max(hdr.before.pageSize, minPageSize))))
	blocks = make([]baseBlock, 0, min(n, uint64(len(b)/2)))
	for range n {
		if page == lock {
			page++
		}
		size, pages := f.upTo(maxPayload), f.upTo(most)
		last := page + pages - 1
		if f.bad || pages == 0 || size <= blockHeaderSize+chainSize || page < lock && last >= lock || last > uint64(hdr.before.pageCount) {
			f.fail()
			break
		}
		blocks = append(blocks, baseBlock{off: off, first: uint32(page), pages: uint32(pages)})
		off += int64(size)
		page += pages
	}
	if page == lock && uint64(hdr.before.pageCount) == lock {
		page++ // a database that ends with the lock-byte page
	}
	if f.bad || len(f.b) != 0 || off != end || page != uint64(hdr.before.pageCount)+1 {
		return header, nil, because(ErrCorrupt, "index of the base")
	}
	return header, blocks, nil
}

// lockPage is the number of the page that is never stored.
func lockPage(pageSize uint32) uint32 {
	if pageSize == 0 {
		return 0
	}
	return diff.LockPage(int(pageSize))
}

// trailer ends every sealed file, so that its footer is found from the end.
type trailer struct {
	off    int64 // of the F block
	length uint32
}

func (t *trailer) append(b []byte) []byte {
	from := len(b)
	b = le.AppendUint64(b, uint64(t.off))
	b = le.AppendUint32(b, t.length)
	b = le.AppendUint32(b, 0)
	b = append(b, trailerMagic[:]...)
	b = append(b, make([]byte, 8)...)
	le.PutUint32(b[from+12:], trailerCRC(b[from:]))
	return b
}

// trailerCRC covers all of the trailer but itself.
func trailerCRC(b []byte) uint32 { return crcUpdate(crcOf(b[:12]), b[16:trailerSize]) }

// parse reads the trailer of a file of the given size.
func (t *trailer) parse(b []byte, size int64) error {
	if len(b) != trailerSize || [8]byte(b[16:]) != trailerMagic || trailerCRC(b) != le.Uint32(b[12:]) {
		return because(ErrCorrupt, "trailer")
	}
	if le.Uint64(b[24:]) != 0 {
		return because(ErrFlag, "reserved trailer bytes are not zero")
	}
	t.off, t.length = int64(le.Uint64(b)), le.Uint32(b[8:])
	if t.off < fileHeaderSize || t.length < blockHeaderSize+chainSize || t.length > maxPayload ||
		t.off+int64(t.length) != size-trailerSize {
		return because(ErrCorrupt, "footer of %d bytes at %d in a file of %d", t.length, t.off, size)
	}
	return nil
}
