package crashfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// VFS is the disk as SQLite's. It behaves as the driver's own VFS does on
// Linux, but that it does not sync a journal's directory in its stead.
func (d *Disk) VFS() sqlitevfs.VFS { return sqliteVFS{d} }

type sqliteVFS struct{ d *Disk }

func (v sqliteVFS) Open(name string, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	if name == "" || flags&(sqlitevfs.OPEN_TEMP_DB|sqlitevfs.OPEN_TEMP_JOURNAL|sqlitevfs.OPEN_TRANSIENT_DB|sqlitevfs.OPEN_SUBJOURNAL) != 0 {
		return new(vfsutil.SliceFile), flags | sqlitevfs.OPEN_MEMORY, nil
	}
	flag := os.O_RDWR
	if flags&sqlitevfs.OPEN_READONLY != 0 {
		flag = os.O_RDONLY
	}
	if flags&sqlitevfs.OPEN_CREATE != 0 {
		flag |= os.O_CREATE
	}
	if flags&sqlitevfs.OPEN_EXCLUSIVE != 0 {
		flag |= os.O_EXCL
	}
	n, err := v.d.open(name, flag, 0o644)
	if err != nil {
		return nil, flags, sqlError(err, sqlite3.CANTOPEN)
	}
	f := &sqliteFile{file: file{d: v.d, n: n, name: name, readOnly: flag&os.O_RDWR == 0}, psow: true}
	if rel, err := v.d.rel("open", name); err == nil {
		real, _ := v.d.index(rel + "-shm")
		f.shm = sqlitevfs.NewSharedMemory(real, flags)
	}
	if flags&sqlitevfs.OPEN_MAIN_DB != 0 {
		v.d.mu.Lock()
		v.d.databases = append(v.d.databases, f)
		v.d.mu.Unlock()
	}
	return f, flags, nil
}

func (v sqliteVFS) Delete(name string, syncDir bool) error {
	if err := fileSystem(v).Remove(name); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return sqlitevfs.SystemError(err, sqlite3.IOERR_DELETE_NOENT)
		}
		return sqlError(err, sqlite3.IOERR_DELETE)
	}
	if !syncDir {
		return nil
	}
	return sqlError(fileSystem(v).SyncDir(filepath.Dir(name)), sqlite3.IOERR_DIR_FSYNC)
}

func (v sqliteVFS) Access(name string, _ sqlitevfs.AccessFlag) (bool, error) {
	_, err := fileSystem(v).Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, sqlError(err, sqlite3.IOERR_ACCESS)
}

func (v sqliteVFS) FullPathname(name string) (string, error) {
	if !filepath.IsAbs(name) {
		return "", sqlite3.CANTOPEN_FULLPATH
	}
	return filepath.Clean(name), nil
}

// sqlError gives err the code that SQLite expects for it.
func sqlError[C interface{ ~uint8 | ~uint16 }](err error, code C) error {
	if errors.Is(err, syscall.ENOSPC) {
		return sqlitevfs.SystemError(err, sqlite3.FULL)
	}
	return sqlitevfs.SystemError(err, code)
}

// Databases is the number of database files opened so far, see Abandon.
func (d *Disk) Databases() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.databases)
}

// Abandon gives up the locks of the database files opened after the first so
// many, as the system does with the descriptors of a connection that died and
// was collected: SQLite is not told, and no Close comes.
func (d *Disk) Abandon(after int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, f := range d.databases[after:] {
		if f.shm != nil {
			f.shm.Close()
		}
		f.unlock(sqlitevfs.LOCK_NONE)
	}
}

// sqliteFile is an open database, journal or WAL.
type sqliteFile struct {
	file
	shm     sqlitevfs.SharedMemory
	lock    sqlitevfs.LockLevel
	psow    bool
	keepWAL bool
}

var (
	_ sqlitevfs.FileLockState          = (*sqliteFile)(nil)
	_ sqlitevfs.FilePersistWAL         = (*sqliteFile)(nil)
	_ sqlitevfs.FilePowersafeOverwrite = (*sqliteFile)(nil)
	_ sqlitevfs.FileSizeHint           = (*sqliteFile)(nil)
	_ sqlitevfs.FileSharedMemory       = (*sqliteFile)(nil)
)

func (f *sqliteFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(p, off)
	return n, sqlError(err, sqlite3.IOERR_WRITE)
}

func (f *sqliteFile) Sync(sqlitevfs.SyncFlag) error {
	return sqlError(f.file.Sync(), sqlite3.IOERR_FSYNC)
}

func (f *sqliteFile) SizeHint(size int64) error {
	if f.readOnly {
		return sqlite3.READONLY
	}
	return f.do(Truncate, size, 0, func(Fault) error {
		if size > int64(len(f.n.data)) {
			f.d.truncate(f.n, size)
		}
		return nil
	})
}

func (f *sqliteFile) Close() error {
	if f.shm != nil {
		f.shm.Close()
	}
	f.d.mu.Lock()
	f.unlock(sqlitevfs.LOCK_NONE)
	f.d.mu.Unlock()
	return f.file.Close()
}

func (f *sqliteFile) SharedMemory() sqlitevfs.SharedMemory { return f.shm }
func (f *sqliteFile) LockState() sqlitevfs.LockLevel       { return f.lock }
func (f *sqliteFile) PersistWAL() bool                     { return f.keepWAL }
func (f *sqliteFile) SetPersistWAL(keep bool)              { f.keepWAL = keep }
func (f *sqliteFile) PowersafeOverwrite() bool             { return f.psow }
func (f *sqliteFile) SetPowersafeOverwrite(on bool)        { f.psow = on }
func (f *sqliteFile) SectorSize() int                      { return 4096 }

func (f *sqliteFile) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	c := sqlitevfs.IOCAP_SUBPAGE_READ
	if f.psow {
		c |= sqlitevfs.IOCAP_POWERSAFE_OVERWRITE
	}
	return c
}

// lockState are SQLite's locks on a file.
// See https://sqlite.org/lockingv3.html.
type lockState struct {
	shared   int
	reserved bool
	pending  bool
}

func (f *sqliteFile) Lock(lock sqlitevfs.LockLevel) error {
	err := f.do(Lock, int64(lock), 0, func(Fault) error { return f.acquire(lock) })
	if errors.Is(err, sqlite3.BUSY) {
		return sqlite3.BUSY
	}
	return sqlError(err, sqlite3.IOERR_LOCK)
}

func (f *sqliteFile) acquire(lock sqlitevfs.LockLevel) error {
	l := &f.n.locks
	if f.lock >= lock {
		return nil
	}
	switch lock {
	case sqlitevfs.LOCK_SHARED:
		if l.pending {
			return sqlite3.BUSY
		}
		l.shared++
	case sqlitevfs.LOCK_RESERVED:
		if l.reserved || l.pending {
			return sqlite3.BUSY
		}
		l.reserved = true
	case sqlitevfs.LOCK_EXCLUSIVE:
		if f.lock < sqlitevfs.LOCK_PENDING {
			if l.pending || l.reserved && f.lock < sqlitevfs.LOCK_RESERVED {
				return sqlite3.BUSY
			}
			l.pending = true
			if f.lock == sqlitevfs.LOCK_SHARED {
				l.reserved = true // to play back a hot journal: nobody else may
			}
			f.lock = sqlitevfs.LOCK_PENDING
		}
		if l.shared > 1 {
			return sqlite3.BUSY
		}
	}
	f.lock = lock
	return nil
}

func (f *sqliteFile) Unlock(lock sqlitevfs.LockLevel) error {
	err := f.do(Unlock, int64(lock), 0, func(Fault) error {
		f.unlock(lock)
		return nil
	})
	return sqlError(err, sqlite3.IOERR_UNLOCK)
}

func (f *sqliteFile) unlock(lock sqlitevfs.LockLevel) {
	l := &f.n.locks
	if f.lock <= lock {
		return
	}
	if f.lock >= sqlitevfs.LOCK_RESERVED {
		l.reserved = false
	}
	if f.lock >= sqlitevfs.LOCK_PENDING {
		l.pending, l.reserved = false, false
	}
	if lock == sqlitevfs.LOCK_NONE {
		l.shared--
	}
	f.lock = lock
}

func (f *sqliteFile) CheckReservedLock() (held bool, err error) {
	err = f.do(Lock, 0, 0, func(Fault) error {
		held = f.n.locks.reserved || f.n.locks.pending
		return nil
	})
	return held, sqlError(err, sqlite3.IOERR_CHECKRESERVEDLOCK)
}
