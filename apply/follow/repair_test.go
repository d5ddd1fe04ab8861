//go:build linux || darwin

package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// repairs notes what was put right.
type repairs struct {
	reasons []string
	pages   []int
}

func (r *repairs) options() *follow.Options {
	return &follow.Options{Events: follow.Events{Repaired: func(reason string, pages int) {
		r.reasons, r.pages = append(r.reasons, reason), append(r.pages, pages)
	}}}
}

// TestForeignWritesWhileAway: another program writes to the replica while it is
// not followed into. The next follower finds out and rewrites what differs.
func TestForeignWritesWhileAway(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(id INTEGER PRIMARY KEY, b)",
			"INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT hex(randomblob(200)) FROM n")
		p.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		closeReplica(t, openReplica(t, path, p.source(), nil))
		for i, sql := range []string{
			"UPDATE t SET b='foreign' WHERE id=150",
			"CREATE TABLE mine(a); INSERT INTO mine VALUES('foreign')",
			"VACUUM; PRAGMA journal_mode=DELETE; PRAGMA page_size=512; VACUUM",
		} {
			shell(t, path, sql)
			if i > 0 {
				p.exec(fmt.Sprintf("UPDATE t SET b='own' WHERE id=%d", i))
			}
			id := p.txid()
			var done repairs
			r := openReplica(t, path, p.source(), done.options())
			catchUp(t, r)
			if len(done.reasons) != 1 || done.pages[0] == 0 || r.Position().TXID != id {
				t.Fatalf("%s, %s: %q, %v pages, at %d", mode, sql, done.reasons, done.pages, r.Position().TXID)
			}
			if i == 0 && done.pages[0] > 3 {
				t.Fatalf("%s: %d pages were written to put one row right", mode, done.pages[0])
			}
			if got := shell(t, path, "SELECT count(*) FROM t WHERE b='foreign'; PRAGMA integrity_check"); got != "0\nok" {
				t.Fatalf("%s, %s: readers see %q", mode, sql, got)
			}
			closeReplica(t, r)
			same(t, sql, read(t, path), p.content())
		}
	}
}

// TestForeignBytesWhileFollowing: bytes of the file change under the follower.
// It notices when a transaction builds on them, before it writes anything.
func TestForeignBytesWhileFollowing(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(id INTEGER PRIMARY KEY, b)",
		"INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<300) SELECT hex(randomblob(200)) FROM n")
	p.txid()
	path := filepath.Join(t.TempDir(), "replica.db")
	var done repairs
	r := openReplica(t, path, p.source(), done.options())
	p.exec("UPDATE t SET b='x' WHERE id=1")
	p.txid()
	catchUp(t, r)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	for off := int64(4096*3 + 2000); off < 4096*20; off += 4096 {
		if _, err := f.WriteAt([]byte("scribble"), off); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	p.exec("UPDATE t SET b='y' WHERE id%10=0")
	p.txid()
	catchUp(t, r)
	if len(done.reasons) != 1 {
		t.Fatalf("repairs: %q", done.reasons)
	}
	if got := shell(t, path, "PRAGMA integrity_check"); got != "ok" {
		t.Fatal(got)
	}
	closeReplica(t, r)
	same(t, "replica", read(t, path), p.content())
}

// TestLostPosition: without R-pos the content says where a replica is, if it is
// anywhere; if not, the file is not touched.
func TestLostPosition(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	path := filepath.Join(t.TempDir(), "replica.db")
	for i := range 3 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
		id := p.txid()
		r := openReplica(t, path, p.source(), nil)
		catchUp(t, r)
		if r.Position().TXID != id {
			t.Fatalf("at %d, want %d", r.Position().TXID, id)
		}
		closeReplica(t, r)
		if err := os.Remove(path + "-pos"); err != nil {
			t.Fatal(err)
		}
	}
	shell(t, path, "INSERT INTO t VALUES('foreign')")
	before := read(t, path)
	if _, err := follow.Open(context.Background(), path, p.source(), nil); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	same(t, "the refused file", read(t, path), before)
}

// TestCatchUpRecords: the primary is written to by a program without the VFS,
// and replaced altogether; both come as records of their own kinds.
func TestCatchUpRecords(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(a)")
		p.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		r := openReplica(t, path, p.source(), nil)
		for i := range 3 {
			p.conn.Close()
			shell(t, p.path, fmt.Sprintf("INSERT INTO t VALUES('outside %d')", i))
			if i == 2 {
				shell(t, p.path, "PRAGMA journal_mode=DELETE; PRAGMA page_size=1024; VACUUM")
			}
			p.open()
			p.exec(fmt.Sprintf("INSERT INTO t VALUES('inside %d')", i))
			id := p.txid()
			catchUp(t, r)
			if got := shell(t, path, "SELECT count(*) FROM t"); got != fmt.Sprint(2*i+2) || r.Position().TXID != id {
				t.Fatalf("%s: %s rows, want %d; at %d, want %d", mode, got, 2*i+2, r.Position().TXID, id)
			}
		}
		closeReplica(t, r)
		same(t, mode, read(t, path), p.content())
	}
}

// TestAheadOfSource: a replica that has transactions which the source has not,
// or has others, is not touched unless it is to be rewound.
func TestAheadOfSource(t *testing.T) {
	for _, beside := range []bool{false, true} {
		p := newPrimary(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES(0)")
		copied := p.twin()
		copied.open()
		defer copied.conn.Close()
		p.exec("INSERT INTO t VALUES(1)")
		p.txid()
		if beside {
			copied.exec("INSERT INTO t VALUES('other 1')", "INSERT INTO t VALUES('other 2')")
		}
		id := copied.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		closeReplica(t, openReplica(t, path, p.source(), nil))
		before := read(t, path)
		src, want := copied.source(), journal.ErrDiverged
		r, err := follow.Open(context.Background(), path, src, nil)
		if !beside && err == nil { // as a source that lags
			want = follow.ErrNotReady
			_, err = r.CatchUp(context.Background())
			closeReplica(t, r)
		}
		if !errors.Is(err, want) {
			t.Fatal(err)
		}
		same(t, "the refused file", read(t, path), before)
		var done repairs
		o := done.options()
		o.Rewind = true
		r = openReplica(t, path, src, o)
		catchUp(t, r)
		if len(done.reasons) != 1 || r.Position().TXID != id {
			t.Fatalf("%q, at %d, want %d", done.reasons, r.Position().TXID, id)
		}
		closeReplica(t, r)
		same(t, "the rewound file", read(t, path), copied.content())
	}
}

// TestSourceTakesBack: while it is followed, the source turns into another
// history, as when a primary's crash loses what was never durable.
func TestSourceTakesBack(t *testing.T) {
	for _, longer := range []bool{false, true} {
		m, other := newImages(t, 10), newImages(t, 10)
		header := make([]byte, 512)
		copy(header, newPrimary(t, "PRAGMA page_size=512", "CREATE TABLE t(a)").content())
		page := func(b byte) []byte { return bytes.Repeat([]byte{b}, 512) }
		for _, w := range []*images{m, other} {
			w.commit([][]byte{header, page(1)})
		}
		m.commit([][]byte{header, page(2)})
		if longer {
			other.commit([][]byte{header, page(3)})
			other.commit([][]byte{header, page(3), page(4)})
		}
		for _, rewind := range []bool{false, true} {
			src := &turning{Source: openSource(t, m.dir)}
			path := filepath.Join(t.TempDir(), "replica.db")
			r := openReplica(t, path, src, &follow.Options{Rewind: rewind})
			catchUp(t, r)
			src.Source = openSource(t, other.dir)
			_, err := r.CatchUp(context.Background())
			if !rewind {
				want := follow.ErrNotReady // it may have them again
				if longer {
					want = journal.ErrDiverged
				}
				if !errors.Is(err, want) {
					t.Fatal(err)
				}
				closeReplica(t, r)
				same(t, "replica", read(t, path), bytes.Join(m.pages, nil))
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			closeReplica(t, r)
			same(t, "replica", read(t, path), bytes.Join(other.pages, nil))
		}
	}
}

// turning is a source that can be exchanged, with one identity.
type turning struct{ follow.Source }

func (s *turning) Identity() journal.Identity { return journal.Identity{Timeline: 1} }

// TestFilesExchanged: files of the replica are removed or exchanged while it is
// followed into. Readers would be left with the past, so Run begins again.
func TestFilesExchanged(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(a)")
		p.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		start := filepath.Join(t.TempDir(), "start.db")
		closeReplica(t, openReplica(t, start, p.source(), nil))
		harm := []func(){
			func() { os.Remove(path + "-wal") },
			func() { os.Remove(path + "-shm") },
			func() { os.Remove(path + "-wal"); os.Remove(path + "-shm") },
			func() { os.Rename(start, path) },
			func() { os.Remove(path) },
			func() { write(t, path+"-shm", make([]byte, 32<<10)) },
			func() {
				for _, suffix := range []string{"", "-wal", "-shm", "-pos"} {
					os.Remove(path + suffix)
				}
			},
		}
		ctx, cancel := context.WithCancel(context.Background())
		attached, step := 0, 0
		o := &follow.Options{}
		o.Events.Attached = func(journal.Position) { attached++ }
		o.Events.CaughtUp = func(pos journal.Position) {
			id := p.txid()
			if pos.TXID != id {
				return
			}
			if got := shell(t, path, "SELECT count(*) FROM t; PRAGMA integrity_check"); got != fmt.Sprintf("%d\nok", step) {
				t.Errorf("%s, after harm %d: readers see %q", mode, step, got)
			}
			if step == len(harm) {
				cancel()
				return
			}
			p.exec("INSERT INTO t VALUES(1)")
			p.txid()
			harm[step]()
			step++
		}
		if err := follow.Run(ctx, path, p.source(), o); err != nil {
			t.Fatalf("%s, after harm %d: %v", mode, step, err)
		}
		if attached < 5 {
			t.Fatalf("%s: attached %d times", mode, attached)
		}
		alone(t, path)
		same(t, mode, read(t, path), p.content())
	}
}
