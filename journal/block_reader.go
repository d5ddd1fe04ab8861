package journal

import (
	"crypto/sha256"
	"errors"
	"io"
)

// readChunk is what a reader asks of the file at once: small blocks come many to a read.
const readChunk = 128 << 10

// blockReader reads the blocks of a file in order through one buffer, as large as the largest block
// met. It looks at no byte at or beyond limit.
type blockReader struct {
	r      io.ReaderAt
	off    int64 // of the next block
	limit  int64
	sealed bool   // payloads begin with a chain hash
	buf    []byte // bytes of the file from bufOff on
	bufOff int64
}

// window returns the n bytes at off, or fewer where the limit or the file ends. Valid until the next call.
func (b *blockReader) window(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), max(b.limit-off, 0)))
	if at := off - b.bufOff; at >= 0 && at+int64(n) <= int64(len(b.buf)) {
		return b.buf[at : at+int64(n)], nil
	}
	want := int(min(int64(max(n, readChunk)), max(b.limit-off, 0)))
	if cap(b.buf) < want {
		b.buf = make([]byte, want)
	}
	b.buf, b.bufOff = b.buf[:want], off
	got, err := b.r.ReadAt(b.buf, off)
	b.buf = b.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		b.buf = b.buf[:0]
		return nil, err
	}
	return b.buf[:min(n, got)], nil
}

// header reads the header of the next block without stepping over it. io.EOF: the file ends here.
// ErrTorn: the block is not there in full.
func (b *blockReader) header(h *blockHeader) error {
	w, err := b.window(b.off, blockHeaderSize)
	if err != nil {
		return err
	}
	if len(w) == 0 {
		return io.EOF
	}
	if len(w) < blockHeaderSize {
		return because(ErrTorn, "%d bytes of a block header", len(w))
	}
	if err := h.parse(w); err != nil {
		return err
	}
	if b.sealed && h.length < chainSize {
		return because(ErrCorrupt, "block without a chain")
	}
	if left := b.limit - b.off; h.size() > left {
		return because(ErrTorn, "%d bytes of a block of %d", left, h.size())
	}
	return nil
}

// payload reads and checks the payload of the block that header just read, and what follows it, up to
// extra bytes. The chain of a sealed file is taken off. Valid until the next call of any method.
func (b *blockReader) payload(h *blockHeader, extra int) (payload, after []byte, err error) {
	size := int(h.size())
	w, err := b.window(b.off, size+extra)
	if err != nil {
		return nil, nil, err
	}
	if len(w) < size {
		return nil, nil, because(ErrTorn, "%d bytes of a block of %d", len(w), size)
	}
	payload, after = w[blockHeaderSize:size:size], w[size:]
	if crcOf(payload) != h.crc {
		return nil, nil, errPayload
	}
	if b.sealed {
		payload = payload[chainSize:]
	}
	return payload, after, nil
}

// The two ways in which a block shows that it is not what was written. They are ErrCorrupt.
var (
	errHeader  = because(ErrCorrupt, "block header checksum")
	errPayload = because(ErrCorrupt, "block payload checksum")
)

// hash is the SHA-256 of the block that header just read, and the chain that it carries.
func (b *blockReader) hash(h *blockHeader) (own, before chainHash, err error) {
	w, err := b.window(b.off, int(h.size()))
	if err != nil {
		return own, before, err
	}
	if int64(len(w)) < h.size() {
		return own, before, because(ErrCorrupt, "the file became shorter")
	}
	return sha256.Sum256(w), chainHash(w[blockHeaderSize:]), nil
}

// checkPayload checks the checksum of a payload of any size with a bounded buffer.
func (b *blockReader) checkPayload(h *blockHeader) error {
	crc := uint32(0)
	for at := int64(0); at < int64(h.length); {
		w, err := b.window(b.off+blockHeaderSize+at, int(min(int64(h.length)-at, readChunk)))
		if err != nil {
			return err
		}
		if len(w) == 0 {
			return because(ErrTorn, "%d bytes of a block of %d", at, h.size())
		}
		crc = crcUpdate(crc, w)
		at += int64(len(w))
	}
	if crc != h.crc {
		return errPayload
	}
	return nil
}

// isEOF says that a read ended because the file did.
func isEOF(err error) bool {
	return err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
