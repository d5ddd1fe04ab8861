package oflock

// The numbers of fcntl's open file description locks, from XNU's bsd/sys/fcntl.h.
const (
	setLock = 90
	getLock = 92
)
