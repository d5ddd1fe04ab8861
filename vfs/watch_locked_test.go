//go:build linux || darwin

package vfs_test

import (
	"os"
	"testing"

	"github.com/pagetrail/pagetrail/internal/oflock"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// TestWatchMarksLocked: where all marks are being set in the moment in which the Watcher wants one again, it keeps the
// lock that it has, so that nothing is lost.
func TestWatchMarksLocked(t *testing.T) {
	d := newLetGo(t)
	d.update(t, d.c)
	shm, err := os.OpenFile(d.path+"-shm", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer shm.Close()
	if got, err := oflock.Try(shm, sqlitefile.WALWriteLock+4, 4, oflock.Exclusive); !got || err != nil {
		t.Fatal(got, err)
	}
	step(t, d.w)
	if wal, file := d.w.Held(); wal || !file {
		t.Errorf("with all marks locked: %v %v", wal, file)
	}
	if err := shm.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d.update(t, d.c)
		step(t, d.w)
		checkpoint(t, d.c)
	}
	d.end(t, 0)
}
