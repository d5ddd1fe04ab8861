package apply_test

import (
	"context"
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TestEarlySyncFails fails the first of several syncs of an output, which is made while the output is still being
// written. A kernel tells of a page that could not be written once, and calls the next sync a success: an error that
// were not kept would be lost.
func TestEarlySyncFails(t *testing.T) {
	const size, pages = 65536, 1400 // more than is written from one early sync to the next
	for _, base := range []bool{false, true} {
		name := map[bool]string{false: "replayed", true: "from a base"}[base]
		t.Run(name, func(t *testing.T) {
			b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
			next := image{pageSize: size}
			for i := range pages {
				next.pages = append(next.pages, filled(size, i+1, 'a'))
			}
			b.commit(next, journal.Ordinary)
			if base {
				b.base(next, false)
			}
			b.close()
			trail := openTrail(t, b.dir)
			defer trail.Close()
			syncs := 0
			disk := &faultFS{FS: durable.OS, at: func(_ int, op string) error {
				if op != "sync" {
					return nil
				}
				if syncs++; syncs == 1 {
					return syscall.EIO
				}
				return nil
			}}
			out := filepath.Join(t.TempDir(), "out.db")
			result, err := apply.Hydrate(context.Background(), trail, out, apply.Latest(), &apply.Options{FS: disk, CacheBytes: 1})
			if !errors.Is(err, syscall.EIO) {
				t.Errorf("got %v, want the error of the early sync", err)
			}
			if base != (result.Base != nil) {
				t.Errorf("restored from the base %v, want one: %v", result.Base, base)
			}
			if syncs < 2 {
				t.Errorf("%d syncs: none was early", syncs)
			}
			if left := names(t, filepath.Dir(out)); len(left) != 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}
