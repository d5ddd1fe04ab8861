package cli_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
)

// The application's exit code is that of exec, and signals reach it.
func TestExecCodes(t *testing.T) {
	dir := t.TempDir()
	args := []string{"exec", "--restore-if-missing", "--db", filepath.Join(dir, "app.db"), "--to", "file://" + dir + "/store", "--"}
	for _, c := range []struct {
		app  string
		code int
	}{{"exit 0", 0}, {"exit 3", 3}, {"kill -9 $$", 137}} {
		s := launch(t, "pagetrail", append(args, "sh", "-c", c.app)...)
		if code := s.end(); code != c.code || !strings.Contains(s.said(), "nothing to restore") {
			t.Errorf("%s: code %d, %s", c.app, code, s.said())
		}
	}
	s := launch(t, "pagetrail", append(args, "sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done")...)
	<-s.lines
	s.cmd.Process.Signal(syscall.SIGTERM)
	if code := s.end(); code != 5 {
		t.Errorf("SIGTERM: code %d, %s", code, s.said())
	}
	for what, bad := range map[string][]string{
		"which application": {"exec", "--db", "x", "--to", "file:///x"}, "which database": {"exec", "--to", "file:///x", "--", "true"},
		"no URL": {"exec", "--db", "x", "--to", "x", "--", "true"},
	} {
		if r := run(t, t.Context(), nil, bad...); r.code != 2 || !strings.Contains(r.err, what) {
			t.Errorf("%q: %+v", bad, r)
		}
	}
	if r := run(t, t.Context(), nil, append(args, filepath.Join(dir, "no such program"))...); r.code != 1 {
		t.Errorf("no such program: %+v", r)
	}
}

// What an application leaves for the trail to take in when it ends, as one does that was killed or that wrote without
// the VFS, is shipped before exec ends.
func TestExecSettles(t *testing.T) {
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("skipped: no sqlite3 shell")
	}
	dir := t.TempDir()
	db, store := filepath.Join(dir, "app.db"), filepath.Join(dir, "store")
	args := []string{"exec", "--db", db, "--to", "file://" + store, "--"}
	w := launch(t, "pagetrail", append(args, "pagetrail-writer", db, t.TempDir())...)
	w.commits(3)
	w.in.Close()
	if code := w.end(); code != 0 {
		t.Fatalf("code %d, %s", code, w.said())
	}
	s := launch(t, "pagetrail", append(args, "sqlite3", db, "INSERT INTO t(a) VALUES('the last word')")...)
	if code := s.end(); code != 0 {
		t.Fatalf("code %d, %s", code, s.said())
	}
	r, err := archive.Open(t.Context(), file.Open(store, nil), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got bytes.Buffer
	if _, err := apply.HydrateTo(t.Context(), r.Trail, &got, apply.Latest(), nil); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(got.Bytes(), []byte("the last word")) {
		t.Error("the archive lacks what was committed last")
	}
}

// An application moves from machine to machine, each time with nothing but the archive, and its history goes on.
func TestExecMoves(t *testing.T) {
	store, images := filepath.Join(t.TempDir(), "store"), t.TempDir()
	last := journal.TXID(0)
	for machine := range 3 {
		dir := t.TempDir()
		db := filepath.Join(dir, "app.db")
		if machine == 2 { // where a restore was interrupted
			if err := os.MkdirAll(db+"-pagetrail", 0o700); err != nil {
				t.Fatal(err)
			}
		}
		s := launch(t, "pagetrail", "exec", "--restore-if-missing", "--db", db, "--to", "file://"+store, "--", "pagetrail-writer", db, images)
		s.commits(25)
		s.in.Close()
		if code := s.end(); code != 0 {
			t.Fatalf("machine %d: code %d, %s", machine, code, s.said())
		}
		r, err := archive.Open(t.Context(), file.Open(store, nil), nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := r.Identity(); int(id.Timeline) != machine+1 {
			t.Errorf("machine %d writes timeline %d", machine, id.Timeline)
		}
		tx, err := r.Last()
		if err != nil || tx.TXID < last+25 {
			t.Errorf("machine %d: from transaction %d to %d, %v", machine, last, tx.TXID, err)
		}
		last = tx.TXID
		var got, want bytes.Buffer
		if _, err := apply.HydrateTo(t.Context(), r.Trail, &got, apply.Latest(), nil); err != nil {
			t.Fatal(err)
		}
		r.Close()
		if code := launch(t, "sqlite3", db, "PRAGMA wal_checkpoint(TRUNCATE)").end(); code != 0 {
			t.Skip("skipped: no sqlite3 shell")
		}
		data, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		want.Write(data)
		if !bytes.Equal(got.Bytes(), want.Bytes()) {
			t.Fatalf("machine %d: the archive has another database", machine)
		}
	}
	if n := restores(t, store, images, 5); n != 5 {
		t.Errorf("%d restores", n)
	}
	// A database that is gone, and whose trail is not, is nobody's to overwrite.
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	s := launch(t, "pagetrail-writer", db, images)
	s.commits(3)
	s.kill()
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	s = launch(t, "pagetrail", "exec", "--restore-if-missing", "--db", db, "--to", "file://"+store, "--", "true")
	if code := s.end(); code != 1 || !strings.Contains(s.said(), "its trail is there") {
		t.Errorf("code %d, %s", code, s.said())
	}
}
