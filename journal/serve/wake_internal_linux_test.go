package serve

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
	w := newWaker(dir)
	if w == nil {
		t.Skip("this machine has no inotify to give")
	}
	written(t, dir)
	if !w.wait(t.Context(), time.Hour) {
		t.Error("a write before the wait was missed")
	}
	for w.wait(t.Context(), time.Millisecond) { // what is left of it
	}
	done := make(chan bool)
	go func() { done <- w.wait(t.Context(), time.Hour) }()
	written(t, dir)
	if !<-done {
		t.Error("a write while waiting was missed")
	}
	for w.wait(t.Context(), time.Millisecond) {
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if w.wait(ctx, time.Hour) {
		t.Error("woken, and nothing was written")
	}
	w.close()

	if w := newWaker(filepath.Join(dir, "nowhere")); w != nil {
		t.Error("a directory that is not there is watched")
	}
	had := wakers.Load()
	var all []*waker
	for range mostWakers + 3 {
		if w := newWaker(dir); w != nil {
			all = append(all, w)
		}
	}
	if len(all) > mostWakers {
		t.Errorf("%d instances of inotify are taken", len(all))
	}
	for _, w := range all {
		w.close()
	}
	if n := wakers.Load(); n != had {
		t.Errorf("%d are counted after all were given back, %d before", n, had)
	}
}

// TestDeafWaker: where writes are not told of, the trail is looked at by the clock again; one wait that ended just
// before a write is no sign of that.
func TestDeafWaker(t *testing.T) {
	dir := t.TempDir()
	p := pacer{o: &Options{PollMin: 1, PollMax: time.Millisecond}, wake: newWaker(dir)}
	defer p.close()
	if p.wake == nil {
		t.Skip("this machine has no inotify to give")
	}
	for range 10 { // now late, now in time
		p.next(t.Context(), time.Now(), true)
		written(t, dir)
		p.next(t.Context(), time.Now(), true)
	}
	for range 10 { // nothing to tell of
		p.next(t.Context(), time.Now(), false)
	}
	if p.wake == nil {
		t.Fatal("a waker that tells of writes is given up")
	}
	for range deafAfter + 1 {
		p.next(t.Context(), time.Now(), true)
	}
	if p.wake != nil {
		t.Error("a waker that tells of nothing is kept")
	}
	p.next(t.Context(), time.Now(), true)
}
