package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// A database that was restored from its archive on another machine goes on with its history there: nothing is sent
// again, the machine before is stopped, and what it had shipped beyond the restored moment is not part of it.
func TestRestoredElsewhere(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	url := "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "store"))
	ok := func(args ...string) (string, string) {
		t.Helper()
		code, out, errs := runHere(t, args...)
		if code != cli.Done {
			t.Fatalf("%q: code %d, stderr %q", args, code, errs)
		}
		return out, errs
	}
	exec := func(db string, sql ...string) {
		t.Helper()
		conn, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=pagetrail")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, s := range sql {
			if err := conn.Exec(s); err != nil {
				t.Fatalf("%s: %v", s, err)
			}
		}
	}
	first := filepath.Join(dir, "app.db")
	exec(first, "PRAGMA journal_mode=wal", "CREATE TABLE t (a)", "INSERT INTO t VALUES ('one')", "PRAGMA pagetrail_point='one'", "INSERT INTO t VALUES ('two')")
	ok("ship", first, "--to", url, "--once")

	second := filepath.Join(elsewhere, "app.db")
	_, errs := ok("hydrate", url, "-o", second, "--point", "one", "--continue")
	if !strings.Contains(errs, "on timeline 2") {
		t.Error(errs)
	}
	if code, _, errs := runHere(t, "hydrate", url, "-o", second, "--force", "--continue"); code != cli.Failed || !strings.Contains(errs, "has a trail already") {
		t.Errorf("once more: %d, %s", code, errs)
	}
	exec(second, "INSERT INTO t VALUES ('three')", "INSERT INTO t VALUES ('four')")
	// Of its own trail nothing can be restored: what that builds on is in the archive.
	code, out, errs := runHere(t, "window", second)
	if code != cli.Nothing || !strings.Contains(out, "stranded") || !strings.Contains(errs, "hydrate from there") || strings.Contains(errs, "restore with") {
		t.Errorf("window: code %d, %s%s", code, out, errs)
	}
	for _, args := range [][]string{
		{"hydrate", second, "-o", filepath.Join(elsewhere, "none.db")}, {"show", second}, {"watch", second, "--once"}, {"follow", second, filepath.Join(elsewhere, "none.db"), "--once"},
	} {
		if code, _, errs := runHere(t, args...); code != cli.Nothing || !strings.Contains(errs, "pagetrail repair "+second) {
			t.Errorf("%s: code %d, %s", args[0], code, errs)
		}
	}
	out, _ = ok("ship", second, "--to", url, "--once", "--json")
	if !strings.Contains(out, `"bases":0`) {
		t.Error(out)
	}
	third := filepath.Join(elsewhere, "check.db")
	ok("hydrate", url, "-o", third)
	ok("verify", url)
	want, err := os.ReadFile(second)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(third)
	if err != nil || string(got) != string(want) {
		t.Errorf("the archive has another database than the second machine, %v", err)
	}
	exec(first, "INSERT INTO t VALUES ('late')")
	if code, _, errs := runHere(t, "ship", first, "--to", url, "--once"); code != cli.Locked || !strings.Contains(errs, "went on to timeline 2") {
		t.Errorf("the first machine ships with %d: %s", code, errs)
	}
}
