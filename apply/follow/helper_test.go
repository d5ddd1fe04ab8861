//go:build linux || darwin

package follow_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// primary is a database that is written through the VFS.
type primary struct {
	t    testing.TB
	path string
	conn *sqlite3.Conn
}

func newPrimary(t testing.TB, setup ...string) *primary {
	t.Helper()
	p := &primary{t: t, path: filepath.Join(t.TempDir(), "primary.db")}
	p.open()
	t.Cleanup(func() { p.conn.Close() })
	p.exec(setup...)
	return p
}

func (p *primary) open() {
	p.t.Helper()
	c, err := sqlite3.Open("file:" + p.path + "?vfs=pagetrail")
	if err != nil {
		p.t.Fatal(err)
	}
	p.conn = c
	p.exec("PRAGMA synchronous=OFF") // its durability is tested elsewhere
}

// twin is a copy of the database with its trail, which has the same history up to now. It is not open.
func (p *primary) twin() *primary {
	p.t.Helper()
	p.txid()
	if err := p.conn.Close(); err != nil {
		p.t.Fatal(err)
	}
	other := &primary{t: p.t, path: filepath.Join(p.t.TempDir(), "twin.db")}
	write(p.t, other.path, read(p.t, p.path))
	if err := os.CopyFS(other.path+"-pagetrail", os.DirFS(p.path+"-pagetrail")); err != nil {
		p.t.Fatal(err)
	}
	p.open()
	return other
}

func (p *primary) exec(sqls ...string) {
	p.t.Helper()
	for _, sql := range sqls {
		if err := p.conn.Exec(sql); err != nil {
			p.t.Fatalf("%.80s: %v", sql, err)
		}
	}
}

// txid asks for the last transaction, which the trail holds from then on.
func (p *primary) txid() journal.TXID {
	p.t.Helper()
	return journal.TXID(queryInt(p.t, p.conn, "PRAGMA pagetrail_txid"))
}

func queryInt(t testing.TB, c *sqlite3.Conn, sql string) int64 {
	t.Helper()
	s, _, err := c.Prepare(sql)
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	defer s.Close()
	if !s.Step() {
		t.Fatalf("%s: no row: %v", sql, s.Err())
	}
	return s.ColumnInt64(0)
}

// content is what the database file is after a full checkpoint, made by plain
// SQLite from a copy.
func (p *primary) content() []byte {
	p.t.Helper()
	p.txid()
	return content(p.t, p.path)
}

func content(t testing.TB, path string) []byte {
	t.Helper()
	wal, err := os.ReadFile(path + "-wal")
	if err != nil || len(wal) == 0 {
		return read(t, path)
	}
	name := filepath.Join(t.TempDir(), "copy.db")
	write(t, name, read(t, path))
	write(t, name+"-wal", wal)
	c, err := sqlite3.Open("file:" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	return read(t, name)
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *primary) source() follow.Source {
	p.t.Helper()
	return openSource(p.t, p.path+"-pagetrail")
}

func openSource(t testing.TB, dir string) follow.Source {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return follow.TrailSource(trail, "")
}

// open opens the replica of p at path.
func openReplica(t testing.TB, path string, src follow.Source, o *follow.Options) *follow.Replica {
	t.Helper()
	r, err := follow.Open(context.Background(), path, src, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func catchUp(t testing.TB, r *follow.Replica) int {
	t.Helper()
	n, err := r.CatchUp(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func closeReplica(t testing.TB, r *follow.Replica) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// same compares files byte for byte.
func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), i)
		}
	}
	t.Fatalf("%s: %d bytes, want %d", what, len(got), len(want))
}

// alone checks that the replica is a file by itself.
func alone(t testing.TB, path string) {
	t.Helper()
	for _, suffix := range []string{"-wal", "-shm", "-journal"} {
		if _, err := os.Stat(path + suffix); err == nil {
			t.Fatalf("%s is left behind", path+suffix)
		}
	}
}

// shell asks C SQLite's shell.
func shell(t testing.TB, path, sql string) string {
	t.Helper()
	exe, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("sqlite3 is not installed")
	}
	out, err := exec.Command(exe, "-batch", "-bail", path, ".timeout 5000", sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %q: %v: %s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

var modes = []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"}

func journalMode(mode string) string { return fmt.Sprintf("PRAGMA journal_mode=%s", mode) }
