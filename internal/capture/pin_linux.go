package capture

import "golang.org/x/sys/unix"

// See https://man7.org/linux/man-pages/man2/fcntl_locking.2.html.
const (
	ofdSetLock  = unix.F_OFD_SETLK
	ofdWaitLock = unix.F_OFD_SETLKW
)
