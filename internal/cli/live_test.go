package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// All verbs read the trail of a database that a program has open and writes to, and disturb neither.
func TestLiveDatabase(t *testing.T) {
	db := filepath.Join(t.TempDir(), "my app.db")
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(sql string) {
		t.Helper()
		if err := conn.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	exec("PRAGMA journal_mode=wal; CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
	exec("INSERT INTO t (b) VALUES ('one')")
	exec("PRAGMA pagetrail_point='after one'")
	exec("PRAGMA wal_checkpoint(TRUNCATE)")
	want, err := os.ReadFile(db)
	if err != nil {
		t.Fatal(err)
	}
	exec("PRAGMA pagetrail_note='second thoughts'; UPDATE t SET b = 'two'")
	// In WAL mode a commit does not wait for its record; who asks for the position gets it afterwards.
	exec("PRAGMA pagetrail_txid")

	ok := func(args ...string) string {
		t.Helper()
		r := run(t, t.Context(), nil, args...)
		if r.code != cli.Done {
			t.Fatalf("%q: code %d, stderr %q", args, r.code, r.err)
		}
		return r.out
	}
	has := func(out, want string) {
		t.Helper()
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	has(ok("log", db), "second thoughts")
	has(ok("show", db), "table leaf  t")
	has(ok("points", db), "after one")
	has(ok("verify", db), "is sound")
	has(ok("window", db), "empty until")
	has(ok("status", db), "database  my app.db")
	out := filepath.Join(t.TempDir(), "out.db")
	ok("hydrate", db, "-o", out, "--point", "after one")
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("hydrated %d bytes are not the %d that the database had", len(got), len(want))
	}
	exec("INSERT INTO t (b) VALUES ('three')")
	exec("PRAGMA pagetrail_txid")
	has(ok("log", db), "\n   5  ")
}
