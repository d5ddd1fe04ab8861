package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/journal"
)

// Somebody removes the -wal file, and with it transactions that only the trail has, and that nobody shipped. After the
// next write each of them can be hydrated still, and the database taken to it; also when what they build on has been
// shipped since, and taken out of the trail.
func TestWALRemoved(t *testing.T) {
	dir := t.TempDir()
	store := "file://" + filepath.ToSlash(filepath.Join(dir, "store"))
	old := filepath.Join(dir, "old.db")
	c := openDB(t, old)
	commit(t, c, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "PRAGMA wal_checkpoint(TRUNCATE)")
	first := position(t, c) + 1
	wanted(t, cli.Done, "", "ship", old, "--to", store, "--once", "--quiet")
	rotateAndSeal(t, old+"-pagetrail")
	images := map[string][]byte{}
	for _, sql := range []string{"INSERT INTO t VALUES(2)", "UPDATE t SET a=zeroblob(9000)", "DELETE FROM t WHERE rowid=1"} {
		commit(t, c, sql)
		images[position(t, c).String()] = checkpointed(t, old)
	}

	// All but the -wal file and the -shm that goes with it.
	db := filepath.Join(dir, "app.db")
	copyFile(t, old, db)
	if err := os.CopyFS(db+"-pagetrail", os.DirFS(old+"-pagetrail")); err != nil {
		t.Fatal(err)
	}
	n := openDB(t, db)
	commit(t, n, "INSERT INTO t VALUES('new')")
	if got := position(t, n); got != first {
		t.Fatalf("the next write is transaction %d, want %d", got, first)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}

	cuts, err := filepath.Glob(filepath.Join(db+"-pagetrail", "cut-*"))
	if err != nil || len(cuts) != 1 {
		t.Fatal(cuts, err)
	}
	cut := cuts[0]
	if out := wanted(t, cli.Done, "pagetrail log "+cut, "log", db); !strings.Contains(out, "── cut ── 4 to 6, at ") {
		t.Errorf("log:\n%s", out)
	}
	last := ""
	for id, want := range images {
		last = max(last, id)
		out := filepath.Join(dir, "was-"+id)
		wanted(t, cli.Done, "checksum", "hydrate", cut, "-o", out, "--txid", id)
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("transaction %s of the cut: %v, or other bytes than the database had", id, err)
		}
	}

	wanted(t, cli.Nothing, "--from "+cut, "rewind", db, "--txid", last)
	wanted(t, cli.Usage, "no cut or branch", "rewind", db, "--txid", last, "--from", db+"-pagetrail")
	if out := wanted(t, cli.Done, "", "rewind", db, "--txid", last, "--from", cut); !strings.Contains(out, "1 transaction, 4\n") {
		t.Errorf("rewind:\n%s", out)
	}
	if got := rows(t, db, "SELECT group_concat(length(a)) FROM t"); got != "9000" {
		t.Errorf("taken back to the cut, the database has %q", got)
	}
	if out := wanted(t, cli.Done, "", "log", db, "-n", "1"); !strings.Contains(out, "rewound to transaction 6 of "+filepath.Base(cut)) {
		t.Errorf("log:\n%s", out)
	}

	bridged(t, db, store, cut, first)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// bridged has what comes before a cut's own segment shipped and taken out of the trail: then the cut says how it is restored
// from the archive, and is.
func bridged(t *testing.T, db, store, cut string, first journal.TXID) {
	t.Helper()
	dir := filepath.Dir(db)
	rotateAndSeal(t, db+"-pagetrail")
	wanted(t, cli.Done, "", "ship", db, "--to", store, "--once", "--quiet")
	removed, _, err := journal.Discard(t.Context(), db+"-pagetrail", journal.Disposable{UpTo: first - 1, Before: journal.TimeOf(time.Now())}, nil)
	if err != nil || len(removed) != 1 {
		t.Fatalf("removed %v, %v", removed, err)
	}
	bridge := "pagetrail hydrate URL -o FILE --txid 3, and then pagetrail follow " + cut + " FILE --once"
	wanted(t, cli.Nothing, bridge, "window", cut)
	wanted(t, cli.Nothing, bridge, "hydrate", cut, "-o", filepath.Join(dir, "none.db"))
	wanted(t, cli.Nothing, bridge, "query", cut, "SELECT 1")
	wanted(t, cli.Done, "", "log", cut)
	was := filepath.Join(dir, "bridged.db")
	wanted(t, cli.Done, "", "hydrate", store, "-o", was, "--txid", "3")
	wanted(t, cli.Done, "", "follow", cut, was, "--once")
	if got := rows(t, was, "SELECT group_concat(length(a)) FROM t"); got != "9000" {
		t.Errorf("restored from archive and cut, the database has %q", got)
	}
}

func openDB(t *testing.T, path string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.ToSlash(path) + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func commit(t *testing.T, c *sqlite3.Conn, sqls ...string) {
	t.Helper()
	for _, sql := range sqls {
		if err := c.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
}

// position is the last transaction, once it is in the trail.
func position(t *testing.T, c *sqlite3.Conn) journal.TXID {
	t.Helper()
	s, _, err := c.Prepare("PRAGMA pagetrail_txid")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Step() {
		t.Fatal(s.Err())
	}
	return journal.TXID(s.ColumnInt64(0))
}

// checkpointed is what a database has after a checkpoint, which is made of a copy, without the VFS.
func checkpointed(t *testing.T, db string) []byte {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy.db")
	copyFile(t, db, to)
	copyFile(t, db+"-wal", to+"-wal")
	if got := rows(t, to, "PRAGMA wal_checkpoint(TRUNCATE)"); got != "0" {
		t.Fatalf("checkpoint: %s", got)
	}
	data, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// rotateAndSeal ends the segment that grows.
func rotateAndSeal(t *testing.T, trail string) {
	t.Helper()
	w, err := journal.OpenWriter(trail, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Seal(t.Context(), trail, nil); err != nil {
		t.Fatal(err)
	}
}
