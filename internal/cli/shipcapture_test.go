//go:build linux || darwin

package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// newPlain makes a database in WAL mode whose program does not use the VFS, and says where its archive is to be.
func newPlain(t *testing.T) (dir, db, url string, exec func(sql string)) {
	t.Helper()
	dir = t.TempDir()
	db = filepath.Join(dir, "app.db")
	plain, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { plain.Close() })
	exec = func(sql string) {
		t.Helper()
		if err := plain.Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	exec("PRAGMA journal_mode=wal")
	return dir, db, "file://" + filepath.ToSlash(filepath.Join(dir, "store")), exec
}

// What a program without the VFS commits is shipped as it goes, each commit a transaction; also what it commits just before
// shipping is told to end.
func TestShipCaptures(t *testing.T) {
	dir, db, url, exec := newPlain(t)
	exec("CREATE TABLE t(a)")

	var errs bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan cli.Code, 1)
	go func() {
		env := &cli.Env{Out: &errs, Err: &errs, Width: func() int { return 80 }, Zone: time.UTC, Getenv: os.Getenv, Now: time.Now}
		ended <- cli.Run(ctx, env, []string{"ship", db, "--to", url, "--capture", "--interval", "10ms"})
	}()
	// When the archive has the base, the database is watched: what is written then are commits of their own.
	const n = 20
	deadline := time.Now().Add(time.Minute)
	for begun := false; ; {
		_, out, _ := runHere(t, "log", url, "-n", "0")
		if !begun && out != "" {
			begun = true
			for i := range n {
				exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
			}
		}
		if lines := strings.Count(out, "commit"); lines == n {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after a minute the archive has\n%s", out)
		}
	}
	exec("INSERT INTO t VALUES(1000)")
	cancel()
	if code := <-ended; code != cli.Done {
		t.Errorf("code %d: %s", code, errs.String())
	}
	was := filepath.Join(dir, "was.db")
	wanted(t, cli.Done, "", "hydrate", url, "-o", was)
	if got := rows(t, was, "SELECT count(*)||','||sum(a) FROM t"); got != "21,1190" {
		t.Errorf("the archive has %s", got)
	}
}

// A trail with a quota takes what was committed in turns: what was shipped makes room for the rest, and each commit is a
// transaction of the archive. One of which not even what was shipped is in the way ends it with an error.
func TestShipCapturesWithinQuota(t *testing.T) {
	dir, db, url, exec := newPlain(t)
	exec("PRAGMA wal_autocheckpoint=0; CREATE TABLE t(a, b)")
	wanted(t, cli.Done, "shipped the base of transaction 1", "ship", db, "--to", url, "--capture", "--once")
	const n = 150 // of 10 kB
	for i := range n {
		exec(fmt.Sprintf("INSERT INTO t VALUES(%d, randomblob(10000))", i))
	}
	ship := []string{"ship", db, "--to", url, "--capture", "--once", "--quota", "500kB"}
	wanted(t, cli.Done, fmt.Sprintf("shipped %d transactions up to %d", n, n+1), ship...)
	exec("INSERT INTO t VALUES(1000, randomblob(600000))")
	wanted(t, cli.Failed, "the quota of 500000 bytes is reached\n  raise the quota", ship...)
	wanted(t, cli.Done, fmt.Sprintf("shipped 1 transaction up to %d", n+2), append(ship[:len(ship)-1:len(ship)-1], "2MB")...)
	was := filepath.Join(dir, "was.db")
	wanted(t, cli.Done, "", "hydrate", url, "-o", was)
	if got, want := rows(t, was, "SELECT count(*)||','||sum(length(b)) FROM t"), fmt.Sprintf("%d,%d", n+1, n*10000+600000); got != want {
		t.Errorf("the archive has %s, the database %s", got, want)
	}
	wanted(t, cli.Usage, "&quota= where it opens its database", "ship", db, "--to", url, "--quota", "500kB")
}

// Without room in the trail it says so, and when there is some again; told to end meanwhile, it says what is not shipped.
func TestShipCapturesFull(t *testing.T) {
	dir, db, url, exec := newPlain(t)
	exec("CREATE TABLE t(a)")
	s := launch(t, "pagetrail", "ship", db, "--to", url, "--capture", "--quota", "500kB", "--interval", "10ms")
	s.until("shipped the base of transaction 1")
	ballast := filepath.Join(db+"-pagetrail", "ballast")
	if err := os.WriteFile(ballast, make([]byte, 500_000), 0o600); err != nil {
		t.Fatal(err)
	}
	exec("INSERT INTO t VALUES(randomblob(100000))")
	s.until("the quota of 500000 bytes is reached: what is committed waits in the database's WAL")
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	s.until("there is room again")
	exec("INSERT INTO t VALUES(randomblob(700000))") // never
	s.until("(?s)there is room again.*waits in the database's WAL")
	s.cmd.Process.Signal(os.Interrupt)
	if code := s.end(); code != int(cli.Unshipped) || !strings.Contains(s.said(), "what was committed last is not recorded yet") || !strings.Contains(s.said(), "raise the quota") {
		t.Errorf("code %d: %s", code, s.said())
	}
	wanted(t, cli.Done, "shipped 1 transaction up to 3", "ship", db, "--to", url, "--capture", "--once", "--quota", "2MB")
	was := filepath.Join(dir, "was.db")
	wanted(t, cli.Done, "", "hydrate", url, "-o", was)
	if got := rows(t, was, "SELECT sum(length(a)) FROM t"); got != "800000" {
		t.Errorf("the archive has %s bytes", got)
	}
}
