package capture

// The numbers of F_OFD_SETLK and F_OFD_SETLKW, from XNU's bsd/sys/fcntl.h.
const (
	ofdSetLock  = 90
	ofdWaitLock = 91
)
