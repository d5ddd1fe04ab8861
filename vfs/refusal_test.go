package vfs_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestRefusalSaysWhy has commits refused because the trail's disk is not there,
// and looks where a program and its operator can learn that: in the error, as
// far as SQLite lets one through, in PRAGMA pagetrail_status, and in the default
// log.
func TestRefusalSaysWhy(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			var log bytes.Buffer
			slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
			dir := t.TempDir()
			path, disk := filepath.Join(dir, "x.db"), filepath.Join(dir, "disk")
			plain, err := sqlite3.Open("file:" + path)
			if err != nil {
				t.Fatal(err)
			}
			run(t, plain, "PRAGMA journal_mode="+mode, "CREATE TABLE t(x)")
			if err := plain.Close(); err != nil {
				t.Fatal(err)
			}

			c := open(t, path, "&trail="+filepath.Join(disk, "trail"))
			defer c.Close()
			problem := func() string {
				var s vfs.Status
				if err := json.Unmarshal([]byte(query(t, c, "PRAGMA pagetrail_status")), &s); err != nil {
					t.Fatal(err)
				}
				return s.Problem
			}
			for range 2 {
				err := c.Exec("INSERT INTO t VALUES(1)")
				if !errors.Is(err, sqlite3.IOERR) {
					t.Fatalf("the commit ended with %v", err)
				}
				if said := strings.Contains(err.Error(), disk); said != (mode == "DELETE") {
					t.Errorf("the error is %q", err)
				}
				if !strings.Contains(problem(), disk) {
					t.Errorf("the status's problem is %q", problem())
				}
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), disk) {
				t.Errorf("logged %d times: %s", n, log.String())
			}
			if got := query(t, c, "SELECT count(*) FROM t"); got != "0" {
				t.Errorf("%s rows of what was refused", got)
			}

			if err := os.Mkdir(disk, 0o755); err != nil {
				t.Fatal(err)
			}
			run(t, c, "INSERT INTO t VALUES(2)")
			if p := problem(); p != "" {
				t.Errorf("the trail can be written again, and the problem is %q", p)
			}
		})
	}
}

// TestDamageSaysWhy has commits refused because the trail is damaged, under either policy: what it takes to go on is in
// the log, once.
func TestDamageSaysWhy(t *testing.T) {
	before := slog.Default()
	defer slog.SetDefault(before)
	for _, dsn := range []string{"", "&full=detach"} {
		for _, mode := range []string{"DELETE", "WAL"} {
			t.Run(mode+dsn, func(t *testing.T) {
				var log bytes.Buffer
				slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
				path := filepath.Join(t.TempDir(), "x.db")
				for i := range 5 { // blocks that say that those before are durable: a crash cannot have torn them
					c := open(t, path, "")
					if i == 0 {
						run(t, c, "PRAGMA journal_mode="+mode, "CREATE TABLE t(x)")
					}
					run(t, c, "INSERT INTO t VALUES(randomblob(500))", "INSERT INTO t VALUES(randomblob(500))")
					if err := c.Close(); err != nil {
						t.Fatal(err)
					}
				}
				tails, err := filepath.Glob(path + "-pagetrail/*.seg")
				if err != nil || len(tails) != 1 {
					t.Fatalf("segments %v, %v", tails, err)
				}
				content, err := os.ReadFile(tails[0])
				if err != nil {
					t.Fatal(err)
				}
				content[len(content)/2] ^= 1
				if err := os.WriteFile(tails[0], content, 0o644); err != nil {
					t.Fatal(err)
				}

				c := open(t, path, dsn)
				defer c.Close()
				for range 2 {
					if err := c.Exec("INSERT INTO t VALUES(1)"); !errors.Is(err, sqlite3.IOERR) {
						t.Fatalf("the commit ended with %v", err)
					}
				}
				if n := strings.Count(log.String(), "level=ERROR"); n != 1 || !strings.Contains(log.String(), "pagetrail repair") {
					t.Errorf("logged %d times: %s", n, log.String())
				}
				if got := query(t, c, "SELECT count(*) FROM t"); got != "10" {
					t.Errorf("%s rows, with what was refused", got)
				}

				was := path + ".was"
				run(t, c, "VACUUM INTO '"+was+"'")
				if _, err := vfs.Replace(t.Context(), path, was, nil); !errors.Is(err, sqlite3.IOERR) || !errors.Is(err, journal.ErrCorrupt) {
					t.Errorf("Replace ended with %v", err)
				}
			})
		}
	}
}
