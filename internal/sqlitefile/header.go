package sqlitefile

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// HeaderSize is the length in bytes of the database header, which is the
// beginning of page 1.
const HeaderSize = 100

// Magic is what every database file begins with, its zero byte included.
// See https://www.sqlite.org/fileformat2.html#magic_header_string.
const Magic = "SQLite format 3\x00"

// Values of Header.WriteVersion and Header.ReadVersion.
// See https://www.sqlite.org/fileformat2.html#file_format_version_numbers.
const (
	VersionRollback = 1 // a rollback journal is in use
	VersionWAL      = 2 // a write-ahead log is in use
)

// Header is the database header.
// See https://www.sqlite.org/fileformat2.html#the_database_header.
type Header struct {
	PageSize        int    // bytes, 65536 included
	WriteVersion    uint8  // VersionRollback, VersionWAL; higher: read only for us
	ReadVersion     uint8  // same; higher: not readable
	Reserved        uint8  // bytes at the end of each page that extensions keep for themselves
	ChangeCounter   uint32 // counts transactions, in rollback modes only
	PageCount       uint32 // the "in-header database size"; believe Pages, not this
	FreelistTrunk   uint32 // first trunk page of the free list, 0 if it is empty
	FreelistCount   uint32 // free pages, trunks included
	SchemaCookie    uint32 // changes with the schema
	SchemaFormat    uint32 // 1 to 4; 0 in a database without a schema yet
	CacheSize       int32  // suggested cache size
	AutoVacuum      uint32 // largest root page; not zero: the database has pointer maps
	TextEncoding    uint32 // 1 UTF-8, 2 UTF-16LE, 3 UTF-16BE; 0 without a schema yet
	UserVersion     uint32 // PRAGMA user_version
	Incremental     bool   // auto_vacuum is INCREMENTAL rather than FULL
	ApplicationID   uint32 // PRAGMA application_id
	VersionValidFor uint32 // the change counter when SQLiteVersion and PageCount were written
	SQLiteVersion   uint32 // SQLITE_VERSION_NUMBER of the library that wrote last
}

// ReadHeader reads the header from the beginning of a database. Errors are those
// of [ParseHeader], also for a file that is too short, and the reader's.
func ReadHeader(r io.ReaderAt) (Header, error) {
	var b [HeaderSize]byte
	n, err := r.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return Header{}, err
	}
	return ParseHeader(b[:n])
}

// ParseHeader reads the header from the first HeaderSize bytes of b, which it
// does not keep. It refuses what SQLite refuses to call a database: a wrong
// magic, a page size out of range, payload fractions other than 64, 32, 32,
// or less than 480 usable bytes a page. Version numbers of the future are left
// to the caller. All errors wrap [ErrMalformed].
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: database header: %d bytes, want %d", ErrMalformed, len(b), HeaderSize)
	}
	if string(b[:16]) != Magic {
		return Header{}, fmt.Errorf("%w: database header: does not begin with %q", ErrMalformed, Magic[:15])
	}
	size := pageSize16(binary.BigEndian.Uint16(b[16:]))
	if !ValidPageSize(size) {
		return Header{}, fmt.Errorf("%w: database header: page size %d", ErrMalformed, size)
	}
	if b[21] != 64 || b[22] != 32 || b[23] != 32 {
		return Header{}, fmt.Errorf("%w: database header: payload fractions %d, %d, %d, want 64, 32, 32",
			ErrMalformed, b[21], b[22], b[23])
	}
	if size-int(b[20]) < 480 {
		return Header{}, fmt.Errorf("%w: database header: %d of %d bytes a page reserved", ErrMalformed, b[20], size)
	}
	u32 := func(off int) uint32 { return binary.BigEndian.Uint32(b[off:]) }
	return Header{
		PageSize:        size,
		WriteVersion:    b[18],
		ReadVersion:     b[19],
		Reserved:        b[20],
		ChangeCounter:   u32(24),
		PageCount:       u32(28),
		FreelistTrunk:   u32(32),
		FreelistCount:   u32(36),
		SchemaCookie:    u32(40),
		SchemaFormat:    u32(44),
		CacheSize:       int32(u32(48)),
		AutoVacuum:      u32(52),
		TextEncoding:    u32(56),
		UserVersion:     u32(60),
		Incremental:     u32(64) != 0,
		ApplicationID:   u32(68),
		VersionValidFor: u32(92),
		SQLiteVersion:   u32(96),
	}, nil
}

// pageSize16 undoes the 16-bit encoding of a page size, in which 65536, that
// does not fit, is written as 1.
func pageSize16(v uint16) int {
	if v == 1 {
		return MaxPageSize
	}
	return int(v)
}

// Pages is the size in pages of a database whose file has fileSize bytes, by
// SQLite's rule: the in-header size when it was written together with the
// change counter, else (the last writer was older than 3.7.0) what the file's
// size says, a part of a page counting as a page. In WAL mode the last commit
// frame of the log, if there is one, overrides both.
//
// The in-header size may be larger than the file; SQLite calls that corrupt,
// and a caller that reads pages has to check.
//
// See https://www.sqlite.org/fileformat2.html#in_header_database_size.
func (h Header) Pages(fileSize int64) uint32 {
	if h.PageCount != 0 && h.VersionValidFor == h.ChangeCounter {
		return h.PageCount
	}
	if fileSize <= 0 {
		return 0
	}
	size := int64(h.PageSize)
	n := fileSize / size
	if fileSize%size != 0 {
		n++
	}
	return uint32(min(n, MaxPages))
}

// MaxPages is the largest page number SQLite allows, 2^32-2.
// See https://www.sqlite.org/limits.html#max_page_count.
const MaxPages = 1<<32 - 2

// Usable is the number of bytes of each page that SQLite uses for content.
func (h Header) Usable() int { return h.PageSize - int(h.Reserved) }

// WAL says that the database is in WAL mode: its readers look at the log.
func (h Header) WAL() bool { return h.ReadVersion == VersionWAL }
