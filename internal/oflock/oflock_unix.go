//go:build linux || darwin

package oflock

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Kind is what a lock excludes.
type Kind int16

// The kinds: None is for releasing, and for what Test finds where nobody holds one.
const (
	None      Kind = unix.F_UNLCK
	Shared    Kind = unix.F_RDLCK
	Exclusive Kind = unix.F_WRLCK
)

// Try takes, changes or releases a lock on n bytes at off, never waiting. It is false when another holds a lock
// against it. An exclusive lock wants a file that is open for writing.
func Try(f *os.File, off, n int64, kind Kind) (bool, error) {
	lock := unix.Flock_t{Type: int16(kind), Start: off, Len: n}
	for {
		err := unix.FcntlFlock(f.Fd(), setLock, &lock)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	}
}

// Test says which lock of others would be against an exclusive one.
func Test(f *os.File, off, n int64) (Kind, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: off, Len: n}
	if err := unix.FcntlFlock(f.Fd(), getLock, &lock); err != nil {
		return None, &os.PathError{Op: "test lock", Path: f.Name(), Err: err}
	}
	return Kind(lock.Type), nil
}
