package sqlitefile

// The bytes of a database file that SQLite locks. They lie at 1 GiB, and the
// page they fall into holds no content: small databases have no such page, and
// it is never read or written in large ones.
// See https://www.sqlite.org/fileformat2.html#the_lock_byte_page.
const (
	PendingByte  = 0x40000000      // taken by a writer that waits for readers to leave
	ReservedByte = PendingByte + 1 // taken by the one connection that is going to write
	SharedFirst  = PendingByte + 2 // first byte of the range that readers share
	SharedSize   = 510             // bytes in that range
)

// The bytes of a -shm file that SQLite locks in WAL mode.
// See https://www.sqlite.org/walformat.html#locks.
const (
	WALWriteLock      = 120 // the one writer
	WALCheckpointLock = 121 // the one checkpointer
	WALRecoverLock    = 122 // whoever rebuilds the index
	WALReadLock       = 123 // first of the five locks of readers, one for each read mark
)

// LockPage is the number of the page that holds the lock bytes.
// A page size that SQLite does not allow is a bug of the caller and panics.
func LockPage(pageSize int) uint32 {
	if !ValidPageSize(pageSize) {
		panic("sqlitefile: page size is not one of SQLite's")
	}
	return uint32(PendingByte/pageSize) + 1
}
