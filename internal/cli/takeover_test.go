//go:build linux || darwin

package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
)

// written commits statements through the VFS.
func written(t *testing.T, db string, sql ...string) {
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

// wanted runs a command line and wants a code, and a text on stderr.
func wanted(t *testing.T, code cli.Code, text string, args ...string) string {
	t.Helper()
	got, out, errs := runHere(t, args...)
	if got != code || !strings.Contains(errs, text) {
		t.Fatalf("%q: code %d, want %d, stderr %q, want %q", args, got, code, errs, text)
	}
	return out
}

// A primary is lost: a replica is promoted, the old one is refused by name and becomes a follower by one command, what
// it had not shipped is a branch; then it is handed back.
func TestTakeoverCommands(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	url := "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "store"))
	old, standby := filepath.Join(dir, "app.db"), filepath.Join(elsewhere, "app.db")
	written(t, old, "PRAGMA journal_mode=wal", "CREATE TABLE t(a)", "INSERT INTO t VALUES('shipped')")
	wanted(t, cli.Done, "", "ship", old, "--to", url, "--once")
	wanted(t, cli.Done, "", "follow", url, standby, "--once", "--trail")
	written(t, old, "INSERT INTO t VALUES('not shipped')")

	wanted(t, cli.Usage, "what keeps the old primary from writing?", "promote", standby)
	wanted(t, cli.Usage, "needs no force", "promote", standby, "--to", url, "--force")
	wanted(t, cli.Nothing, "always was", "promote", old, "--to", url)
	wanted(t, cli.Nothing, "no replica", "promote", standby+"x", "--to", url)
	out := wanted(t, cli.Done, "timeline 1 of the archive ends", "promote", standby, "--to", url, "--name", "the standby", "--json")
	var promoted struct {
		Timeline journal.Timeline
		Parent   journal.Position
		Already  bool
	}
	if err := json.Unmarshal([]byte(out), &promoted); err != nil || promoted.Timeline != 2 || promoted.Parent.TXID != 3 || promoted.Already {
		t.Fatalf("%s: %+v, %v", out, promoted, err)
	}
	wanted(t, cli.Done, "is a primary already", "promote", standby, "--to", url)
	wanted(t, cli.Locked, "the archive is held by the standby", "ship", old, "--to", url, "--once")
	wanted(t, cli.Failed, "which programs write to", "follow", url, old, "--once")
	written(t, standby, "INSERT INTO t VALUES('on the standby')")
	wanted(t, cli.Done, "", "ship", standby, "--to", url, "--once")
	wanted(t, cli.Done, "was a primary up to transaction 4 of timeline 1", "follow", url, old, "--once", "--rewind")
	if !bytes.Equal(fileOf(t, old), fileOf(t, standby)) {
		t.Error("the old primary is another database")
	}
	if log := wanted(t, cli.Done, "", "log", old); !strings.Contains(log, "timeline 2 ── it goes on without 4 of timeline 1; kept in branch-00000001") {
		t.Error(log)
	}
	wanted(t, cli.Done, "", "log", filepath.Join(old+"-pagetrail", "branch-00000001"))
	wanted(t, cli.Locked, "nobody has taken over", "follow", url, standby, "--once", "--rewind")

	written(t, standby, "INSERT INTO t VALUES('before it is handed back')")
	wanted(t, cli.Done, "is a replica: pagetrail follow "+url, "handover", standby, old, "--to", url)
	written(t, old, "INSERT INTO t VALUES('handed back')")
	wanted(t, cli.Done, "", "ship", old, "--to", url, "--once")
	wanted(t, cli.Done, "", "follow", url, standby, "--once")
	for _, db := range []string{old, standby, url} {
		wanted(t, cli.Done, "", "verify", db)
	}
	if !bytes.Equal(fileOf(t, old), fileOf(t, standby)) || !bytes.Equal(hydrated(t, old), fileOf(t, old)) {
		t.Error("after the handover the two differ")
	}
	if log := wanted(t, cli.Done, "", "log", standby); strings.Contains(log, "goes on without") {
		t.Errorf("something was lost:\n%s", log)
	}
}

// Without an archive: handover says at which position the other is to be promoted, and any other is refused.
func TestHandoverWithoutArchive(t *testing.T) {
	dir := t.TempDir()
	db, standby := filepath.Join(dir, "app.db"), filepath.Join(dir, "standby.db")
	written(t, db, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	wanted(t, cli.Done, "", "follow", db, standby, "--once")
	written(t, db, "INSERT INTO t VALUES(2)")
	out := wanted(t, cli.Done, "", "handover", db, "--json")
	var said struct {
		Position journal.Position
		Token    string
	}
	if err := json.Unmarshal([]byte(out), &said); err != nil || said.Position.TXID != 3 {
		t.Fatalf("%s, %v", out, err)
	}
	conn, err := sqlite3.Open("file:" + db + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Exec("INSERT INTO t VALUES(3)"); err == nil {
		t.Error("a database that was handed over is written to")
	}
	wanted(t, cli.Gap, "is expected at 3", "promote", standby, "--force", "--expect", said.Token)
	wanted(t, cli.Done, "", "follow", db, standby, "--once")
	wanted(t, cli.Done, "no archive was claimed", "promote", standby, "--force", "--expect", said.Token)
	written(t, standby, "INSERT INTO t VALUES(4)")
	wanted(t, cli.Done, "", "follow", standby, db, "--once")
	wanted(t, cli.Done, "", "handover", standby, db) // and back, both being here
	written(t, db, "INSERT INTO t VALUES(5)")
	wanted(t, cli.Done, "", "follow", db, standby, "--once")
	if !bytes.Equal(fileOf(t, db), fileOf(t, standby)) || !bytes.Equal(hydrated(t, db), fileOf(t, db)) {
		t.Error("after two handovers the two differ")
	}
}

// A follower of an archive that somebody takes over goes on with the next timeline by itself, also when it looks while
// the takeover is stopped half-way.
func TestFollowThroughTakeover(t *testing.T) {
	dir := t.TempDir()
	archiveURL := "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "store"))
	old, standby, third := filepath.Join(dir, "app.db"), filepath.Join(dir, "standby.db"), filepath.Join(dir, "third.db")
	written(t, old, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	wanted(t, cli.Done, "", "ship", old, "--to", archiveURL, "--once")
	wanted(t, cli.Done, "", "follow", archiveURL, standby, "--once")

	out, errs := &lines{news: make(chan struct{})}, &lines{news: make(chan struct{})}
	env := &cli.Env{Out: out, Err: errs, Width: func() int { return 80 }, Zone: time.UTC, Getenv: os.Getenv, Now: time.Now}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan cli.Code, 1)
	go func() { ended <- cli.Run(ctx, env, []string{"follow", archiveURL, third, "--json"}) }()
	out.after(t, `"event":"attached"`, ended)
	u, err := url.Parse(archiveURL)
	if err != nil {
		t.Fatal(err)
	}
	store, err := file.OpenURL(ctx, u)
	if err != nil {
		t.Fatal(err)
	}
	r, err := archive.Open(ctx, store, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := archive.OpenWriter(ctx, store, archive.WriterOptions{Identity: r.Identity(), Name: "who stops"})
	if err == nil {
		_, err = w.End(ctx)
	}
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	errs.after(t, "a takeover is not done yet", ended)
	wanted(t, cli.Locked, "who stops is taking over", "ship", old, "--to", archiveURL, "--once")
	wanted(t, cli.Gap, "went on to timeline 2", "follow", archiveURL, filepath.Join(dir, "once.db"), "--once")
	wanted(t, cli.Done, "", "promote", standby, "--to", archiveURL)
	written(t, standby, "INSERT INTO t VALUES(2)")
	wanted(t, cli.Done, "", "ship", standby, "--to", archiveURL, "--once")
	out.after(t, `"timeline":2`, ended)
	cancel()
	if code := <-ended; code != cli.Done {
		t.Errorf("follow ends with %d: %s", code, errs.text.String())
	}
	if !bytes.Equal(fileOf(t, third), fileOf(t, standby)) {
		t.Error("the third is another database")
	}
}

// An encrypted archive is taken over, and handed back, like any other.
func TestTakeoverEncrypted(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key.txt")
	if err := os.WriteFile(key, []byte("AGE-SECRET-KEY-1Q04Y769AMGTUQ8XEZREDKTNZFZ5YCR8SPC5DG745STNJH5L7647Q52YCXT\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := []string{"--encrypt-to", "age1zpxqdja4rk8zv0qvlljmveaggfql3c8mzsugdmpdukn07caqfslsqlv9hp", "--identity", key}
	do := func(code cli.Code, args ...string) {
		t.Helper()
		wanted(t, code, "", append(args, keys...)...)
	}
	archiveURL := "file://" + filepath.ToSlash(filepath.Join(t.TempDir(), "store"))
	old, standby := filepath.Join(dir, "app.db"), filepath.Join(dir, "standby.db")
	written(t, old, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	do(cli.Done, "ship", old, "--to", archiveURL, "--once")
	do(cli.Done, "follow", archiveURL, standby, "--once")
	written(t, old, "INSERT INTO t VALUES('not shipped')")
	do(cli.Done, "promote", standby, "--to", archiveURL)
	do(cli.Locked, "ship", old, "--to", archiveURL, "--once")
	written(t, standby, "INSERT INTO t VALUES(2)")
	do(cli.Done, "ship", standby, "--to", archiveURL, "--once")
	do(cli.Done, "follow", archiveURL, old, "--once", "--rewind")
	do(cli.Done, "handover", standby, old, "--to", archiveURL)
	written(t, old, "INSERT INTO t VALUES(3)")
	do(cli.Done, "ship", old, "--to", archiveURL, "--once")
	do(cli.Done, "follow", archiveURL, standby, "--once")
	do(cli.Done, "verify", archiveURL)
	if !bytes.Equal(fileOf(t, old), fileOf(t, standby)) {
		t.Error("the two differ")
	}
}
