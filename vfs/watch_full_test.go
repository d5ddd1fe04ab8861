package vfs_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestWatchFull has a trail reach its quota while it is watched. Programs go on, what they commit is recorded when there
// is room, commit by commit if the WAL did not grow beyond its limit meanwhile, and the WAL is not held if it did.
func TestWatchFull(t *testing.T) {
	const quota = 1 << 20
	for _, commits := range []int{30, 120} {
		t.Run(fmt.Sprint(commits), func(t *testing.T) {
			path, c, w := watched(t, &vfs.WatchOptions{Quota: quota, WALBytes: 200 << 12})
			defer w.Close()
			run(t, c, "PRAGMA wal_autocheckpoint=0")
			first, ballast := lastOf(t, path), filepath.Join(path+"-pagetrail", "ballast")
			if err := os.WriteFile(ballast, make([]byte, quota), 0o600); err != nil {
				t.Fatal(err)
			}
			full := 0
			for i := range commits {
				run(t, c, "INSERT INTO t(a,b) VALUES('x', randomblob(4000))")
				if _, err := w.Step(); err != nil || i > quota/16/4000 { // which is how often a directory is looked at
					if q, ok := errors.AsType[*durable.QuotaError](err); !ok || q.Limit != quota || !vfs.Full(err) || vfs.Busy(err) {
						t.Fatalf("a step without room: %v", err)
					}
					full++
				}
			}
			if full == 0 {
				t.Fatal("there was room")
			}
			long := commits > 100
			if wal, file := w.Held(); wal == long || file {
				t.Errorf("after %d commits the WAL is held: %v, the file: %v", commits, wal, file)
			}
			frames, copied := checkpoint(t, c)
			if !long && frames == copied {
				t.Error("a checkpoint copied what was not recorded")
			}
			run(t, c, "INSERT INTO t(a,b) VALUES('the WAL begins anew, if it may', 0)")
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				step(t, w)
			}
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			sameBytes(t, "with room again", r.at(lastOf(t, path)), snapshot(t, path))
			if got, merged := int(r.state.TXID()-first), r.kinds[journal.CatchUp]; !long && (got != commits+1 || merged > 0) || long && merged != 1 {
				t.Errorf("%d commits are %d records, %d of them merged", commits+1, got, merged)
			}
		})
	}
}

// TestFullAtClose has everything in a WAL copied by a program without the VFS while the trail is full, and the last
// connection closed: the WAL stays, and each commit is recorded when there is room.
func TestFullAtClose(t *testing.T) {
	const quota = 1 << 20
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&quota=1MiB")
	run(t, c, "PRAGMA journal_mode=WAL", schema)
	first, ballast := txid(t, c), filepath.Join(path+"-pagetrail", "ballast")
	if err := os.WriteFile(ballast, make([]byte, quota), 0o600); err != nil {
		t.Fatal(err)
	}
	const commits = 50
	out := plain(t, path)
	for range commits {
		run(t, out, "INSERT INTO t(a,b) VALUES('x', randomblob(4000))")
	}
	if frames, copied := checkpoint(t, out); frames != copied {
		t.Errorf("%d of %d frames copied", copied, frames)
	}
	if err := errors.Join(out.Close(), c.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); err != nil {
		t.Error(err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := vfs.Settle(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("with everything recorded: %v", err)
	}
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	sameBytes(t, "with room again", r.at(lastOf(t, path)), snapshot(t, path))
	if got := int(r.state.TXID() - first); got != commits || r.kinds[journal.CatchUp] > 0 {
		t.Errorf("%d commits are %d records", commits, got)
	}
}

// TestWatchFullAnew has the WAL begin anew while the trail is full: its first commits cannot be recorded, are kept, and
// are recorded one by one when there is room.
func TestWatchFullAnew(t *testing.T) {
	const quota = 8 << 20
	d := newWide(t, "", &vfs.WatchOptions{Quota: quota})
	run(t, d.c, "PRAGMA wal_autocheckpoint=0")
	d.update(t, d.c)
	step(t, d.w)
	checkpoint(t, d.c)
	step(t, d.w)
	if wal, file := d.w.Held(); wal || !file {
		t.Fatalf("the WAL was not let go: %v %v", wal, file)
	}
	ballast := filepath.Join(d.path+"-pagetrail", "ballast")
	if err := os.WriteFile(ballast, make([]byte, quota), 0o600); err != nil {
		t.Fatal(err)
	}
	full := 0
	for range 3 {
		run(t, d.c, "UPDATE t SET a=hex(randomblob(1500)) WHERE id%30=7")
		d.commits++
		if _, err := d.w.Step(); vfs.Full(err) {
			full++
			if wal, file := d.w.Held(); wal || !file {
				t.Errorf("without room the WAL is held: %v, the file: %v", wal, file)
			}
		}
	}
	if full == 0 {
		t.Fatal("there was room")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; { // a segment that is being sealed takes room twice
		_, err := d.w.Step()
		if err == nil {
			break
		}
		if !vfs.Full(err) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	d.end(t, d.commits)
}
