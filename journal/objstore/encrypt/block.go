package encrypt

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"
)

const (
	blockBytes  = 64 << 10 // of an object, in each block but the last
	sealedBytes = blockBytes + chacha20poly1305.Overhead
)

// sealedSize is how many bytes the blocks of an object have. An empty one has an empty block.
func sealedSize(plain int64) int64 { return plain + blocks(plain)*chacha20poly1305.Overhead }

func blocks(plain int64) int64 { return max((plain+blockBytes-1)/blockBytes, 1) }

// plainSize is the size of an object whose blocks have so many bytes; false for a number that no object's have.
func plainSize(sealed int64) (int64, bool) {
	plain := sealed - (sealed+sealedBytes-1)/sealedBytes*chacha20poly1305.Overhead
	return max(plain, 0), plain >= 0 && sealedSize(plain) == sealed
}

// stream encrypts and decrypts the blocks of one object, as age's format says.
type stream struct{ aead cipher.AEAD }

func newStream(fileKey, nonce []byte) (stream, error) {
	key, err := hkdf.Key(sha256.New, fileKey, nonce, "payload", chacha20poly1305.KeySize)
	if err != nil {
		return stream{}, err
	}
	aead, err := chacha20poly1305.New(key)
	return stream{aead}, err
}

// nonce of a block: its number, and whether it is the last, so that none can be left away or put elsewhere.
func (stream) nonce(block int64, last bool) []byte {
	var n [chacha20poly1305.NonceSize]byte
	binary.BigEndian.PutUint64(n[3:11], uint64(block))
	if last {
		n[11] = 1
	}
	return n[:]
}

func (s stream) seal(dst, plain []byte, block int64, last bool) []byte {
	return s.aead.Seal(dst, s.nonce(block, last), plain, nil)
}

func (s stream) open(dst, sealed []byte, block int64, last bool) ([]byte, error) {
	plain, err := s.aead.Open(dst, s.nonce(block, last), sealed, nil)
	if err != nil {
		return nil, errChanged
	}
	return plain, nil
}

// sealedBody is an encrypted object, made from the plain one as it is read, and each time the same.
type sealedBody struct {
	header  []byte
	fileKey []byte
	stream  stream
	plain   io.ReaderAt
	size    int64 // of plain

	mu    sync.Mutex
	block int64  // number of the block in buf; under mu
	buf   []byte // under mu
	in    []byte // a plain block; under mu
}

func newSealedBody(header, fileKey []byte, plain io.ReaderAt, size int64) (*sealedBody, error) {
	s, err := newStream(fileKey, header[len(header)-nonceBytes:])
	if err != nil {
		return nil, err
	}
	return &sealedBody{header: header, fileKey: fileKey, stream: s, plain: plain, size: size, block: -1}, nil
}

// Size of the encrypted object.
func (b *sealedBody) Size() int64 { return int64(len(b.header)) + sealedSize(b.size) }

// ReadAt implements io.ReaderAt.
func (b *sealedBody) ReadAt(p []byte, off int64) (n int, err error) {
	if off < int64(len(b.header)) {
		n = copy(p, b.header[off:])
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for n < len(p) {
		at := off + int64(n) - int64(len(b.header))
		if at >= sealedSize(b.size) {
			return n, io.EOF
		}
		if err := b.fill(at / sealedBytes); err != nil {
			return n, err
		}
		n += copy(p[n:], b.buf[at%sealedBytes:])
	}
	return n, nil
}

// fill encrypts a block. The caller holds mu.
func (b *sealedBody) fill(block int64) error {
	if block == b.block {
		return nil
	}
	b.block = -1
	size := min(b.size-block*blockBytes, blockBytes)
	if int64(cap(b.in)) < size {
		b.in = make([]byte, size)
	}
	if _, err := io.ReadFull(io.NewSectionReader(b.plain, block*blockBytes, size), b.in[:size]); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return err
	}
	b.buf = b.stream.seal(b.buf[:0], b.in[:size], block, block == blocks(b.size)-1)
	b.block = block
	return nil
}
