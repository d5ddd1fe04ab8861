package sqlitefile

import (
	"encoding/binary"
	"fmt"
	"io"
)

// JournalMagic is what the header of a rollback journal begins with. A journal
// whose first bytes are zero instead (journal_mode=PERSIST) is not in use.
// See https://www.sqlite.org/fileformat2.html#the_rollback_journal.
const JournalMagic = "\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"

// JournalHeaderSize is how many bytes of a journal's header mean something; it
// is padded to the sector size.
const JournalHeaderSize = 28

// JournalToEnd is the JournalHeader.Records of a journal whose count was never
// written (synchronous=OFF, or a device that appends safely): the records go on
// to the end of the file.
const JournalToEnd = 1<<32 - 1

// JournalHeader is the header of a rollback journal or of a later section of one.
type JournalHeader struct {
	Records      uint32 // page records that follow, or JournalToEnd; 0: nothing synced yet
	Nonce        uint32 // start of each record's checksum
	InitialPages uint32 // size of the database before the transaction, in pages
	SectorSize   int    // bytes that the header takes up: a power of two, 32 to 65536
	PageSize     int    // bytes
}

// ParseJournalHeader reads a journal's header from the first JournalHeaderSize
// bytes of b, which it does not keep. Errors wrap [ErrMalformed]; SQLite takes
// a journal whose first header is so as one that has nothing to roll back.
func ParseJournalHeader(b []byte) (JournalHeader, error) {
	if len(b) < JournalHeaderSize {
		return JournalHeader{}, fmt.Errorf("%w: journal header: %d bytes, want %d", ErrMalformed, len(b), JournalHeaderSize)
	}
	if string(b[:8]) != JournalMagic {
		return JournalHeader{}, fmt.Errorf("%w: journal header: magic %x", ErrMalformed, b[:8])
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	sector, size := u32(20), u32(24)
	if sector < 32 || sector > MaxPageSize || sector&(sector-1) != 0 {
		return JournalHeader{}, fmt.Errorf("%w: journal header: sector size %d", ErrMalformed, sector)
	}
	if size > MaxPageSize || !ValidPageSize(int(size)) {
		return JournalHeader{}, fmt.Errorf("%w: journal header: page size %d", ErrMalformed, size)
	}
	return JournalHeader{
		Records:      u32(8),
		Nonce:        u32(12),
		InitialPages: u32(16),
		SectorSize:   int(sector),
		PageSize:     int(size),
	}, nil
}

// RecordSize is the length in bytes of a page record: number, page, checksum.
func (h JournalHeader) RecordSize() int { return 4 + h.PageSize + 4 }

// Checksum is what the record of a page with this content carries: the nonce
// and every 200th byte, from the end; a torn write is what it is to find, not
// damage.
func (h JournalHeader) Checksum(page []byte) uint32 {
	sum := h.Nonce
	for i := len(page) - 200; i > 0; i -= 200 {
		sum += uint32(page[i])
	}
	return sum
}

// maxSuperName bounds the name of a super-journal. SQLite allows a path of 512
// bytes on Unix by default; a build with a longer limit stays below this.
const maxSuperName = 64 << 10

// ReadSuperName reads from the end of a rollback journal of size bytes the name
// of its super-journal: the file whose deletion commits a transaction over
// several databases. ok is false when there is none, which is the usual case.
// The error is the reader's.
func ReadSuperName(r io.ReaderAt, size int64) (name string, ok bool, err error) {
	const trailer = 16 // length of the name, its checksum, magic
	if size < trailer {
		return "", false, nil
	}
	var b [trailer]byte
	if err := readFull(r, b[:], size-trailer); err != nil {
		return "", false, err
	}
	n := int64(binary.BigEndian.Uint32(b[0:]))
	if string(b[8:]) != JournalMagic || n == 0 || n > maxSuperName || n > size-trailer {
		return "", false, nil
	}
	raw := make([]byte, n)
	if err := readFull(r, raw, size-trailer-n); err != nil {
		return "", false, err
	}
	// C's char is signed on some machines and not on others, so the checksum
	// of a name beyond ASCII depends on who wrote it. Both are right.
	var signed, unsigned uint32
	for _, c := range raw {
		signed += uint32(int8(c))
		unsigned += uint32(c)
	}
	sum := binary.BigEndian.Uint32(b[4:])
	if sum != signed && sum != unsigned {
		return "", false, nil
	}
	return string(raw), true, nil
}

// readFull reads len(b) bytes at off; a file that has become shorter is an
// error.
func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case err == nil || err == io.EOF:
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read %d bytes at offset %d: %w", len(b), off, err)
}
