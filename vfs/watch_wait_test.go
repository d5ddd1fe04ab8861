package vfs_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/wake"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestWatchWait: who waits for a Watcher at rest waits no longer than until the next commit, which may have come since
// the last step, or until the context ends.
func TestWatchWait(t *testing.T) {
	w := wake.New()
	told := w.Dir(t.TempDir())
	if w.Close(); !told {
		t.Skip("this system does not tell of writes: commits are looked for by the clock")
	}
	d := newWide(t, "", &vfs.WatchOptions{MostPoll: time.Minute})
	rest := func() {
		t.Helper()
		for wait := time.Duration(0); wait < time.Minute; {
			var err error
			if wait, err = d.w.Step(); err != nil {
				t.Fatal(err)
			}
		}
	}
	began := time.Now()
	for i := range 6 {
		rest()
		if i%2 == 0 {
			d.update(t, d.c)
		}
		over := make(chan error)
		go func() { over <- d.w.Wait(t.Context(), time.Minute) }()
		if i%2 != 0 {
			d.update(t, d.c)
		}
		if err := <-over; err != nil {
			t.Error(err)
		}
	}
	rest()
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	err := d.w.Wait(ctx, time.Minute)
	if err == nil { // told of the last commit, which was seen without
		err = d.w.Wait(ctx, time.Minute)
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the context ended, and the wait with %v", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("some wait lasted to its end: %v", took)
	}
	d.end(t, 0)
}
