package durable_test

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// keeps is a file system that does not remove files while they are open, as Windows does not.
type keeps struct {
	durable.FS
	asked int
}

func (k *keeps) Remove(name string) error {
	if k.asked++; k.asked == 1 {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrPermission}
	}
	return k.FS.Remove(name)
}

// TestScratch: a scratch file is not to be found while it is used, or, where that cannot be, not afterwards.
func TestScratch(t *testing.T) {
	for _, fsys := range []durable.FS{durable.OS, &keeps{FS: durable.OS}} {
		dir := t.TempDir()
		names := func() int {
			entries, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			return len(entries)
		}
		f, err := durable.Scratch(fsys, dir, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if n, named := names(), fsys != durable.OS || runtime.GOOS == "windows"; (n > 0) != named {
			t.Errorf("%T: %d names while it is open", fsys, n)
		}
		b := make([]byte, 5)
		if _, err := f.WriteAt([]byte("hello"), 3); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(b, 3); err != nil || string(b) != "hello" {
			t.Errorf("%T: %q, %v", fsys, b, err)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
		if n := names(); n > 0 {
			t.Errorf("%T: %d names when it is closed", fsys, n)
		}
	}
	if _, err := durable.Scratch(durable.OS, t.TempDir()+"/none", 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
}
