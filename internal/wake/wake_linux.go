package wake

import (
	"context"
	"encoding/binary"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
)

// Waker is told of writes by inotify.
type Waker struct {
	f   *os.File
	buf [4096]byte
}

// most is how many there may be: by default a user has 128 instances of inotify, for all programs.
const most = 16

var wakers atomic.Int32

// New returns a Waker that is told of nothing yet; nil where none can be had.
func New() *Waker {
	if wakers.Add(1) > most {
		wakers.Add(-1)
		return nil
	}
	fd, err := syscall.InotifyInit1(syscall.IN_NONBLOCK | syscall.IN_CLOEXEC)
	if err != nil {
		wakers.Add(-1)
		return nil
	}
	return &Waker{f: os.NewFile(uintptr(fd), "inotify")}
}

// Dir has it told of all writes to files of a directory, from now on; false where that cannot be.
func (w *Waker) Dir(dir string) bool {
	return w.add(dir, syscall.IN_MODIFY|syscall.IN_CREATE|syscall.IN_MOVED_TO)
}

// Next has it told of the next write to a file, and of none after that: who writes much is not to pay for each.
func (w *Waker) Next(file string) bool { return w.add(file, syscall.IN_MODIFY|syscall.IN_ONESHOT) }

func (w *Waker) add(path string, events uint32) bool {
	if w == nil {
		return false
	}
	raw, err := w.f.SyscallConn()
	if err != nil {
		return false
	}
	var failed error
	err = raw.Control(func(fd uintptr) { _, failed = syscall.InotifyAddWatch(int(fd), path, events) })
	return err == nil && failed == nil
}

// Wait returns true when it was told of something since the last call; false after d, or when the context ends.
func (w *Waker) Wait(ctx context.Context, d time.Duration) bool {
	end := time.Now().Add(d)
	if w.f.SetReadDeadline(end) == nil {
		stop := context.AfterFunc(ctx, func() { _ = w.f.SetReadDeadline(time.Unix(1, 0)) })
		defer stop()
		for {
			n, _ := w.f.Read(w.buf[:])
			if told(w.buf[:n]) {
				return true
			}
			if n <= 0 {
				break
			}
		}
	}
	_ = pause.For(ctx, time.Until(end)) // nothing is left of it, unless the watch is broken
	return false
}

// told says that there are events among these that are more than the end of what was asked for.
func told(events []byte) bool {
	for len(events) >= syscall.SizeofInotifyEvent {
		if binary.NativeEndian.Uint32(events[4:]) != syscall.IN_IGNORED {
			return true
		}
		events = events[min(len(events), syscall.SizeofInotifyEvent+int(binary.NativeEndian.Uint32(events[12:]))):]
	}
	return false
}

// Close gives it back. Closing nil does nothing.
func (w *Waker) Close() {
	if w != nil {
		wakers.Add(-1)
		_ = w.f.Close() // it was only waited for
	}
}
