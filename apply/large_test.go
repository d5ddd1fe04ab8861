package apply_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// TestLockPage grows a sparse database over the lock-byte page at 1 GiB, and
// another one over 4 GiB, where page number times page size no longer fits 32
// bits; cuts it back, and restores every moment, also from a base.
func TestLockPage(t *testing.T) {
	const size = 65536
	for _, test := range []struct {
		name  string
		pages int
		long  bool
	}{
		{"1 GiB", 1<<30/size + 20, false},
		{"4 GiB", 1<<32/size + 20, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.long && testing.Short() {
				t.Skip("long: hashes 4 GiB some times")
			}
			b := newTrail(t, filepath.Join(t.TempDir(), "big.db-pagetrail"))
			images := []image{{}}
			commit := func(next image) {
				b.commit(next, journal.Ordinary)
				images = append(images, next)
			}
			lock := int(diff.LockPage(size))
			next := image{pageSize: size, pages: make([][]byte, lock-2)}
			next.pages[0] = filled(size, 1, 'a')
			next.pages[lock-3] = filled(size, lock-2, 'b')
			commit(next)
			next = next.clone()
			next.pages = append(next.pages, make([][]byte, test.pages-len(next.pages))...)
			next.pages[lock-2] = filled(size, lock-1, 'c')
			next.pages[lock] = filled(size, lock+1, 'd')
			next.pages[test.pages-1] = filled(size, test.pages, 'e')
			commit(next)
			if !testing.Short() {
				b.base(next, false)
			}
			next = next.clone()
			next.pages[test.pages-1] = filled(size, test.pages, 'f')
			next.pages[test.pages-3] = filled(size, test.pages-2, 'g')
			commit(next)
			next = next.clone()
			next.pages = next.pages[:lock] // the lock-byte page is the last
			commit(next)
			next = next.clone()
			next.pages = append(next.pages, make([][]byte, 3)...)
			commit(next)
			next = next.clone()
			next.pages = next.pages[:lock-4] // and now it is gone
			commit(next)
			b.close()
			checkSparse(t, b.dir, images)
		})
	}
}

// checkSparse restores each image and compares the pages that are not zero,
// and the size; the checksum of the file as read back vouches for the others.
func checkSparse(t *testing.T, dir string, images []image) {
	trail := openTrail(t, dir)
	defer trail.Close()
	out := filepath.Join(t.TempDir(), "out.db")
	for id := 1; id < len(images); id++ {
		if testing.Short() && id != 2 && id != len(images)-1 {
			continue // the race detector is slow with gigabytes
		}
		want := images[id]
		result, err := apply.Hydrate(context.Background(), trail, out, apply.AtTXID(journal.TXID(id)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if result.Position.Sum != want.sum() {
			t.Errorf("transaction %d: sum %v, want %v", id, result.Position.Sum, want.sum())
		}
		if from := result.Base; (from != nil) != (id >= 2 && !testing.Short()) {
			t.Errorf("transaction %d: base %+v", id, from)
		}
		checkFile(t, out, want)
		if err := os.Remove(out); err != nil {
			t.Fatal(err)
		}
	}
	if testing.Short() {
		return
	}
	if report, err := apply.Verify(context.Background(), trail, nil); err != nil {
		t.Errorf("verify: %v, %+v", err, report)
	}
}

func checkFile(t *testing.T, out string, want image) {
	t.Helper()
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if size := int64(len(want.pages)) * int64(want.pageSize); info.Size() != size {
		t.Errorf("size %d, want %d", info.Size(), size)
	}
	if n := allocated(info); runtime.GOOS == "linux" && n > 16<<20 {
		t.Errorf("a sparse database takes %d bytes", n)
	}
	got := make([]byte, want.pageSize)
	lock := int(diff.LockPage(want.pageSize)) - 1
	for i := range want.pages {
		if want.pages[i] == nil && i != lock {
			continue
		}
		if _, err := f.ReadAt(got, int64(i)*int64(want.pageSize)); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want.page(i)) {
			t.Errorf("page %d differs", i+1)
		}
	}
}
