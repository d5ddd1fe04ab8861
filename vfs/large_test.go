package vfs_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// TestLargeTransaction writes more than a GiB, past the page that holds
// SQLite's lock bytes, in one transaction, and watches the memory of the Go
// program (SQLite's own included).
func TestLargeTransaction(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, it writes 1.1 GiB several times")
	}
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := open(t, path, "")
			defer c.Close()
			run(t, c, "PRAGMA page_size=65536", "PRAGMA journal_mode="+mode, "PRAGMA synchronous=OFF", "PRAGMA cache_size=-8000",
				"CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
			debug.FreeOSMemory() // what other tests had
			peak, stop := watchMemory()
			run(t, c, generate("INSERT INTO t(b) SELECT randomblob(100)||zeroblob(1100000) FROM generate(1030)"))
			run(t, c, "UPDATE t SET b=randomblob(50)||substr(b,50) WHERE id%100=0")
			id := txid(t, c)
			stop()
			t.Logf("memory: %d MiB at most", *peak>>20)
			if *peak > 200<<20 {
				t.Errorf("memory grew to %d MiB for a transaction of 1.1 GiB", *peak>>20)
			}
			run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
			hydrated := filepath.Join(filepath.Dir(path), "hydrated.db")
			trail, err := journal.Open(path+"-pagetrail", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer trail.Close()
			if _, err := apply.Hydrate(context.Background(), trail, hydrated, apply.AtTXID(id), nil); err != nil {
				t.Fatal(err)
			}
			sameFiles(t, hydrated, path)
		})
	}
}

// TestLargeUpdate changes every page of a database in one transaction: what is compared then, old pages and new, is
// a small part of the transaction at a time.
func TestLargeUpdate(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, the race detector needs more memory")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "")
	defer c.Close()
	run(t, c, "PRAGMA journal_mode=WAL", "PRAGMA synchronous=OFF", "PRAGMA cache_size=-2000", "CREATE TABLE t(id INTEGER PRIMARY KEY, n, b BLOB)",
		generate("INSERT INTO t(n,b) SELECT 0, randomblob(1000) FROM generate(60000)"))
	txid(t, c) // what came before is recorded
	debug.FreeOSMemory()
	peak, stop := watchMemory()
	run(t, c, "UPDATE t SET n=n+1, b=b||'x'")
	txid(t, c)
	stop()
	t.Logf("memory: %d MiB at most", *peak>>20)
	if *peak > 128<<20 { // the SQLite, the compressors and the sealing of the trail take the most of it
		t.Errorf("memory grew to %d MiB for a transaction on 60 MB of pages", *peak>>20)
	}
}

// watchMemory notes the largest memory that the Go runtime has from the
// operating system and does not return, until stop is called.
func watchMemory() (peak *uint64, stop func()) {
	peak = new(uint64)
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			metrics.Read(s)
			*peak = max(*peak, s[0].Value.Uint64()-s[1].Value.Uint64())
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return peak, func() { close(done); <-ended }
}

// sameFiles compares two large files without loading them.
func sameFiles(t *testing.T, got, want string) {
	t.Helper()
	a, err := os.Open(got)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := os.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	ai, _ := a.Stat()
	bi, _ := b.Stat()
	if ai.Size() != bi.Size() {
		t.Fatalf("%s has %d bytes, %s %d", got, ai.Size(), want, bi.Size())
	}
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for off := int64(0); off < ai.Size(); off += 1 << 20 {
		n := min(1<<20, int(ai.Size()-off))
		if _, err := a.ReadAt(x[:n], off); err != nil {
			t.Fatal(err)
		}
		if _, err := b.ReadAt(y[:n], off); err != nil {
			t.Fatal(err)
		}
		if string(x[:n]) != string(y[:n]) {
			t.Fatalf("the files differ between %d and %d", off, off+int64(n))
		}
	}
}
