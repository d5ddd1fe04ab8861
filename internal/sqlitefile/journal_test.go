package sqlitefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// realJournal returns a database and its rollback journal in the middle of a
// transaction whose cache has spilled, so that the journal was synced, and the
// database as it was before it.
func realJournal(t testing.TB, size int) (before, journal []byte) {
	t.Helper()
	dir := t.TempDir()
	db := filepath.Join(dir, "a.db")
	shell(t, db, fmt.Sprintf(`
		PRAGMA page_size=%d;
		CREATE TABLE t(a INTEGER PRIMARY KEY, b);
		WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<200)
		INSERT INTO t SELECT x, randomblob(%d) FROM n;
		.system cp a.db before
		PRAGMA cache_size=5;
		BEGIN;
		UPDATE t SET b = randomblob(%[2]d);
		.system cp a.db-journal journal
		ROLLBACK;`, size, size/2))
	return readFile(t, filepath.Join(dir, "before")), readFile(t, filepath.Join(dir, "journal"))
}

// Every record of the journal's first section holds a page as it was before
// the transaction, with the checksum we compute.
func TestJournalOfRealFiles(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			before, journal := realJournal(t, size)
			h, err := sqlitefile.ParseJournalHeader(journal)
			if err != nil {
				t.Fatal(err)
			}
			if h.PageSize != size || int(h.InitialPages)*size != len(before) || h.Records == 0 {
				t.Fatalf("%+v for a database of %d bytes", h, len(before))
			}
			b := journal[h.SectorSize:]
			for i := range h.Records {
				no := binary.BigEndian.Uint32(b)
				page := b[4 : 4+size]
				if !bytes.Equal(page, before[int(no-1)*size:int(no)*size]) {
					t.Fatalf("record %d: not page %d as it was before", i, no)
				}
				if got, want := h.Checksum(page), binary.BigEndian.Uint32(b[4+size:]); got != want {
					t.Fatalf("record %d: checksum %08x, want %08x", i, got, want)
				}
				b = b[h.RecordSize():]
			}
			if _, ok, err := sqlitefile.ReadSuperName(bytes.NewReader(journal), int64(len(journal))); ok || err != nil {
				t.Errorf("a super-journal where there is none: %v", err)
			}
		})
	}
}

func journalHeader(records, sector, size uint32) []byte {
	b := []byte(sqlitefile.JournalMagic)
	for _, v := range []uint32{records, 0x1234, 5, sector, size} {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func TestParseJournalHeader(t *testing.T) {
	h, err := sqlitefile.ParseJournalHeader(journalHeader(sqlitefile.JournalToEnd, 512, 65536))
	want := sqlitefile.JournalHeader{Records: 1<<32 - 1, Nonce: 0x1234, InitialPages: 5, SectorSize: 512, PageSize: 65536}
	if err != nil || h != want {
		t.Errorf("%+v, %v", h, err)
	}
	for what, b := range map[string][]byte{
		"empty":       nil,
		"short":       journalHeader(0, 512, 512)[:27],
		"zeroed":      make([]byte, 28), // a journal in PERSIST mode that is not in use
		"sector 0":    journalHeader(0, 0, 512),
		"sector 16":   journalHeader(0, 16, 512),
		"sector 48":   journalHeader(0, 48, 512),
		"sector huge": journalHeader(0, 131072, 512),
		"page 0":      journalHeader(0, 512, 0),
		"page 513":    journalHeader(0, 512, 513),
		"page huge":   journalHeader(0, 512, 1<<31),
	} {
		if _, err := sqlitefile.ParseJournalHeader(b); !errors.Is(err, sqlitefile.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", what, err)
		}
	}
}

// superTrailer is the end of a journal in a transaction over several files.
func superTrailer(name string, signed bool) []byte {
	b := []byte{0, 4, 0, 1} // number of the page with the lock bytes, which is not read
	var sum uint32
	for _, c := range []byte(name) {
		if signed {
			sum += uint32(int8(c))
		} else {
			sum += uint32(c)
		}
	}
	b = append(b, name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(name)))
	b = binary.BigEndian.AppendUint32(b, sum)
	return append(b, sqlitefile.JournalMagic...)
}

func TestReadSuperName(t *testing.T) {
	for _, name := range []string{"a", "/tmp/a.db-mj12345678", "/tmp/größe.db-mj9", strings.Repeat("n", 4096)} {
		for _, signed := range []bool{false, true} {
			b := append(make([]byte, 700), superTrailer(name, signed)...)
			got, ok, err := sqlitefile.ReadSuperName(bytes.NewReader(b), int64(len(b)))
			if got != name || !ok || err != nil {
				t.Errorf("%q: %q, %v, %v", name, got, ok, err)
			}
		}
	}
	whole := superTrailer("/tmp/a.db-mj1", false)
	for what, spoil := range map[string]func(b []byte) []byte{
		"empty":          func(b []byte) []byte { return nil },
		"short":          func(b []byte) []byte { return b[len(b)-15:] },
		"name cut":       func(b []byte) []byte { return b[5:] },
		"magic":          func(b []byte) []byte { b[len(b)-1]++; return b },
		"checksum":       func(b []byte) []byte { b[len(b)-9]++; return b },
		"name":           func(b []byte) []byte { b[6]++; return b },
		"length 0":       func(b []byte) []byte { b[len(b)-13] = 0; return b },
		"length too big": func(b []byte) []byte { b[len(b)-16] = 0xff; return b },
	} {
		b := spoil(bytes.Clone(whole))
		if name, ok, err := sqlitefile.ReadSuperName(bytes.NewReader(b), int64(len(b))); ok || err != nil {
			t.Errorf("%s: %q, %v, %v", what, name, ok, err)
		}
	}
	// A file that is shorter than said has changed under our eyes: an error.
	if _, _, err := sqlitefile.ReadSuperName(bytes.NewReader(whole), int64(len(whole))+1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("shorter than said: %v", err)
	}
}

func FuzzJournal(f *testing.F) {
	f.Add(append(journalHeader(1, 512, 4096), superTrailer("/a-mj1", true)...))
	f.Add(superTrailer("ü", true))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := sqlitefile.ParseJournalHeader(b); err == nil {
			if !sqlitefile.ValidPageSize(h.PageSize) || h.SectorSize < 32 {
				t.Fatalf("accepted %+v", h)
			}
		}
		name, ok, err := sqlitefile.ReadSuperName(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if ok && !bytes.Contains(b, []byte(name)) {
			t.Fatalf("a name out of nowhere: %q", name)
		}
	})
}
