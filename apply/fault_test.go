package apply_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// faultFS calls at before each operation that can fail on a real disk, with
// its number from 1 and its name; an error is the operation's.
type faultFS struct {
	durable.FS
	mu sync.Mutex
	n  int                          // under mu
	at func(n int, op string) error // under mu
}

func (f *faultFS) next(op string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	return f.at(f.n, op)
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := f.next("open"); err != nil {
		return nil, err
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Rename(oldName, newName string) error {
	if err := f.next("rename"); err != nil {
		return err
	}
	return f.FS.Rename(oldName, newName)
}

func (f *faultFS) SyncDir(name string) error {
	if err := f.next("sync directory"); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

type faultFile struct {
	durable.File
	fs *faultFS
}

func (f *faultFile) ReadAt(b []byte, off int64) (int, error) {
	if err := f.fs.next("read"); err != nil {
		return 0, err
	}
	return f.File.ReadAt(b, off)
}

func (f *faultFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.fs.next("write"); err != nil {
		// A full disk takes a part of what it is given.
		n, _ := f.File.WriteAt(b[:len(b)/2], off)
		return n, err
	}
	return f.File.WriteAt(b, off)
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fs.next("truncate"); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Sync() error {
	if err := f.fs.next("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

// faultTrail has what makes every kind of operation happen: a base, growth,
// truncation, another page size, and more pages than the cache of the test.
// Some transactions after the base are applied early, with it; one in several
// groups ends that.
func faultTrail(t *testing.T) (*journal.Trail, image) {
	t.Helper()
	b, _ := sample(t, 8)
	next := image{pageSize: 1024}
	for i := range 40 {
		next.pages = append(next.pages, filled(1024, i+1, 'x'))
	}
	b.commit(next, journal.Ordinary)
	b.base(next, false)
	for i := range 40 {
		next = next.clone()
		next.pages[i*7%40] = filled(1024, i, 'y')
		b.group = 0
		if i == 10 {
			next.pages[5], b.group = filled(1024, i, 'z'), 1
		}
		b.commit(next, journal.Ordinary)
	}
	next = next.clone()
	next.pages = next.pages[:30]
	b.commit(next, journal.Ordinary)
	b.close()
	trail := openTrail(t, b.dir)
	t.Cleanup(func() { trail.Close() })
	return trail, next
}

// TestDiskFails fails every operation on the output in turn: the error comes
// back, and nothing is left.
func TestDiskFails(t *testing.T) {
	trail, want := faultTrail(t)
	for _, existed := range []bool{false, true} {
		for _, op := range []string{"open", "read", "write", "truncate", "sync", "rename", "sync directory"} {
			n := 1
			for failDisk(t, trail, want, op, n, existed) {
				n++
			}
			if n == 1 {
				t.Errorf("no %s was failed", op)
			}
		}
	}
}

// failDisk fails the n-th operation of a kind; it returns false when there
// are fewer.
func failDisk(t *testing.T, trail *journal.Trail, want image, kind string, n int, existed bool) bool {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "out.db")
	if existed {
		write(t, out, []byte("old"))
	}
	fired := false
	disk := &faultFS{FS: durable.OS, at: func(_ int, op string) error {
		if op != kind {
			return nil
		}
		if n--; n != 0 {
			return nil
		}
		fired = true
		return syscall.ENOSPC
	}}
	_, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{FS: disk, CacheBytes: 1, Force: existed})
	if !fired {
		if got, e := os.ReadFile(out); err != nil || !bytes.Equal(got, want.bytes()) {
			t.Fatalf("without a fault: %v, %v", err, e)
		}
		return false
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a %s failed, and Hydrate said %v", kind, err)
	}
	checkUntouched(t, dir, out, existed, kind)
	return true
}

// checkUntouched says that out and its directory are as before.
func checkUntouched(t *testing.T, dir, out string, existed bool, op string) {
	t.Helper()
	want := []string(nil)
	if existed {
		want = []string{filepath.Base(out)}
	}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Fatalf("after %s: directory holds %q, want %q", op, got, want)
	}
	if !existed || op == "sync directory" { // after the rename it is the new one
		return
	}
	if b, err := os.ReadFile(out); err != nil || string(b) != "old" {
		t.Fatalf("after %s: the old output is %q (%v)", op, b, err)
	}
}

// TestCancel ends the context before every operation on the output.
func TestCancel(t *testing.T) {
	trail, _ := faultTrail(t)
	why := errors.New("enough")
	cancelled := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		ctx, cancel := context.WithCancelCause(context.Background())
		fired := false
		disk := &faultFS{FS: durable.OS, at: func(i int, op string) error {
			if i == n {
				fired = true
				cancel(why)
			}
			return nil
		}}
		_, err := apply.Hydrate(ctx, trail, filepath.Join(dir, "out.db"), apply.Latest(), &apply.Options{FS: disk, CacheBytes: 1})
		cancel(nil)
		if !fired {
			break
		}
		if err == nil {
			continue // too late to be noticed: the output is whole
		}
		cancelled++
		if !errors.Is(err, why) {
			t.Fatalf("cancelled at operation %d: %v", n, err)
		}
		if got := names(t, dir); len(got) != 0 {
			t.Fatalf("cancelled at operation %d: left %q", n, got)
		}
	}
	if cancelled < 5 {
		t.Fatalf("only %d cancellations were noticed", cancelled)
	}
}

// TestCancelledScratch leaves no scratch file either.
func TestCancelledScratch(t *testing.T) {
	trail, _ := faultTrail(t)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	o := &apply.Options{TempDir: dir, Progress: func(apply.Progress) { cancel() }}
	if _, err := apply.HydrateTo(ctx, trail, &bytes.Buffer{}, apply.Latest(), o); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	if _, err := apply.Verify(ctx, trail, &apply.VerifyOptions{TempDir: dir}); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
	if got := names(t, dir); len(got) != 0 {
		t.Fatalf("left %q", got)
	}
}

// lyingFS says that the n-th write was done, and does nothing.
type lyingFS struct {
	durable.FS
	mu    sync.Mutex
	n     int // under mu; counts down
	fired bool
}

type lyingFile struct {
	durable.File
	fs *lyingFS
}

func (f *lyingFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	return &lyingFile{file, f}, err
}

func (f *lyingFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	f.fs.n--
	lie := f.fs.n == 0
	f.fs.fired = f.fs.fired || lie
	f.fs.mu.Unlock()
	if lie {
		return len(b), nil
	}
	return f.File.WriteAt(b, off)
}

// TestLostWrite drops every write in turn without an error: either a later
// write made up for it, or reading back finds it, whereupon what was restored
// with early patches is restored again.
func TestLostWrite(t *testing.T) {
	trail, want := faultTrail(t)
	found := 0
	for n := 1; ; n++ {
		dir := t.TempDir()
		out := filepath.Join(dir, "out.db")
		disk := &lyingFS{FS: durable.OS, n: n}
		result, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{FS: disk, CacheBytes: 1})
		if !disk.fired {
			break
		}
		if err == nil {
			if got, _ := os.ReadFile(out); !bytes.Equal(got, want.bytes()) {
				t.Fatalf("write %d was lost, and nobody noticed", n)
			}
			if result.Again {
				found++
			}
			continue
		}
		found++
		if !errors.Is(err, journal.ErrDiverged) && !errors.Is(err, io.EOF) {
			t.Errorf("write %d was lost: %v", n, err)
		}
		if left := names(t, dir); len(left) != 0 {
			t.Errorf("write %d was lost: left %q", n, left)
		}
	}
	if found < 3 {
		t.Errorf("only %d lost writes were found", found)
	}
}

// TestOrder looks at what a power cut could reorder: everything is written
// before the sync, the sync comes before the rename, the directory is last.
func TestOrder(t *testing.T) {
	trail, _ := faultTrail(t)
	var ops []string
	disk := &faultFS{FS: durable.OS, at: func(_ int, op string) error {
		if op == "read" {
			return nil
		}
		if len(ops) == 0 || ops[len(ops)-1] != op {
			ops = append(ops, op)
		}
		return nil
	}}
	_, err := apply.Hydrate(context.Background(), trail, filepath.Join(t.TempDir(), "out.db"), apply.AtTXID(1), &apply.Options{FS: disk})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"open", "write", "sync", "rename", "sync directory"}
	if !slices.Equal(ops, want) {
		t.Errorf("order is %q, want %q", ops, want)
	}
}
