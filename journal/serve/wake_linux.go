package serve

import (
	"context"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
)

// waker is woken at once when a file of a directory is written to, by whatever process of this machine. Looking again
// and again costs more and finds it later: a timer of half a millisecond takes a whole one in a program that does
// nothing else.
type waker struct {
	f   *os.File
	buf [4096]byte
}

// mostWakers is how many there may be: by default a user has 128 instances of inotify, for all programs.
const mostWakers = 16

var wakers atomic.Int32

// newWaker watches a directory; nil where that cannot be.
func newWaker(dir string) *waker {
	if wakers.Add(1) > mostWakers {
		wakers.Add(-1)
		return nil
	}
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		wakers.Add(-1)
		return nil
	}
	w := &waker{f: os.NewFile(uintptr(fd), "inotify")}
	if _, err := syscall.InotifyAddWatch(fd, dir, syscall.IN_MODIFY|syscall.IN_CREATE|syscall.IN_MOVED_TO); err != nil {
		w.close() // an archive's trail is in no directory
		return nil
	}
	return w
}

// wait returns true when something was written since the last call; false after d, or when the context ends.
func (w *waker) wait(ctx context.Context, d time.Duration) bool {
	end := time.Now().Add(d)
	if w.f.SetReadDeadline(end) == nil {
		stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
		n, _ := w.f.Read(w.buf[:])
		stop()
		if n > 0 {
			return true
		}
	}
	_ = pause.For(ctx, time.Until(end)) // nothing is left of it, unless the watch is broken
	return false
}

func (w *waker) close() {
	if w != nil {
		wakers.Add(-1)
		_ = w.f.Close() // it was only waited for
	}
}
