//go:build linux || darwin

package follow

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lockKind is what a lock excludes.
type lockKind int16

const (
	unlocked  lockKind = unix.F_UNLCK
	shared    lockKind = unix.F_RDLCK
	exclusive lockKind = unix.F_WRLCK
)

// tryLock takes, changes or releases a lock on n bytes at off, never waiting.
// It is false when another holds a lock against it.
func tryLock(f *os.File, off, n int64, kind lockKind) (bool, error) {
	lock := unix.Flock_t{Type: int16(kind), Start: off, Len: n}
	for {
		err := unix.FcntlFlock(f.Fd(), ofdSetLock, &lock)
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

// testLock says which lock of others would be against an exclusive one.
func testLock(f *os.File, off, n int64) (lockKind, error) {
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: off, Len: n}
	if err := unix.FcntlFlock(f.Fd(), ofdGetLock, &lock); err != nil {
		return unlocked, &os.PathError{Op: "test lock", Path: f.Name(), Err: err}
	}
	return lockKind(lock.Type), nil
}

// mapShared maps n bytes of f at off, shared with the other processes.
func mapShared(f *os.File, off int64, n int) ([]byte, error) {
	b, err := unix.Mmap(int(f.Fd()), off, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return b, nil
}

func unmap(b []byte) error { return unix.Munmap(b) }

// noFollow keeps a symbolic link planted beside the replica from being written
// through.
const noFollow = unix.O_NOFOLLOW
