package vfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// TestCommitIsInTheWAL copies database and WAL as soon as a commit returned, as
// a kill would leave them, and has another SQLite recover them. The commit wrote
// over frames that the cache had spilled, so it ended by renewing headers.
func TestCommitIsInTheWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "")
	defer c.Close()
	run(t, c, "PRAGMA journal_mode=WAL", "PRAGMA wal_autocheckpoint=0", "PRAGMA cache_size=5",
		"CREATE TABLE t(id INTEGER PRIMARY KEY, v)")
	for i := 1; i <= 3; i++ {
		run(t, c, "BEGIN", generate("INSERT INTO t(v) SELECT zeroblob(200) FROM generate(500)"),
			"UPDATE t SET v=zeroblob(201)", "UPDATE t SET v=zeroblob(199)", "COMMIT")
		want := fmt.Sprint(500*i, " ", 500*i*199) // c is not asked: a read writes what waits
		other := filepath.Join(t.TempDir(), "x.db")
		for _, suffix := range []string{"", "-wal"} {
			if err := os.WriteFile(other+suffix, readFile(t, path+suffix), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		p, err := sqlite3.Open("file:" + other)
		if err != nil {
			t.Fatal(err)
		}
		got, sound := query(t, p, "SELECT count(*)||' '||sum(length(v)) FROM t"), query(t, p, "PRAGMA integrity_check")
		p.Close()
		if got != want || sound != "ok" {
			t.Fatalf("recovered %s, want %s; %s", got, want, sound)
		}
	}
}
