//go:build linux || darwin

package capture

import (
	"encoding/binary"
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
	f     *os.File
	zero  bool
	mark  int    // which of the others is locked, 0: none
	value uint32 // of that mark
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

// close gives up the locks. Where waitZero waits, the descriptor is closed when that returns.
func (p *pin) close() (err error) {
	if p.mark != 0 {
		err = p.unlock(p.mark)
		p.mark = 0
	}
	return errors.Join(err, p.f.Close())
}

// do takes, changes or gives up the lock of a mark.
func (p *pin) do(mark int, kind int16, command int) (got bool, err error) {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return false, err
	}
	lock := unix.Flock_t{Type: kind, Start: readLock0 + int64(mark), Len: 1}
	var failed error
	// While it is in Control the descriptor stays open, and is no other file's.
	err = raw.Control(func(fd uintptr) {
		for failed = unix.EINTR; errors.Is(failed, unix.EINTR); {
			failed = unix.FcntlFlock(fd, command, &lock)
		}
	})
	switch {
	case err != nil:
		return false, err
	case errors.Is(failed, unix.EAGAIN), errors.Is(failed, unix.EACCES):
		return false, nil
	case failed != nil:
		return false, &os.PathError{Op: "lock", Path: p.f.Name(), Err: failed}
	}
	return true, nil
}

// lock takes a shared lock on a read mark, never waiting.
func (p *pin) lock(mark int) (bool, error) { return p.do(mark, unix.F_RDLCK, ofdSetLock) }

// waitZero takes a shared lock on mark 0 as soon as it can be had: when a checkpoint is over.
func (p *pin) waitZero() error {
	_, err := p.do(0, unix.F_RDLCK, ofdWaitLock)
	return err
}

// set gives a mark a value, as SQLite's readers do: under an exclusive lock, for which nobody must hold it, and which
// becomes a shared one without a moment in between. A lock that is held already stays when that cannot be had.
func (p *pin) set(mark int, value uint32) (bool, error) {
	if got, err := p.do(mark, unix.F_WRLCK, ofdSetLock); !got || err != nil {
		return false, err
	}
	// Nobody relies on what it reads there without this lock, so it does not matter in how many steps it gets there.
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], value)
	_, err := p.f.WriteAt(b[:], sqlitefile.IndexReadMarks+4*int64(mark))
	_, lerr := p.do(mark, unix.F_RDLCK, ofdSetLock)
	return true, errors.Join(err, lerr)
}

func (p *pin) unlock(mark int) error {
	_, err := p.do(mark, unix.F_UNLCK, ofdSetLock)
	return err
}

// pause lasts some 50 to 100 microseconds. The runtime's timers take a millisecond in a program that does nothing else.
func pause() {
	wait := unix.NsecToTimeval(50_000)
	_, _ = unix.Select(0, nil, nil, nil, &wait)
}
