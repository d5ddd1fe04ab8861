package journal

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// sealedFile writes a file of chained blocks: a sealed segment or a base. It is a temporary file until
// its maker renames it.
type sealedFile struct {
	fs    durable.FS
	f     durable.File
	path  string
	off   int64
	chain chainHash // of the block before
	block []byte
	comp  []byte

	effort compression // of content; zero: compressDefault
}

// createSealed begins a file behind the place of its header.
func createSealed(fsys durable.FS, path string, mode fs.FileMode) (*sealedFile, error) {
	return openSealed(fsys, path, mode, os.O_TRUNC)
}

// openSealed is createSealed with another flag: a file that is there in part goes on where the caller says.
func openSealed(fsys durable.FS, path string, mode fs.FileMode, flag int) (*sealedFile, error) {
	f, err := fsys.OpenFile(path, os.O_RDWR|os.O_CREATE|flag, mode)
	if err != nil {
		return nil, err
	}
	return &sealedFile{fs: fsys, f: f, path: path, off: fileHeaderSize}, nil
}

// Close leaves the file as it is.
func (s *sealedFile) Close() error {
	if s.f == nil {
		return nil
	}
	err := s.f.Close()
	s.f = nil
	return err
}

// begin makes room for a block's header and writes the chain; the payload is appended to s.block.
func (s *sealedFile) begin() {
	s.block = append(s.block[:0], make([]byte, blockHeaderSize)...)
	s.block = append(s.block, s.chain[:]...)
}

// end writes the block that begin began.
func (s *sealedFile) end(h *blockHeader) error {
	payload := s.block[blockHeaderSize:]
	h.length, h.crc = uint32(len(payload)), crcOf(payload)
	h.put(s.block)
	if _, err := s.f.WriteAt(s.block, s.off); err != nil {
		return err
	}
	s.chain = sha256.Sum256(s.block)
	s.off += int64(len(s.block))
	return nil
}

// content writes a block whose payload is one piece of content, compressed when that is smaller.
func (s *sealedFile) content(h *blockHeader, data []byte) error {
	s.begin()
	h.decoded = uint32(len(data))
	if s.comp = compressed(s.comp[:0], data, s.effort.orDefault()); len(s.comp) > 0 {
		h.codec = codecZstd
		s.block = append(s.block, s.comp...)
	} else {
		s.block = append(s.block, data...)
	}
	return s.end(h)
}

// footer writes the F block and the trailer.
func (s *sealedFile) footer(first uint64, data []byte) error {
	if len(data) > maxFooter {
		return because(ErrRange, "footer of %d bytes", len(data))
	}
	t := trailer{off: s.off}
	if err := s.content(&blockHeader{kind: blockFooter, first: first}, data); err != nil {
		return err
	}
	t.length = uint32(s.off - t.off)
	if _, err := s.f.WriteAt(t.append(nil), s.off); err != nil {
		return err
	}
	s.off += trailerSize
	return nil
}

// finish writes the file's header, makes the file durable and closes it.
func (s *sealedFile) finish(header []byte) error {
	if _, err := s.f.WriteAt(header, 0); err != nil {
		return err
	}
	if err := s.f.Sync(); err != nil {
		return err
	}
	return s.Close()
}

// abort removes the file.
func (s *sealedFile) abort() {
	_ = s.Close() // it is removed
	if err := s.fs.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return // the next one to write such a file removes it
	}
}
