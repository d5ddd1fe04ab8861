package serve

import (
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
