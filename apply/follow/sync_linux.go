package follow

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData makes a file's content and size durable; its times may be lost.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
