package durable_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
)

func TestWriteFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	for _, data := range [][]byte{{}, {1}, bytes.Repeat([]byte("x"), 100_000), []byte("shorter")} {
		if err := durable.WriteFile(durable.OS, name, data, 0o640); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes read, want %d: %v", len(got), len(data), err)
		}
	}
	if fi, err := os.Stat(name); err != nil || fi.Mode().Perm() != 0o640 {
		t.Fatal(fi.Mode(), err)
	}
	entries, err := os.ReadDir(filepath.Dir(name))
	if err != nil || len(entries) != 1 {
		t.Fatalf("files left behind: %v %v", entries, err)
	}
}

// recorder notes the calls that WriteFile makes, and fails the one of that number.
type recorder struct {
	durable.FS
	calls  []string
	failAt int
}

var errInjected = errors.New("injected")

func (r *recorder) call(what string) error {
	r.calls = append(r.calls, what)
	if len(r.calls) == r.failAt {
		return errInjected
	}
	return nil
}

func (r *recorder) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if err := r.call("open " + filepath.Base(name)); err != nil {
		return nil, err
	}
	f, err := r.FS.OpenFile(name, flag, perm)
	return &recordedFile{f, r}, err
}

func (r *recorder) Rename(a, b string) error {
	if err := r.call("rename " + filepath.Base(a) + " " + filepath.Base(b)); err != nil {
		return err
	}
	return r.FS.Rename(a, b)
}

func (r *recorder) SyncDir(name string) error {
	if err := r.call("sync directory"); err != nil {
		return err
	}
	return r.FS.SyncDir(name)
}

type recordedFile struct {
	durable.File
	r *recorder
}

func (f *recordedFile) WriteAt(b []byte, off int64) (int, error) {
	if err := f.r.call("write"); err != nil {
		return 0, err
	}
	return f.File.WriteAt(b, off)
}

func (f *recordedFile) Sync() error {
	if err := f.r.call("sync"); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *recordedFile) Close() error {
	if err := f.r.call("close"); err != nil {
		return errors.Join(err, f.File.Close())
	}
	return f.File.Close()
}

// TestWriteFileOrder says in which order the calls must come, and what each failure leaves: the old file, or the
// new one, whole.
func TestWriteFileOrder(t *testing.T) {
	want := []string{"open file.tmp", "write", "sync", "close", "rename file.tmp file", "sync directory"}
	for failAt := range len(want) + 1 {
		dir := t.TempDir()
		name := filepath.Join(dir, "file")
		if err := os.WriteFile(name, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
		r := &recorder{FS: durable.OS, failAt: failAt}
		err := durable.WriteFile(r, name, []byte("new"), 0o600)
		if failAt == 0 {
			if err != nil || !slices.Equal(r.calls, want) {
				t.Fatalf("%q, %v", r.calls, err)
			}
			continue
		}
		if !errors.Is(err, errInjected) {
			t.Fatalf("call %d failed, WriteFile says %v", failAt, err)
		}
		content := "old"
		if failAt == len(want) {
			content = "new"
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != content {
			t.Fatalf("call %d failed: %q, %v", failAt, got, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 {
			t.Fatalf("call %d failed: files left behind: %v", failAt, entries)
		}
	}
}

func TestLock(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	a, err := durable.OS.Lock(name, 0o600, true, true)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := durable.OS.Lock(name, 0o600, true, false); !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("a second lock in one process: %v", err)
	}
	if _, err := durable.OS.Lock(name, 0o600, false, false); !errors.Is(err, durable.ErrLocked) {
		t.Fatalf("a shared lock beside an exclusive one: %v", err)
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	b, err := durable.OS.Lock(name, 0o600, false, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Acquire(false, false); err != nil {
		t.Fatalf("two shared locks: %v", err)
	}
	if err := a.Release(); err != nil {
		t.Fatal(err)
	}
	got := make(chan error)
	go func() { got <- a.Acquire(true, true) }()
	select {
	case err := <-got:
		t.Fatalf("an exclusive lock beside a shared one: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	if err := b.Close(); err != nil { // releases
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatal(err)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "file")
	f, err := durable.OS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := durable.OS.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	if _, err := durable.OS.OpenFile(name+"x", os.O_RDONLY, 0); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("hello"), 3); err != nil {
		t.Fatal(err)
	}
	if n, err := f.Size(); err != nil || n != 8 {
		t.Fatal(n, err)
	}
	if err := os.Truncate(name, 2); err != nil { // as another process would
		t.Fatal(err)
	}
	if n, err := f.Size(); err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if f.Name() != name {
		t.Fatal(f.Name())
	}
}
