package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// A directory does not grow beyond its limit, whoever else writes and removes there; what does not grow is not refused.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	asked := int64(-1)
	q := durable.Quota(durable.OS, dir, 100_000, func(keep int64) { asked = keep })
	open := func(fsys durable.FS, name string) durable.File {
		t.Helper()
		f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	write := func(f durable.File, n int, off int64) error {
		wrote, err := f.WriteAt(make([]byte, n), off)
		if err == nil && wrote != n || err != nil && wrote != 0 {
			t.Errorf("%d of %d bytes written, %v", wrote, n, err)
		}
		return err
	}
	full := func(what string, err error) {
		t.Helper()
		path, ok := errors.AsType[*fs.PathError](err)
		limit, is := errors.AsType[*durable.QuotaError](err)
		if !ok || !is || filepath.Dir(path.Path) != dir || limit.Limit != 100_000 || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%s: %v", what, err)
		}
	}
	a, b := open(q, filepath.Join(dir, "a")), open(q, filepath.Join(dir, "b"))
	if err := write(a, 60_000, 0); err != nil || asked != -1 {
		t.Fatalf("%v, and room was asked for: %d", err, asked)
	}
	if err := errors.Join(write(b, 40_000, 0), write(a, 60_000, 0), a.Truncate(60_000)); err != nil || asked != 50_000 {
		t.Fatalf("%v, room asked for: all but %d", err, asked)
	}
	full("one byte more", write(a, 1, 60_000))
	if asked != 0 {
		t.Errorf("room asked for: all but %d", asked)
	}
	full("longer by a truncate", b.Truncate(40_001))
	full("a new file", write(open(q, filepath.Join(dir, "c")), 10, 0))
	if err := write(open(q, filepath.Join(t.TempDir(), "c")), 10, 0); err != nil {
		t.Errorf("in another directory: %v", err)
	}

	// Room is made through the file, and by somebody else.
	if err := errors.Join(b.Truncate(30_000), write(a, 10_000, 60_000)); err != nil {
		t.Error(err)
	}
	full("and one byte more", write(b, 1, 30_000))
	if err := errors.Join(os.Remove(filepath.Join(dir, "b")), write(a, 30_000, 70_000)); err != nil {
		t.Error(err)
	}

	// What somebody else wrote counts.
	if err := errors.Join(a.Truncate(0), os.Remove(filepath.Join(dir, "c"))); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(write(a, 50_000, 0), write(open(durable.OS, filepath.Join(dir, "other")), 48_000, 0)); err != nil {
		t.Fatal(err)
	}
	full("beside another", write(a, 10_000, 50_000))
	if size, err := a.Size(); size != 50_000 || err != nil {
		t.Errorf("what was refused left %d bytes, %v", size, err)
	}
}
