package vfs_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// counters of the database header, which SQLite counts up with a change: the
// change counter, the schema cookie, and the first again with the version that
// wrote it.
var counters = [][2]int{{24, 28}, {40, 44}, {92, 100}}

func withoutCounters(b []byte) []byte {
	b = append([]byte(nil), b...)
	for _, c := range counters {
		clear(b[c[0]:c[1]])
	}
	return b
}

// TestReplace takes a database back to an earlier state while a program has it
// open, and forth again: each is one transaction of the trail, and what was
// there before it still is.
func TestReplace(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			dir := t.TempDir()
			path, was := filepath.Join(dir, "x.db"), filepath.Join(dir, "was.db")
			c := open(t, path, "")
			defer c.Close()
			run(t, c, "PRAGMA journal_mode="+mode, schema,
				generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(300)"))
			then := txid(t, c)
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			before := append([]byte(nil), r.at(then)...)
			if err := os.WriteFile(was, before, 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, c, "DELETE FROM t WHERE id%3", "CREATE TABLE later(x)", "INSERT INTO later VALUES(1)")
			last := txid(t, c)

			at, err := vfs.Replace(t.Context(), path, was, &vfs.ReplaceOptions{Note: "back"})
			if err != nil {
				t.Fatal(err)
			}
			if at.TXID != last+1 {
				t.Fatalf("the change is transaction %d, and %d was the last before it", at.TXID, last)
			}
			if got := query(t, c, "SELECT count(*) FROM t"); got != "300" {
				t.Errorf("the program that has it open sees %s rows", got)
			}
			if err := c.Exec("SELECT * FROM later"); err == nil {
				t.Error("the program that has it open sees a table that was not there yet")
			}
			if now := agrees(t, r, c, path, "taken back"); now != at.TXID {
				t.Errorf("the trail is at %d, not at %d", now, at.TXID)
			}
			sameBytes(t, "the state then, but for counters", withoutCounters(r.at(at.TXID)), withoutCounters(before))
			if tx := find(t, path+"-pagetrail", at.TXID); tx.Note != "back" || tx.Kind != journal.Ordinary {
				t.Errorf("recorded as %v, noted %q", tx.Kind, tx.Note)
			}
			run(t, c, "INSERT INTO t(a) VALUES('goes on')")
			agrees(t, r, c, path, "written to afterwards")
		})
	}
}

// TestReplaceRefused has somebody hold the lock, and asks for what SQLite cannot
// do: neither changes anything.
func TestReplaceRefused(t *testing.T) {
	dir := t.TempDir()
	path, other := filepath.Join(dir, "x.db"), filepath.Join(dir, "other.db")
	c := open(t, path, "")
	defer c.Close()
	run(t, c, "PRAGMA journal_mode=WAL", "CREATE TABLE t(x)")
	last := txid(t, c)
	copied := filepath.Join(dir, "copy.db")
	if err := os.WriteFile(copied, snapshot(t, path), 0o600); err != nil {
		t.Fatal(err)
	}
	o, err := sqlite3.Open("file:" + other)
	if err != nil {
		t.Fatal(err)
	}
	run(t, o, "PRAGMA page_size=8192", "CREATE TABLE u(x)")
	if err := o.Close(); err != nil {
		t.Fatal(err)
	}

	if _, err := vfs.Replace(t.Context(), path, other, nil); err == nil || vfs.Busy(err) {
		t.Errorf("pages of another size, in WAL mode: %v", err)
	}
	if _, err := vfs.Replace(t.Context(), path, filepath.Join(dir, "none.db"), nil); err == nil {
		t.Error("a file that is not there was taken")
	}
	if _, err := vfs.Replace(t.Context(), path, path, &vfs.ReplaceOptions{Note: strings.Repeat("x", vfs.MaxNote+1)}); err == nil {
		t.Error("a note that is too long was taken")
	}
	run(t, c, "BEGIN IMMEDIATE")
	if _, err := vfs.Replace(t.Context(), path, copied, &vfs.ReplaceOptions{Wait: time.Millisecond}); !vfs.Busy(err) {
		t.Errorf("somebody else writes: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := vfs.Replace(ctx, path, copied, nil); err == nil {
		t.Error("it did not heed its context")
	}
	run(t, c, "COMMIT")
	if now := txid(t, c); now != last {
		t.Errorf("transaction %d, was %d", now, last)
	}
}
