package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// smallDisk mounts a file system of one MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a small file system can only be mounted by root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("root, but mount is not permitted: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// TestTrailOnFullDisk fills up a real file system that the trail is on, or the
// trail's quota, and makes room again.
func TestTrailOnFullDisk(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		for _, full := range []string{vfs.FullRefuse, vfs.FullDetach} {
			t.Run(mode+"/"+full, func(t *testing.T) {
				disk := smallDisk(t)
				testFullDisk(t, mode, full, filepath.Join(disk, "trail"), filepath.Join(disk, "ballast"), "")
			})
			t.Run(mode+"/"+full+"/quota", func(t *testing.T) {
				trail := filepath.Join(t.TempDir(), "trail")
				testFullDisk(t, mode, full, trail, filepath.Join(trail, "ballast"), "&quota=1MiB")
			})
		}
	}
}

func testFullDisk(t *testing.T, mode, full, trail, ballast, params string) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&encode=inline&full="+full+"&trail="+trail+params)
	defer func() { c.Close() }()
	run(t, c, "PRAGMA journal_mode="+mode, "CREATE TABLE t(a,b)")
	why := "no space left on device"
	if params == "" {
		fill(t, ballast)
	} else {
		why = "the quota of 1048576 bytes is reached"
		if err := os.WriteFile(ballast, make([]byte, 1<<20), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	acked, refused := 0, 0
	for range 10 {
		switch err := c.Exec("INSERT INTO t VALUES(1, randomblob(30000))"); {
		case err == nil:
			acked++
		case errors.Is(err, sqlite3.FULL) && full == vfs.FullRefuse:
			refused++
		default:
			t.Fatalf("%v (%v)", err, errors.Unwrap(err))
		}
	}
	d, err := vfs.ReadDetached(trail)
	if err != nil {
		t.Fatal(err)
	}
	if full == vfs.FullRefuse && (refused == 0 || d != nil) || full == vfs.FullDetach && (d == nil || d.Transactions == 0) {
		t.Fatalf("%d acknowledged, %d refused, the trail's directory says %+v", acked, refused, d)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	run(t, c, "INSERT INTO t VALUES(2, 'there is room again')")
	if d, err := vfs.ReadDetached(trail); d != nil || err != nil {
		t.Errorf("with room again the trail's directory says %+v, %v", d, err)
	}
	r := newReplica(t, trail)
	defer r.close()
	sameBytes(t, "with room again", r.at(txid(t, c)), snapshot(t, path))
	if got := query(t, c, "SELECT count(*) FROM t WHERE a=1"); got != strconv.Itoa(acked) {
		t.Errorf("%s rows, %d acknowledged", got, acked)
	}
	merged := r.kinds[journal.CatchUp]
	if want := full == vfs.FullDetach && mode != "WAL"; merged > 0 != want {
		t.Errorf("%d catch-ups", merged)
	}
	if log := lastCatchUp(t, trail); merged > 0 && !strings.Contains(log.Note, why) {
		t.Errorf("the catch-up's note is %q", log.Note)
	}
}

// fill writes until nothing more fits.
func fill(t *testing.T, name string) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
}

func lastCatchUp(t *testing.T, dir string) (tx journal.Tx) {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	for r, err := range trail.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Kind == journal.CatchUp {
			tx = r.Tx
		}
	}
	return tx
}
