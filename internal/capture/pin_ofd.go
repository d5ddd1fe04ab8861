//go:build linux || darwin

package capture

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// readLock0 is the lock of read mark 0, as an offset into the -shm file; those of the others follow.
const readLock0 = sqlitefile.WALWriteLock + 3

// pin holds shared locks of SQLite on the read marks of a wal-index, by a descriptor of its own: open file description
// locks are not dropped when another descriptor of this process is closed, and work together with the POSIX locks of
// other programs.
type pin struct {
	f    *os.File
	zero bool
	mark int // which of the others is locked, 0: none
}

// openPin opens the wal-index of the database at path, which some connection keeps in use.
func openPin(path string) (*pin, error) {
	f, err := os.OpenFile(path+"-shm", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return &pin{f: f}, nil
}

func (p *pin) index() (sqlitefile.IndexHeader, bool) {
	return readIndexAs(p.f, sqlitefile.ParseEmptyIndexHeader)
}

func (p *pin) close() error { return p.f.Close() } // its locks go with it

func (p *pin) set(mark int, kind int16) (bool, error) {
	lock := unix.Flock_t{Type: kind, Start: readLock0 + int64(mark), Len: 1}
	for {
		err := unix.FcntlFlock(p.f.Fd(), ofdSetLock, &lock)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EACCES):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, &os.PathError{Op: "lock", Path: p.f.Name(), Err: err}
		}
	}
}

// lock takes a shared lock on a read mark, never waiting.
func (p *pin) lock(mark int) (bool, error) { return p.set(mark, unix.F_RDLCK) }

func (p *pin) unlock(mark int) error {
	_, err := p.set(mark, unix.F_UNLCK)
	return err
}
