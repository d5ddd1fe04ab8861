package vfs_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// TestBackgroundCheckpoints leaves checkpoints to the goroutine that
// checkpoint=background starts: the WAL stays bounded under steady writes, and
// is gone with the last connection.
func TestBackgroundCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&checkpoint=background")
	if err := c.BusyTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	run(t, c, "PRAGMA journal_mode=WAL", schema)
	if got := query(t, c, "PRAGMA wal_autocheckpoint"); got != "0" {
		t.Fatalf("wal_autocheckpoint is %s: commits would checkpoint", got)
	}
	s, _, err := c.Prepare("INSERT INTO t(a,b) VALUES(hex(randomblob(8)), zeroblob(200))")
	if err != nil {
		t.Fatal(err)
	}
	var largest int64
	for range 20000 {
		if err := s.Exec(); err != nil {
			t.Fatal(err)
		}
		if fi, err := os.Stat(path + "-wal"); err == nil {
			largest = max(largest, fi.Size())
		}
	}
	s.Close()
	// 20,000 transactions write some 60,000 frames, 240 MB.
	if largest > 160<<20 {
		t.Errorf("the WAL grew to %d MB", largest>>20)
	}
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	agrees(t, r, c, path, "after steady writes")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Error("the WAL is still there after the last connection was closed")
	}
	if plain, err := sqlite3.Open("file:" + path + "?vfs=pagetrail"); err != nil {
		t.Fatal(err)
	} else {
		defer plain.Close()
		if got := query(t, plain, "PRAGMA wal_autocheckpoint"); got != "1000" {
			t.Errorf("wal_autocheckpoint is %s without checkpoint=background", got)
		}
	}
	if _, err := sqlite3.Open("file:" + path + "?vfs=pagetrail&checkpoint=nonsense"); err == nil {
		t.Error("checkpoint=nonsense was accepted")
	}
}
