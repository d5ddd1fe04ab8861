//go:build linux || darwin

package follow

import (
	"os"

	"golang.org/x/sys/unix"
)

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
