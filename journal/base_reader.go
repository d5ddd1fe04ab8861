package journal

import (
	"crypto/sha256"
	"errors"
	"io"
	"sync"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// BaseReader reads a base. Safe for concurrent use.
type BaseReader struct {
	r      io.ReaderAt
	close  func() error
	path   string
	hdr    fileHeader
	info   BaseInfo
	blocks []baseBlock
	end    int64 // of the blocks

	bufs sync.Pool // *blockReader: stored blocks as read
}

// NewBaseReader reads a base from anywhere: a file, an object. It reads the header and the footer, and the
// footer is checked against both. name is for messages and Info.
func NewBaseReader(r io.ReaderAt, size int64, name string) (*BaseReader, error) {
	b := &BaseReader{r: r, path: name, close: func() error { return nil }}
	head := make([]byte, fileHeaderSize)
	n, err := r.ReadAt(head, 0)
	if n < len(head) && !isEOF(err) {
		return nil, err
	}
	if err := b.hdr.parse(head[:n], baseMagic); err != nil {
		return nil, located(err, name, 0, 0)
	}
	if b.hdr.before.pageSize == 0 {
		return nil, located(because(ErrCorrupt, "base without a page size"), name, 0, b.hdr.first)
	}
	b.info = infoOfBase(name, &b.hdr, size)
	return b, located(b.load(head, size), name, max(size-trailerSize, 0), b.hdr.first)
}

func (b *BaseReader) load(head []byte, size int64) error {
	content, off, err := readFooter(b.r, size, uint64(b.hdr.first))
	if err != nil {
		return err
	}
	header, blocks, err := parseBaseFooter(content, &b.hdr, off)
	if err != nil {
		return err
	}
	if header != sha256.Sum256(head) {
		return because(ErrCorrupt, "the footer is of another header")
	}
	b.blocks, b.end = blocks, off
	return nil
}

// readFooter finds and decodes the F block of a sealed file. off is where it begins.
func readFooter(r io.ReaderAt, size int64, first uint64) (content []byte, off int64, err error) {
	if size < fileHeaderSize+blockHeaderSize+chainSize+trailerSize {
		return nil, 0, because(ErrCorrupt, "a sealed file of %d bytes", size)
	}
	buf := make([]byte, trailerSize)
	if n, err := r.ReadAt(buf, size-trailerSize); n < len(buf) {
		return nil, 0, cutShort(err)
	}
	var t trailer
	if err := t.parse(buf, size); err != nil {
		return nil, 0, err
	}
	br := blockReader{r: r, off: t.off, limit: size - trailerSize, sealed: true}
	var h blockHeader
	if err := br.header(&h); err != nil {
		return nil, 0, notTorn(err)
	}
	if h.kind != blockFooter || h.size() != int64(t.length) || h.first != first || h.records != 0 || h.decoded > maxFooter {
		return nil, 0, because(ErrCorrupt, "footer block")
	}
	content, err = contentOf(&br, &h, nil)
	return content, t.off, err
}

// cutShort is the error of a read that gave fewer bytes than the file has.
func cutShort(err error) error {
	if isEOF(err) {
		return because(ErrCorrupt, "the file became shorter")
	}
	return err
}

// contentOf decodes a block of one piece of content, appending it to buf[:0].
func contentOf(br *blockReader, h *blockHeader, buf []byte) ([]byte, error) {
	payload, _, err := br.payload(h, 0)
	if err != nil {
		return buf, notTorn(err)
	}
	if h.codec == codecRaw {
		if int(h.decoded) != len(payload) {
			return buf, because(ErrCorrupt, "raw block of %d bytes that says %d", len(payload), h.decoded)
		}
		return append(buf[:0], payload...), nil
	}
	if len(payload) >= int(h.decoded) { // it would have been stored raw
		return buf, because(ErrCorrupt, "compressed block larger than its content")
	}
	return decompress(buf, payload, int(h.decoded))
}

// Info describes the base.
func (b *BaseReader) Info() BaseInfo { return b.info }

// Bytes is the base's file as it is, for copying it.
func (b *BaseReader) Bytes() *io.SectionReader { return io.NewSectionReader(b.r, 0, b.info.Size) }

// Position is the state that the base holds.
func (b *BaseReader) Position() Position {
	return Position{Database: b.hdr.database, Timeline: b.hdr.timeline, TXID: b.info.TXID, Sum: b.info.Sum}
}

// Blocks is the number of independent blocks; ReadBlock may be called concurrently (each caller its own buf).
func (b *BaseReader) Blocks() int { return len(b.blocks) }

// BlockOf is the block that holds a page; -1 for the lock-byte page and beyond the end.
func (b *BaseReader) BlockOf(page uint32) int {
	lo, hi := 0, len(b.blocks)
	for lo < hi {
		mid := int(uint(lo+hi) / 2)
		if bl := &b.blocks[mid]; page < bl.first {
			hi = mid
		} else if page-bl.first >= bl.pages {
			lo = mid + 1
		} else {
			return mid
		}
	}
	return -1
}

// ReadBlock returns the first page number of block i and the concatenated pages (appended to buf[:0]); the
// lock-byte page is absent: a block never spans it.
func (b *BaseReader) ReadBlock(i int, buf []byte) (first uint32, pages []byte, err error) {
	bl := b.blocks[i]
	br, _ := b.bufs.Get().(*blockReader)
	if br == nil {
		br = new(blockReader)
	}
	defer b.bufs.Put(br)
	next := b.end
	if i+1 < len(b.blocks) {
		next = b.blocks[i+1].off
	}
	*br = blockReader{r: b.r, off: bl.off, limit: next, sealed: true, buf: br.buf[:0]}
	var h blockHeader
	if err = br.header(&h); err == nil {
		if h.kind != blockPages || h.first != uint64(bl.first) || h.records != bl.pages || bl.off+h.size() != next ||
			h.decoded != bl.pages*b.hdr.before.pageSize {
			err = because(ErrCorrupt, "block is not what the index says")
		}
	}
	if err == nil {
		pages, err = contentOf(br, &h, buf)
	}
	if err != nil {
		return 0, nil, located(notTorn(err), b.path, bl.off, b.hdr.first)
	}
	return bl.first, pages, nil
}

// Close closes the file, when the reader was opened by Trail.OpenBase.
func (b *BaseReader) Close() error { return b.close() }

// openBase opens a base file of a trail.
func openBase(fsys durable.FS, dir string, id TXID, of *Identity) (*BaseReader, error) {
	o, err := openHeader(fsys, dir, baseName(id), readOnly, baseMagic, of, id)
	if err != nil {
		return nil, err
	}
	b, err := NewBaseReader(o.f, o.size, o.path)
	if err != nil {
		return nil, errors.Join(err, o.f.Close())
	}
	b.info.Name = baseName(id)
	b.close = o.f.Close
	return b, nil
}
