package capture

// The number of F_OFD_SETLK, from XNU's bsd/sys/fcntl.h.
const ofdSetLock = 90
