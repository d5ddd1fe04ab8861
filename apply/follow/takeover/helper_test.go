//go:build linux || darwin

package takeover_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// node is a database that is a primary or a replica, by turns.
type node struct {
	t     testing.TB
	name  string
	path  string
	trail string
	store objstore.Store // as the node sees it
	conn  *sqlite3.Conn  // of a primary that is being written to
}

func newNode(t testing.TB, name string, store objstore.Store) *node {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	n := &node{t: t, name: name, path: path, trail: path + "-pagetrail", store: store}
	t.Cleanup(n.close)
	return n
}

func (n *node) check(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatalf("%s: %v", n.name, err)
	}
}

func (n *node) open() {
	n.t.Helper()
	var err error
	n.conn, err = sqlite3.Open("file:" + n.path + "?vfs=pagetrail")
	n.check(err)
	n.check(n.conn.Exec("PRAGMA synchronous=OFF")) // its durability is tested elsewhere
}

func (n *node) close() {
	if n.conn != nil {
		n.conn.Close()
		n.conn = nil
	}
}

func (n *node) exec(sqls ...string) {
	n.t.Helper()
	if n.conn == nil {
		n.open()
	}
	for _, sql := range sqls {
		if err := n.conn.Exec(sql); err != nil {
			n.t.Fatalf("%s: %.80s: %v", n.name, sql, err)
		}
	}
}

// insert commits one transaction for each number.
func (n *node) insert(from, to int) {
	n.t.Helper()
	for i := from; i <= to; i++ {
		n.exec(fmt.Sprintf("INSERT INTO t VALUES(%d, hex(randomblob(20)))", i))
	}
}

// txid is the last transaction, which the trail has from then on.
func (n *node) txid() journal.TXID {
	n.t.Helper()
	n.exec() // so that it is open
	s, _, err := n.conn.Prepare("PRAGMA pagetrail_txid")
	n.check(err)
	defer s.Close()
	if !s.Step() {
		n.t.Fatal(s.Err())
	}
	return journal.TXID(s.ColumnInt64(0))
}

// begin makes the node a primary with a table and some rows.
func (n *node) begin(mode string, rows int) {
	n.t.Helper()
	n.exec("PRAGMA journal_mode="+mode, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	n.insert(1, rows)
	n.txid()
}

func (n *node) ship() error {
	_, err := ship.Run(context.Background(), n.trail, &ship.Options{Store: n.store, Once: true, Tries: 1, Name: n.name})
	return err
}

// archive opens the archive as the node sees it.
func (n *node) archive() *archive.Reader {
	n.t.Helper()
	r, err := archive.Open(context.Background(), n.store, nil)
	n.check(err)
	n.t.Cleanup(func() { r.Close() })
	return r
}

// follow makes the replica what the archive says.
func (n *node) follow(o follow.Options) error {
	r, err := archive.Open(context.Background(), n.store, nil)
	if err != nil {
		return err
	}
	o.Once = true
	return errors.Join(follow.Run(context.Background(), n.path, follow.TrailSource(r.Trail, ""), &o), r.Close())
}

// followTrail follows another node's trail, as a stream does that is further than the archive.
func (n *node) followTrail(p *node, o follow.Options) {
	n.t.Helper()
	t, err := journal.Open(p.trail, nil)
	n.check(err)
	defer t.Close()
	o.Once = true
	n.check(follow.Run(context.Background(), n.path, follow.TrailSource(t, ""), &o))
}

func (n *node) options() *takeover.Options {
	return &takeover.Options{Store: n.store, Name: n.name, BusyTimeout: 1}
}

func (n *node) promote(o *takeover.Options) *takeover.Result {
	n.t.Helper()
	r, err := takeover.Promote(context.Background(), n.path, o)
	n.check(err)
	return r
}

func retireOptions() *takeover.RetireOptions {
	return &takeover.RetireOptions{Settle: vfs.Settle, BusyTimeout: 1}
}

// rejoin makes a former primary a follower of the archive.
func (n *node) rejoin() error {
	n.close()
	r, err := archive.Open(context.Background(), n.store, nil)
	if err != nil {
		return err
	}
	src := follow.TrailSource(r.Trail, "")
	_, err = takeover.Rejoin(context.Background(), n.path, src, retireOptions())
	if err == nil {
		err = follow.Run(context.Background(), n.path, src, &follow.Options{Once: true, Rewind: true, Trail: n.trail})
	}
	return errors.Join(err, r.Close())
}

// content is the database as one file.
func (n *node) content() []byte {
	n.t.Helper()
	n.close()
	if info, err := os.Stat(n.path + "-wal"); err == nil && info.Size() > 0 {
		n.t.Fatalf("%s: there is a WAL still", n.name)
	}
	b, err := os.ReadFile(n.path)
	n.check(err)
	return b
}

// sound verifies a trail to its last transaction, and returns the database that it leads to.
func sound(t testing.TB, trail *journal.Trail) []byte {
	t.Helper()
	if _, err := apply.Verify(context.Background(), trail, nil); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if _, err := apply.HydrateTo(context.Background(), trail, &out, apply.Latest(), nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func openTrail(t testing.TB, dir string) *journal.Trail {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return trail
}

func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes, want %d, or others", what, len(got), len(want))
	}
}

// shell asks C SQLite's shell, or with none installed the Go driver without our VFS.
func shell(t testing.TB, path, sql string) string {
	t.Helper()
	exe, err := exec.LookPath("sqlite3")
	if err != nil {
		return plain(t, path, sql)
	}
	out, err := exec.Command(exe, "-batch", "-bail", path, sql).CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %q: %v: %s", sql, err, out)
	}
	return strings.TrimSpace(string(out))
}

func plain(t testing.TB, path, sql string) string {
	t.Helper()
	c, err := sqlite3.Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var rows []string
	for rest := sql; rest != ""; {
		s, tail, err := c.Prepare(rest)
		if err != nil {
			t.Fatal(err)
		}
		for s.Step() {
			rows = append(rows, s.ColumnText(0))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		rest = tail
	}
	return strings.Join(rows, "\n")
}
