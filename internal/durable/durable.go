// Package durable is the one place that touches files for the trail.
//
// Programs lose data less often through what they write than through what they believe written.
// So everything that must survive a power cut goes through here, where the system calls are few
// and listed, and where a simulated disk can stand in for the real one ([FS]).
//
// # System calls
//
// On unix, [OS] makes these and no others:
//
//	OpenFile   open(O_CLOEXEC)
//	ReadAt     pread
//	WriteAt    pwrite
//	Truncate   ftruncate
//	Sync       fsync (macOS: fcntl F_FULLFSYNC, since its fsync stops at the drive's cache)
//	Size       fstat
//	Remove     unlink, or rmdir for a directory
//	Rename     renameat
//	Mkdir      mkdir
//	ReadDir    open, getdents, close
//	Stat       stat
//	SyncDir    open, fsync, close of the directory
//	Lock       open, then flock(LOCK_EX or LOCK_SH, with LOCK_NB when not waiting)
//	Release    flock(LOCK_UN)
//	WriteFile  open(O_CREAT|O_TRUNC) of name.tmp, pwrite, fsync, close, renameat, fsync of the directory
//
// # What is asked of the system
//
// That fsync returns only when the data, and the size of a grown file, survive a power cut; that
// rename replaces the old name in one step; that a directory's fsync makes its renames and
// creations survive. A disk that lies about its cache breaks the first, and nothing here can tell.
// Windows gives no way to sync a directory: there, a rename may be forgotten by a power cut
// (NTFS keeps its own log of names, so either the old or the new file is found, whole).
//
// After a failed Sync the state of the file is unknown: the kernel may have dropped the pages and
// will report success the next time. So a caller must stop writing, and begin anew by reopening.
package durable

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrLocked says that somebody else holds the lock.
var ErrLocked = errors.New("locked by another")

// File is an open file. ReadAt and WriteAt may be called concurrently.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Truncate sets the size; what lies beyond it is gone, what is added reads as zeros.
	Truncate(size int64) error
	// Sync returns nil when data and size are on disk.
	Sync() error
	// Size is the size at the moment of asking, also when another process changed it.
	Size() (int64, error)
	// Name is the name as given to OpenFile.
	Name() string
}

// FS is the file system that the trail lives on; a simulated disk can stand behind it.
// Errors satisfy errors.Is with fs.ErrNotExist and fs.ErrExist as those of package os do.
type FS interface {
	// OpenFile opens a file with flags of package os.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// Rename gives a file another name in one step, replacing what had that name.
	Rename(oldName, newName string) error
	// Mkdir makes a directory whose parent exists.
	Mkdir(name string, perm fs.FileMode) error
	// ReadDir lists a directory by name.
	ReadDir(name string) ([]fs.DirEntry, error)
	// Stat describes the file of that name.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes creations, renames and removals in the directory durable.
	SyncDir(name string) error
	// Lock takes an advisory lock on the file name, creating it: between processes, and between
	// two Locks of one process. wait=false returns ErrLocked when another holds it.
	Lock(name string, perm fs.FileMode, exclusive, wait bool) (Lock, error)
}

// Lock is a held or released advisory lock; the file stays open between Release and Acquire.
// It is not safe for concurrent use. The system releases it when the process ends, however it ends.
type Lock interface {
	// Acquire takes the lock again after Release; wait=false returns ErrLocked when another holds it.
	Acquire(exclusive, wait bool) error
	// Release lets others have it.
	Release() error
	io.Closer
}

// OS is the operating system's file system.
var OS FS = osFS{}

// TempSuffix ends the names of WriteFile's temporary files. One that a crash left behind is
// overwritten by the next WriteFile of the same name, and means nothing to anybody else.
const TempSuffix = ".tmp"

// WriteFile replaces the file name with data: temporary file beside it, synced, renamed, directory
// synced. After a crash there is the old file or the new one, whole. Two callers at the same time
// for the same name must exclude each other by a lock. On error the temporary file is removed.
func WriteFile(fsys FS, name string, data []byte, perm fs.FileMode) error {
	temp := name + TempSuffix
	if err := writeTemp(fsys, temp, data, perm); err != nil {
		_ = fsys.Remove(temp) // the write's error is the one to report
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.Rename(temp, name); err != nil {
		_ = fsys.Remove(temp)
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := fsys.SyncDir(filepath.Dir(name)); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeTemp(fsys FS, temp string, data []byte, perm fs.FileMode) error {
	f, err := fsys.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if _, err := f.WriteAt(data, 0); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	if err := f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	return f.Close()
}
