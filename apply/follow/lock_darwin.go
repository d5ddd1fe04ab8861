package follow

// The numbers of fcntl's open file description locks, from XNU's bsd/sys/fcntl.h.
const (
	ofdSetLock = 90
	ofdGetLock = 92
)
