//go:build unix && !solaris && !aix

package durable

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockFile uses flock, not fcntl: a lock belongs to the open file, so two opens in one process
// exclude each other, and closing another descriptor of the same file releases nothing.
// On NFS, Linux turns flock into a byte-range lock of the whole file, which serves as well between
// machines as the server's lock daemon does.
func lockFile(f *os.File, exclusive, wait bool) error {
	how := unix.LOCK_SH
	if exclusive {
		how = unix.LOCK_EX
	}
	if !wait {
		how |= unix.LOCK_NB
	}
	return flock(f, how)
}

func unlockFile(f *os.File) error { return flock(f, unix.LOCK_UN) }

func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		switch err {
		case unix.EINTR: // a signal while waiting
			continue
		case unix.EWOULDBLOCK:
			return ErrLocked
		}
		return err
	}
}

func fileSize(f *os.File) (int64, error) {
	var st unix.Stat_t
	for {
		err := unix.Fstat(int(f.Fd()), &st)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "fstat", Path: f.Name(), Err: err}
		}
		return st.Size, nil
	}
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	if err := d.Sync(); err != nil {
		_ = d.Close() // the sync's error is the one to report
		return err
	}
	return d.Close()
}
