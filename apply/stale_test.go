package apply_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// TestStale has killed processes leave outputs half made: the next Hydrate to the same output removes them, and neither
// those of others nor what only looks like them.
func TestStale(t *testing.T) {
	trail, want := faultTrail(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.db")
	kept := []string{".other.db-0123456789abcdef.tmp", ".out.db-2-0123456789abcdef.tmp", ".out.db-before.tmp", ".out.db-0123456789abcde.tmp"}
	for _, name := range append([]string{".out.db-0123456789abcdef.tmp"}, kept...) {
		write(t, filepath.Join(dir, name), []byte("half"))
	}
	if _, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), nil); err != nil {
		t.Fatal(err)
	}
	got, wantNames := names(t, dir), append(kept, "out.db")
	slices.Sort(got)
	if slices.Sort(wantNames); !slices.Equal(got, wantNames) {
		t.Errorf("the directory holds %q, want %q", got, wantNames)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want.bytes()) {
		t.Errorf("the output is another than it should be (%v)", err)
	}
}

// unlocked is a file system without locks.
type unlocked struct{ durable.FS }

func (u unlocked) Lock(name string, perm fs.FileMode, _, _ bool) (durable.Lock, error) {
	f, err := u.OpenFile(name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	return nil, errors.Join(syscall.ENOLCK, f.Close())
}

// TestStaleUnlocked: where there are no locks outputs can be made, and nothing is taken for stale.
func TestStaleUnlocked(t *testing.T) {
	trail, want := faultTrail(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out.db")
	write(t, filepath.Join(dir, ".out.db-0123456789abcdef.tmp"), []byte("half"))
	if _, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{FS: unlocked{durable.OS}}); err != nil {
		t.Fatal(err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{".out.db-0123456789abcdef.tmp", "out.db"}) {
		t.Errorf("the directory holds %q", got)
	}
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want.bytes()) {
		t.Errorf("the output is another than it should be (%v)", err)
	}
}

// TestNotStale makes an output while another Hydrate is at work on it: neither takes what the other has for stale, also
// where the output is to be one that nobody may write to.
func TestNotStale(t *testing.T) {
	trail, want := faultTrail(t)
	for _, mode := range []fs.FileMode{0o644, 0o444} {
		dir := t.TempDir()
		out := filepath.Join(dir, "out.db")
		var once sync.Once
		disk := &faultFS{FS: durable.OS, at: func(_ int, op string) (err error) {
			if op == "sync" {
				once.Do(func() {
					_, err = apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{Force: true, Mode: mode})
					if got := names(t, dir); len(got) != 2 {
						t.Errorf("the directory holds %q, want an output and one in the making", got)
					}
				})
			}
			return err
		}}
		if _, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{FS: disk, Force: true, Mode: mode}); err != nil {
			t.Fatalf("mode %v: %v", mode, err)
		}
		if got := names(t, dir); !slices.Equal(got, []string{"out.db"}) {
			t.Errorf("the directory holds %q", got)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want.bytes()) {
			t.Errorf("the output is another than it should be (%v)", err)
		}
	}
}
