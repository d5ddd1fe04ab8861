package wake

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func written(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "tail"), []byte("something"), 0o600); err != nil {
		t.Error(err)
	}
}

// TestWaker: what is written wakes, before and while one waits, and the end of the context does. Where a waker cannot
// be had there is none, and how many are taken is bounded.
func TestWaker(t *testing.T) {
	dir := t.TempDir()
	w := New()
	if !w.Dir(dir) {
		t.Skip("this machine has no inotify to give")
	}
	written(t, dir)
	if !w.Wait(t.Context(), time.Hour) {
		t.Error("a write before the wait was missed")
	}
	for w.Wait(t.Context(), time.Millisecond) { // what is left of it
	}
	done := make(chan bool)
	go func() { done <- w.Wait(t.Context(), time.Hour) }()
	written(t, dir)
	if !<-done {
		t.Error("a write while waiting was missed")
	}
	for w.Wait(t.Context(), time.Millisecond) {
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w.Wait(ctx, time.Hour) {
		t.Error("woken, and nothing was written")
	}
	w.Close()

	if w = New(); w.Dir(filepath.Join(dir, "nowhere")) {
		t.Error("a directory that is not there is watched")
	}
	w.Close()
	had := wakers.Load()
	var all []*Waker
	for range most + 3 {
		if w := New(); w != nil {
			all = append(all, w)
		}
	}
	if len(all) > most {
		t.Errorf("%d instances of inotify are taken", len(all))
	}
	for _, w := range all {
		w.Close()
	}
	if n := wakers.Load(); n != had {
		t.Errorf("%d are counted after all were given back, %d before", n, had)
	}
}

// TestNext: of the next write to a file it is told, and of the one after that only if that is asked for again.
func TestNext(t *testing.T) {
	dir := t.TempDir()
	written(t, dir)
	w := New()
	defer w.Close()
	for range 3 {
		if !w.Next(filepath.Join(dir, "tail")) {
			t.Skip("this machine has no inotify to give")
		}
		if w.Wait(t.Context(), time.Millisecond) {
			t.Error("told of a write before it was asked for")
		}
		written(t, dir)
		if !w.Wait(t.Context(), time.Hour) {
			t.Error("the next write was missed")
		}
		written(t, dir)
		if w.Wait(t.Context(), time.Millisecond) {
			t.Error("told of two writes")
		}
	}
	var none *Waker
	if none.Close(); none.Next(dir) || none.Dir(dir) {
		t.Error("none is told of something")
	}
}
