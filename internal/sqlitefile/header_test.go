package sqlitefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

func TestHeaderOfRealFiles(t *testing.T) {
	for _, size := range pageSizes {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			db := filepath.Join(t.TempDir(), "a.db")
			said := shell(t, db, fmt.Sprintf(`
				PRAGMA page_size=%d; PRAGMA auto_vacuum=INCREMENTAL;
				PRAGMA user_version=77; PRAGMA application_id=4711;
				CREATE TABLE t(a, b); CREATE INDEX i ON t(b);
				WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<300)
				INSERT INTO t SELECT x, randomblob(1000) FROM n;
				DELETE FROM t WHERE a > 50;
				PRAGMA page_count; PRAGMA freelist_count; PRAGMA schema_version;`, size))
			var want []uint32
			for _, s := range strings.Fields(said) {
				n, err := strconv.Atoi(s)
				if err != nil {
					t.Fatalf("shell said %q", said)
				}
				want = append(want, uint32(n))
			}
			file := readFile(t, db)
			h := header(t, file)
			check := func(what string, got, want any) {
				t.Helper()
				if got != want {
					t.Errorf("%s: got %v, want %v", what, got, want)
				}
			}
			check("page size", h.PageSize, size)
			check("usable", h.Usable(), size)
			check("pages", h.Pages(int64(len(file))), want[0])
			check("in-header size", h.PageCount, want[0])
			check("free pages", h.FreelistCount, want[1])
			check("has a trunk", h.FreelistTrunk != 0, true)
			check("schema cookie", h.SchemaCookie, want[2])
			check("schema format", h.SchemaFormat, uint32(4))
			check("user version", h.UserVersion, uint32(77))
			check("application", h.ApplicationID, uint32(4711))
			check("incremental", h.Incremental, true)
			check("auto_vacuum", h.AutoVacuum != 0, true)
			check("encoding", h.TextEncoding, uint32(1))
			check("versions", [2]uint8{h.WriteVersion, h.ReadVersion}, [2]uint8{1, 1})
			check("WAL", h.WAL(), false)
			check("valid for", h.VersionValidFor, h.ChangeCounter)
			check("library is of version 3", h.SQLiteVersion/1000000, uint32(3))
		})
	}
}

func TestHeaderCountsTransactions(t *testing.T) {
	db := filepath.Join(t.TempDir(), "a.db")
	shell(t, db, "CREATE TABLE t(a); INSERT INTO t VALUES(1);")
	before := header(t, readFile(t, db))
	shell(t, db, "INSERT INTO t VALUES(2); INSERT INTO t VALUES(3);")
	after := header(t, readFile(t, db))
	if got := after.ChangeCounter - before.ChangeCounter; got != 2 {
		t.Errorf("change counter moved by %d in two transactions", got)
	}
	shell(t, db, "PRAGMA journal_mode=WAL;")
	if h := header(t, readFile(t, db)); !h.WAL() || h.WriteVersion != sqlitefile.VersionWAL {
		t.Errorf("after journal_mode=WAL the versions are %d, %d", h.WriteVersion, h.ReadVersion)
	}
}

func TestPagesFollowsSQLitesRule(t *testing.T) {
	h := sqlitefile.Header{PageSize: 4096, PageCount: 7, ChangeCounter: 9, VersionValidFor: 9}
	stale, none := h, h
	stale.VersionValidFor, none.PageCount = 8, 0
	for _, c := range []struct {
		what string
		h    sqlitefile.Header
		size int64
		want uint32
	}{
		{"in-header size", h, 4096 * 3, 7},
		{"in-header size, no file", h, 0, 7},
		{"stale", stale, 4096 * 3, 3},
		{"stale, part of a page", stale, 4096*3 + 1, 4},
		{"stale, a page less a byte", stale, 4096*3 - 1, 3},
		{"stale, empty", stale, 0, 0},
		{"stale, negative", stale, -1, 0},
		{"none", none, 4096 * 3, 3},
		{"beyond 4 GiB", none, 5 << 30, 5 << 18},
		{"beyond every page number", none, 1<<63 - 1, sqlitefile.MaxPages},
	} {
		if got := c.h.Pages(c.size); got != c.want {
			t.Errorf("%s: Pages(%d) = %d, want %d", c.what, c.size, got, c.want)
		}
	}
}

func validHeader() []byte {
	b := make([]byte, sqlitefile.HeaderSize)
	copy(b, sqlitefile.Magic)
	binary.BigEndian.PutUint16(b[16:], 4096)
	b[18], b[19], b[21], b[22], b[23] = 1, 1, 64, 32, 32
	return b
}

func TestParseHeaderRefuses(t *testing.T) {
	if _, err := sqlitefile.ParseHeader(validHeader()); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(b []byte) []byte{
		"empty":            func(b []byte) []byte { return nil },
		"short":            func(b []byte) []byte { return b[:99] },
		"magic":            func(b []byte) []byte { b[15] = ' '; return b },
		"page size 0":      func(b []byte) []byte { b[16], b[17] = 0, 0; return b },
		"page size 256":    func(b []byte) []byte { b[16], b[17] = 1, 0; return b },
		"page size 1000":   func(b []byte) []byte { b[16], b[17] = 3, 232; return b },
		"page size 2":      func(b []byte) []byte { b[16], b[17] = 0, 2; return b },
		"payload":          func(b []byte) []byte { b[22] = 33; return b },
		"too much reserve": func(b []byte) []byte { b[16], b[17], b[20] = 2, 0, 33; return b },
	} {
		_, err := sqlitefile.ParseHeader(spoil(validHeader()))
		if !errors.Is(err, sqlitefile.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", what, err)
		}
	}
}

func TestLockPage(t *testing.T) {
	// The page that covers byte 2^30, pages counted from 1.
	for size, want := range map[int]uint32{512: 2097153, 4096: 262145, 65536: 16385} {
		if got := sqlitefile.LockPage(size); got != want {
			t.Errorf("LockPage(%d) = %d, want %d", size, got, want)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(validHeader())
	f.Add(append(validHeader(), 0))
	f.Add([]byte(sqlitefile.Magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := sqlitefile.ParseHeader(b)
		if err != nil {
			if !errors.Is(err, sqlitefile.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if !sqlitefile.ValidPageSize(h.PageSize) || h.Usable() < 480 {
			t.Fatalf("accepted page size %d with %d usable", h.PageSize, h.Usable())
		}
		h.Pages(int64(len(b)))
	})
}

func TestReadHeader(t *testing.T) {
	broken := errors.New("broken")
	if _, err := sqlitefile.ReadHeader(strings.NewReader("SQLite format 3")); !errors.Is(err, sqlitefile.ErrMalformed) {
		t.Errorf("a file that is too short: %v", err)
	}
	if _, err := sqlitefile.ReadHeader(failing{broken}); !errors.Is(err, broken) || errors.Is(err, sqlitefile.ErrMalformed) {
		t.Errorf("a file that cannot be read: %v", err)
	}
	file := smallZoo()
	want := header(t, file)
	if h, err := sqlitefile.ReadHeader(bytes.NewReader(file)); err != nil || h != want {
		t.Errorf("%+v, %v, want %+v", h, err, want)
	}
}

// failing cannot be read.
type failing struct{ err error }

func (f failing) ReadAt([]byte, int64) (int, error) { return 0, f.err }
