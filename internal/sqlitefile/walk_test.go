package sqlitefile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// pagesOf reads pages from a file in memory.
func pagesOf(file []byte) sqlitefile.PageReader {
	return func(no uint32, buf []byte) error {
		off := (int64(no) - 1) * int64(len(buf))
		if off+int64(len(buf)) > int64(len(file)) {
			return io.ErrUnexpectedEOF
		}
		copy(buf, file[off:])
		return nil
	}
}

// walk collects what Walk yields and checks that it is every page once.
func walk(t testing.TB, h sqlitefile.Header, pages uint32, read sqlitefile.PageReader) []sqlitefile.Page {
	t.Helper()
	got := make([]sqlitefile.Page, pages+1)
	for p, err := range sqlitefile.Walk(h, pages, read) {
		if err != nil {
			t.Fatal(err)
		}
		if p.No < 1 || p.No > pages {
			t.Fatalf("page %d of %d", p.No, pages)
		}
		if got[p.No].No != 0 {
			t.Fatalf("page %d twice: %+v, %+v", p.No, got[p.No], p)
		}
		got[p.No] = p
	}
	for no := uint32(1); no <= pages; no++ {
		if got[no].No != no {
			t.Fatalf("page %d is missing", no)
		}
	}
	return got[1:]
}

// zoo makes a database with every kind of page but the lock bytes.
const zoo = `
	CREATE TABLE t(a INTEGER PRIMARY KEY, b, c UNIQUE);
	CREATE INDEX "i x" ON t(b, c);
	CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID;
	CREATE VIEW v AS SELECT 1;
	CREATE TABLE empty(a);
	CREATE TABLE gone(a);
	WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM n WHERE x<800)
	INSERT INTO t SELECT x, randomblob(x%90 * (x%97=0) * 400 + 20), 'unique ' || x FROM n;
	INSERT INTO w SELECT hex(randomblob(a%50 + 3)), zeroblob(a%200 + (a=400) * 200000) FROM t;
	INSERT INTO gone SELECT randomblob(1000) FROM t;
	DROP TABLE gone;`

// dbstat asks the C library, through a virtual table made for this, what each
// page is for, and returns "kind name" by page number.
func dbstat(t testing.TB, db string) map[uint32]string {
	t.Helper()
	leaf := map[string]string{"leaf": " leaf", "internal": " interior", "overflow": "overflow"}
	without := map[string]bool{"w": true}
	for name := range strings.FieldsSeq(shell(t, db, "SELECT replace(name, ' ', '_') FROM sqlite_schema WHERE type = 'index';")) {
		without[name] = true
	}
	said := shell(t, db, "SELECT pageno, pagetype, replace(name, ' ', '_') FROM dbstat;")
	want := map[uint32]string{}
	for line := range strings.Lines(said) {
		f := strings.Split(strings.TrimSpace(line), "|")
		no, err := strconv.Atoi(f[0])
		if err != nil {
			t.Skipf("skipped: this sqlite3 shell has no dbstat table: %s", said)
		}
		kind := leaf[f[1]]
		if kind[0] == ' ' {
			kind = map[bool]string{true: "index", false: "table"}[without[f[2]]] + kind
		}
		want[uint32(no)] = kind + " " + f[2]
	}
	return want
}

func TestWalkAgreesWithTheCLibrary(t *testing.T) {
	for _, size := range pageSizes {
		for _, setup := range []string{
			"PRAGMA encoding='UTF-8';",
			"PRAGMA encoding='UTF-16le';",
			"PRAGMA encoding='UTF-16be';",
			"PRAGMA auto_vacuum=INCREMENTAL;",
			"\n.filectrl reserve_bytes 32\n",
		} {
			t.Run(fmt.Sprint(size, strings.TrimSpace(setup)), func(t *testing.T) {
				db := filepath.Join(t.TempDir(), "a.db")
				shell(t, db, fmt.Sprintf("PRAGMA page_size=%d;%s%s", size, setup, zoo))
				file := readFile(t, db)
				h := header(t, file)
				if strings.Contains(setup, "reserve") && h.Reserved != 32 {
					t.Fatalf("%d bytes reserved", h.Reserved)
				}
				want := dbstat(t, db)
				free, maps := uint32(0), uint32(0)
				for _, p := range walk(t, h, h.Pages(int64(len(file))), pagesOf(file)) {
					switch p.Kind {
					case sqlitefile.FreeTrunk, sqlitefile.FreeLeaf:
						free++
						continue
					case sqlitefile.PointerMap:
						maps++
						continue
					}
					got := p.Kind.String() + " " + strings.ReplaceAll(p.Name, " ", "_")
					if got != want[p.No] {
						t.Errorf("page %d: %q, the C library says %q", p.No, got, want[p.No])
					}
					delete(want, p.No)
					if table := map[string]string{"i x": "t", "sqlite_autoindex_t_1": "t"}[p.Name]; table != "" && p.Table != table {
						t.Errorf("page %d: %q of table %q", p.No, p.Name, p.Table)
					}
				}
				if len(want) != 0 {
					t.Errorf("not found: %v", want)
				}
				if free != h.FreelistCount || free < 3 {
					t.Errorf("%d free pages, the header says %d", free, h.FreelistCount)
				}
				if (maps != 0) != (h.AutoVacuum != 0) {
					t.Errorf("%d pointer maps, auto_vacuum is %d", maps, h.AutoVacuum)
				}
			})
		}
	}
}

// The names of a schema may be longer than a page; Python makes them, so that
// a second program than the shell has made files for us.
func TestWalkFindsLongNames(t *testing.T) {
	db := filepath.Join(t.TempDir(), "a.db")
	long := strings.Repeat("long name ", 90)
	python(t, `
import sqlite3, sys
c = sqlite3.connect(sys.argv[1])
c.execute("PRAGMA page_size=512")
c.execute('CREATE TABLE "%s"(a)' % sys.argv[2])
c.execute("CREATE TABLE b(a)")
c.commit()`, db, long)
	file := readFile(t, db)
	h := header(t, file)
	names := map[string]int{}
	for _, p := range walk(t, h, h.Pages(int64(len(file))), pagesOf(file)) {
		names[p.Name]++
	}
	if names[long[:256]] != 1 || names["b"] != 1 || names[""] != 0 {
		t.Errorf("pages by name: %v", names)
	}
}

func TestWalkReportsParents(t *testing.T) {
	db := filepath.Join(t.TempDir(), "a.db")
	shell(t, db, "PRAGMA page_size=512;"+zoo)
	file := readFile(t, db)
	h := header(t, file)
	pages := walk(t, h, h.Pages(int64(len(file))), pagesOf(file))
	for _, p := range pages {
		if p.Parent == 0 {
			continue
		}
		// A parent must hold the child's number somewhere in its bytes.
		var no [4]byte
		binary.BigEndian.PutUint32(no[:], p.No)
		if parent := file[(p.Parent-1)*512 : p.Parent*512]; !bytes.Contains(parent, no[:]) {
			t.Errorf("page %d does not refer to its child %+v", p.Parent, p)
		}
		if up := pages[p.Parent-1]; p.Name != up.Name {
			t.Errorf("%+v is a child of %+v", p, up)
		}
	}
}

// A database beyond 1 GiB has a page of lock bytes; in auto_vacuum databases a
// pointer map that would fall on it moves to the next page.
func TestWalkKnowsTheLockPage(t *testing.T) {
	for _, c := range []struct {
		size     int
		reserved uint8
		moved    bool
	}{{65536, 0, false}, {4096, 0, false}, {4096, 16, false}, {512, 0, false}, {1024, 0, true}} {
		h := sqlitefile.Header{PageSize: c.size, Reserved: c.reserved, AutoVacuum: 1}
		lock := sqlitefile.LockPage(c.size)
		moved := (lock-2)%uint32(h.Usable()/5+1) == 0
		kinds := map[uint32]sqlitefile.Kind{}
		for p, err := range sqlitefile.Walk(h, lock+2, pagesOf(nil)) {
			if err != nil {
				t.Fatal(err)
			}
			if p.No >= lock {
				kinds[p.No] = p.Kind
			}
		}
		want := sqlitefile.Unknown
		if moved {
			want = sqlitefile.PointerMap
		}
		if kinds[lock] != sqlitefile.LockBytes || kinds[lock+1] != want {
			t.Errorf("pages of %d: around the lock bytes %v, moved %v", c.size, kinds, moved)
		}
		if moved != c.moved {
			t.Errorf("pages of %d with %d reserved: moved %v", c.size, c.reserved, moved)
		}
	}
}

func TestWalkStopsAndFails(t *testing.T) {
	db := filepath.Join(t.TempDir(), "a.db")
	shell(t, db, "PRAGMA auto_vacuum=FULL; PRAGMA page_size=1024;"+zoo)
	file := readFile(t, db)
	h := header(t, file)
	pages := h.Pages(int64(len(file)))
	for stop := uint32(0); stop < pages; stop += 7 {
		n := uint32(0)
		for range sqlitefile.Walk(h, pages, pagesOf(file)) {
			if n == stop {
				break
			}
			n++
		}
		if n != stop {
			t.Fatalf("stopped after %d pages, wanted %d", n, stop)
		}
	}
	reads := 0
	for fail := range 40 {
		var last error
		reads = 0
		for _, err := range sqlitefile.Walk(h, pages, func(no uint32, buf []byte) error {
			if reads++; reads > fail {
				return errDisk
			}
			return pagesOf(file)(no, buf)
		}) {
			if last != nil {
				t.Fatal("went on after an error")
			}
			last = err
		}
		if !errors.Is(last, errDisk) || reads != fail+1 {
			t.Fatalf("read %d fails: error %v after %d reads", fail, last, reads)
		}
	}
}

func TestWalkOfNothing(t *testing.T) {
	h := sqlitefile.Header{PageSize: 512}
	if got := walk(t, h, 0, pagesOf(nil)); len(got) != 0 {
		t.Errorf("%v", got)
	}
	if got := walk(t, h, 3, pagesOf(nil)); got[0].Kind != sqlitefile.Unknown {
		t.Errorf("%v", got)
	}
}

// smallZoo is a hand-made database of 512-byte pages for fuzzing without any
// SQLite: a schema of one table with an overflow page, and a free list.
func smallZoo() []byte {
	be := binary.BigEndian
	file := make([]byte, 6*512)
	copy(file, validHeader())
	be.PutUint16(file[16:], 512)
	be.PutUint32(file[32:], 4)
	be.PutUint32(file[36:], 2)
	// page 1: one cell at 470, row (table, t, t, 2, NULL)
	file[100] = 13
	be.PutUint16(file[103:], 1)
	be.PutUint16(file[108:], 470)
	copy(file[470:], "\x0e\x01\x06\x17\x0f\x0f\x01\x00tablett\x02")
	// page 2: one cell with 600 bytes, 39 + (600-39)%508 local, rest on page 3
	file[512] = 13
	be.PutUint16(file[515:], 1)
	be.PutUint16(file[520:], 400)
	copy(file[912:], "\x84\x58\x01")
	be.PutUint32(file[915+92:], 3)
	// page 4: trunk with leaf 5
	be.PutUint32(file[3*512+4:], 1)
	be.PutUint32(file[3*512+8:], 5)
	return file
}

func TestWalkOfAHandMadeFile(t *testing.T) {
	file := smallZoo()
	got := ""
	for _, p := range walk(t, header(t, file), 6, pagesOf(file)) {
		got += fmt.Sprintf("%d %v %s %d\n", p.No, p.Kind, p.Name, p.Parent)
	}
	want := "1 table leaf sqlite_schema 0\n2 table leaf t 0\n3 overflow t 2\n" +
		"4 free-list trunk  0\n5 free-list leaf  4\n6 unknown  0\n"
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// The longest row that stays on its page has no pointer to an overflow page
// behind it, whatever its own bytes look like; one byte more and it has.
func TestWalkAtTheEdgeOfOverflow(t *testing.T) {
	const longest = 512 - 35
	for shift := range 4 {
		for payload, want := range map[int]sqlitefile.Kind{longest: sqlitefile.Unknown, longest + 1: sqlitefile.Overflow} {
			file := smallZoo()
			page := file[512:1024]
			clear(page)
			page[0], page[4], page[9] = 13, 1, 20
			page[20], page[21], page[22] = 0x80|byte(payload>>7), byte(payload)&0x7f, 1
			for i := 23; i < len(page); i++ {
				if (i+shift)%4 == 3 {
					page[i] = 3 // in a row that looks like many pointers to page 3
				}
			}
			if want == sqlitefile.Overflow {
				binary.BigEndian.PutUint32(page[23+39:], 3) // the least that stays local
			}
			if got := walk(t, header(t, file), 6, pagesOf(file))[2].Kind; got != want {
				t.Errorf("row of %d bytes: page 3 is %v, want %v", payload, got, want)
			}
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(smallZoo(), uint32(6))
	f.Add(smallZoo()[:700], uint32(1<<31))
	vac := smallZoo()
	binary.BigEndian.PutUint32(vac[52:], 2)
	f.Add(vac, uint32(6))
	f.Fuzz(func(t *testing.T, file []byte, pages uint32) {
		h, err := sqlitefile.ParseHeader(file)
		if err != nil {
			return
		}
		seen := map[uint32]bool{}
		for p, err := range sqlitefile.Walk(h, pages, pagesOf(file)) {
			if err != nil {
				t.Fatal(err)
			}
			if seen[p.No] || p.No == 0 || p.No > pages {
				t.Fatalf("page %d of %d, seen %v", p.No, pages, seen[p.No])
			}
			seen[p.No] = true
			// The file may claim 2^32 pages; those it does not have are no news.
			if len(seen) > 4+2*len(file)/512 {
				break
			}
		}
	})
}
