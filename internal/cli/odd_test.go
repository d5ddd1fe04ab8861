package cli_test

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// Whatever a database is called, all verbs find it and its trail, make nothing beside them that has another name, and
// say commands that a shell takes. SQLite's own URIs and URLs of archives are escaped; paths never are.
func TestOddPaths(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there are no such names")
	}
	for _, name := range []string{"a b#c?d%20e%.db", "ü日'\".db", "[x]*&vfs=y;z.db", "file:x.db", "new\nline$(x).db"} {
		t.Run(url.PathEscape(name), func(t *testing.T) { oddPath(t, name) })
	}
}

func oddPath(t *testing.T, name string) {
	t.Chdir(t.TempDir())
	u := url.URL{Scheme: "file", OmitHost: true, Path: name, RawQuery: "vfs=pagetrail"}
	conn, err := sqlite3.Open(u.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"CREATE TABLE t (a)", "INSERT INTO t VALUES (1)", "PRAGMA pagetrail_point='one'", "INSERT INTO t VALUES (2)"} {
		if err := conn.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	same := func(file string) {
		t.Helper()
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not the database: %v", file, err)
		}
	}
	in := func(dir string) string { // a file of the same name elsewhere
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	store := (&url.URL{Scheme: "file", Path: filepath.ToSlash(filepath.Join(wd, in("store")))}).String()

	for _, args := range [][]string{
		{"log", name},
		{"show", name, "2"},
		{"status", name},
		{"window", name},
		{"points", name},
		{"verify", "--deep", name},
		{"repair", name},
		{"estimate", name},
		{"watch", name, "--from", "0", "--once"},
		{"hydrate", name, "-o", in("was")},
		{"follow", name, in("replica"), "--once"},
		{"ship", name, "--to", store, "--once"},
		{"log", store},
		{"verify", store},
		{"compact", store},
		{"hydrate", store, "-o", in("again"), "--continue"},
		{"ship", in("again"), "--to", store, "--once"},
		{"exec", "--restore-if-missing", "--db", in("app"), "--to", store, "--", "true"},
		{"promote", in("replica"), "--to", store},
	} {
		if code, _, errs := runHere(t, args...); code != cli.Done {
			t.Fatalf("%q: code %d, stderr %q", args, code, errs)
		}
	}
	for _, dir := range []string{"was", "replica", "again", "app"} {
		same(in(dir))
	}
	left, err := filepath.Glob("*")
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range left {
		switch got {
		case "store", "was", "replica", "again", "app", name, name + "-pagetrail":
		default:
			t.Errorf("%q was made", got)
		}
	}
}
