package oflock

import "golang.org/x/sys/unix"

// Open file description locks belong to the descriptor: another descriptor of
// the same file in this process does not drop them when it is closed, as it
// does POSIX locks, with which they otherwise work together.
// See https://man7.org/linux/man-pages/man2/fcntl_locking.2.html.
const (
	setLock = unix.F_OFD_SETLK
	getLock = unix.F_OFD_GETLK
)
