package vfs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// tb is what testing.TB and rapid.T have in common.
type tb interface {
	Helper()
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
}

func open(t tb, path, params string) *sqlite3.Conn {
	t.Helper()
	return openBy(t, vfs.Name, path, params)
}

// openBy opens a database through the VFS of that name.
func openBy(t tb, name, path, params string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open("file:" + path + "?vfs=" + name + params)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return c
}

func run(t tb, c *sqlite3.Conn, sqls ...string) {
	t.Helper()
	for _, sql := range sqls {
		if err := c.Exec(sql); err != nil {
			t.Fatalf("%s: %v (%v)", sql, err, errors.Unwrap(err))
		}
	}
}

// query returns the first column of the first row.
func query(t tb, c *sqlite3.Conn, sql string) string {
	t.Helper()
	s, _, err := c.Prepare(sql)
	if err != nil {
		t.Fatalf("%s: %v (%v)", sql, err, errors.Unwrap(err))
	}
	defer s.Close()
	out := ""
	if s.Step() {
		out = s.ColumnText(0)
	}
	if err := s.Err(); err != nil {
		t.Fatalf("%s: %v (%v)", sql, err, errors.Unwrap(err))
	}
	return out
}

func txid(t tb, c *sqlite3.Conn) journal.TXID {
	t.Helper()
	n, err := strconv.ParseUint(query(t, c, "PRAGMA pagetrail_txid"), 10, 64)
	if err != nil {
		t.Fatalf("PRAGMA pagetrail_txid: %v", err)
	}
	return journal.TXID(n)
}

// snapshot returns the bytes that the database would have after a full
// checkpoint: SQLite itself, without our VFS, makes it on a copy.
func snapshot(t tb, path string) []byte {
	t.Helper()
	b := readFile(t, path)
	wal := readFile(t, path+"-wal")
	if len(wal) == 0 {
		return b
	}
	dir, err := os.MkdirTemp("", "snapshot")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "db")
	for _, f := range []struct {
		name string
		b    []byte
	}{{name, b}, {name + "-wal", wal}} {
		if err := os.WriteFile(f.name, f.b, 0o600); err != nil {
			t.Fatalf("%v", err)
		}
	}
	c, err := sqlite3.Open("file:" + name)
	if err != nil {
		t.Fatalf("open a copy: %v", err)
	}
	defer c.Close()
	if got := query(t, c, "PRAGMA wal_checkpoint(TRUNCATE)"); got != "0" && got != "" {
		t.Fatalf("checkpoint of a copy: busy=%s", got)
	}
	return readFile(t, name)
}

func readFile(t tb, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil && !isNotExist(err) {
		t.Fatalf("%v", err)
	}
	return b
}

func isNotExist(err error) bool { return os.IsNotExist(err) || fs.ErrNotExist == err }

// replica follows a trail and is compared with what SQLite has.
type replica struct {
	t     tb
	dir   string
	state *apply.State
	trail *journal.Trail
	kinds map[journal.Kind]int // records applied, by kind
}

func newReplica(t tb, dir string) *replica {
	t.Helper()
	s, err := apply.OpenState(nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return &replica{t: t, dir: dir, state: s, kinds: map[journal.Kind]int{}}
}

func (r *replica) close() {
	r.state.Close()
	if r.trail != nil {
		r.trail.Close()
	}
}

// at applies the trail up to its end, which must be id, and returns the bytes.
func (r *replica) at(id journal.TXID) []byte {
	r.t.Helper()
	r.upTo(id)
	if r.state.TXID() != id {
		r.t.Fatalf("the trail ends at %d, the database says %d", r.state.TXID(), id)
	}
	return r.bytes()
}

// upTo applies the trail up to TXID id or its end.
func (r *replica) upTo(id journal.TXID) []byte {
	r.t.Helper()
	ctx := context.Background()
	if r.trail == nil {
		trail, err := journal.Open(r.dir, nil)
		if err != nil {
			r.t.Fatalf("open the trail: %v", err)
		}
		r.trail = trail
	}
	if err := r.trail.Refresh(); err != nil {
		r.t.Fatalf("refresh the trail: %v", err)
	}
	for rec, err := range r.trail.Records(ctx, r.state.TXID()+1) {
		if err != nil {
			r.t.Fatalf("read the trail after %d: %v", r.state.TXID(), err)
		}
		if rec.TXID > id {
			break
		}
		r.kinds[rec.Kind]++
		if rec.Kind == journal.Base {
			base, err := r.trail.OpenBase(rec.TXID)
			if err != nil {
				r.t.Fatalf("open base %d: %v", rec.TXID, err)
			}
			err = r.state.Load(ctx, base)
			base.Close()
			if err != nil {
				r.t.Fatalf("load base %d: %v", rec.TXID, err)
			}
			continue
		}
		if err := r.state.Apply(ctx, rec); err != nil {
			r.t.Fatalf("apply %d: %v", rec.TXID, err)
		}
	}
	return r.bytes()
}

// bytes is the replica as it is.
func (r *replica) bytes() []byte {
	r.t.Helper()
	b := make([]byte, r.state.Size())
	size := r.state.PageSize()
	for no := uint32(1); no <= r.state.PageCount(); no++ {
		if err := r.state.ReadPage(no, b[int(no-1)*size:int(no)*size]); err != nil {
			r.t.Fatalf("read page %d of the replica: %v", no, err)
		}
	}
	return b
}

// sameBytes reports the first page in which two databases differ.
func sameBytes(t tb, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	size := 512
	if len(want) >= 18 {
		if size = int(want[16])<<8 | int(want[17]); size == 1 {
			size = 65536
		}
	}
	msg := fmt.Sprintf("%d bytes, want %d", len(got), len(want))
	for i := 0; i < min(len(got), len(want)); i++ {
		if got[i] != want[i] {
			msg += fmt.Sprintf("; first difference in page %d at byte %d", i/size+1, i%size)
			break
		}
	}
	t.Fatalf("%s: replica differs from the database: %s", what, msg)
}
