package vfs

import (
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// wrapped forwards every optional interface of a file, since embedding hides
// them. Left out on purpose: a memory mapper, so that all reads and writes are
// seen; batch-atomic writes, which freeze the change counter; and chunk sizes,
// whose interface cannot say that the file beneath has none.
type wrapped struct{ sqlitevfs.File }

var (
	_ sqlitevfs.FileUnwrap             = wrapped{}
	_ sqlitevfs.FileLockState          = wrapped{}
	_ sqlitevfs.FilePersistWAL         = wrapped{}
	_ sqlitevfs.FilePowersafeOverwrite = wrapped{}
	_ sqlitevfs.FileSizeHint           = wrapped{}
	_ sqlitevfs.FileHasMoved           = wrapped{}
	_ sqlitevfs.FileOverwrite          = wrapped{}
	_ sqlitevfs.FilePragma             = wrapped{}
	_ sqlitevfs.FileBusyHandler        = wrapped{}
	_ sqlitevfs.FileSharedMemory       = wrapped{}
)

// Unwrap returns the file beneath.
func (w wrapped) Unwrap() sqlitevfs.File { return w.File }

func (w wrapped) LockState() sqlitevfs.LockLevel { return vfsutil.WrapLockState(w.File) }
func (w wrapped) PersistWAL() bool               { return vfsutil.WrapPersistWAL(w.File) }
func (w wrapped) SetPersistWAL(keep bool)        { vfsutil.WrapSetPersistWAL(w.File, keep) }
func (w wrapped) PowersafeOverwrite() bool       { return vfsutil.WrapPowersafeOverwrite(w.File) }
func (w wrapped) SetPowersafeOverwrite(on bool)  { vfsutil.WrapSetPowersafeOverwrite(w.File, on) }
func (w wrapped) SizeHint(size int64) error      { return vfsutil.WrapSizeHint(w.File, size) }
func (w wrapped) HasMoved() (bool, error)        { return vfsutil.WrapHasMoved(w.File) }
func (w wrapped) Overwrite() error               { return vfsutil.WrapOverwrite(w.File) }
func (w wrapped) BusyHandler(fn func() bool)     { vfsutil.WrapBusyHandler(w.File, fn) }

func (w wrapped) Pragma(name, value string) (string, error) {
	return vfsutil.WrapPragma(w.File, name, value)
}

// SharedMemory returns the instance beneath, untouched: SQLite calls methods
// of it that cannot be wrapped.
func (w wrapped) SharedMemory() sqlitevfs.SharedMemory { return vfsutil.WrapSharedMemory(w.File) }

// SetDB forwards the connection to a file that asks for it.
func (w wrapped) SetDB(db any) {
	if f, ok := w.File.(interface{ SetDB(any) }); ok {
		f.SetDB(db)
	}
}

// DeviceCharacteristics hides what would let SQLite write without a journal.
// See https://sqlite.org/c3ref/c_iocap_atomic.html.
func (w wrapped) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	const atomic = sqlitevfs.IOCAP_BATCH_ATOMIC | sqlitevfs.IOCAP_ATOMIC |
		sqlitevfs.IOCAP_ATOMIC512 | sqlitevfs.IOCAP_ATOMIC1K | sqlitevfs.IOCAP_ATOMIC2K |
		sqlitevfs.IOCAP_ATOMIC4K | sqlitevfs.IOCAP_ATOMIC8K | sqlitevfs.IOCAP_ATOMIC16K |
		sqlitevfs.IOCAP_ATOMIC32K | sqlitevfs.IOCAP_ATOMIC64K
	return w.File.DeviceCharacteristics() &^ atomic
}

// recovered makes a panic of ours an SQLite error: it must not unwind through
// SQLite, which would leave the connection in the middle of something.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = sqlitevfs.SystemError(fmt.Errorf("pagetrail: internal error: %v", p), sqlite3.IOERR)
	}
}

// mainFile is the database file of one connection.
type mainFile struct {
	wrapped
	db           *capture.DB
	conn         *capture.Conn
	vfs          *captureVFS
	path         string
	wal          *walFile      // nil: not open
	checkpointer *checkpointer // nil: none
	remote       *remote       // nil: commits do not wait for anybody
	sqlite       *sqlite3.Conn // the connection that opened it; nil: it did not say
	cause        error         // why this transaction was refused, for Unlock to repeat
	owed         bool          // another database of the same commit was not acknowledged, for this one to tell
}

var (
	_ sqlitevfs.FileSync           = (*mainFile)(nil)
	_ sqlitevfs.FileCommitPhaseTwo = (*mainFile)(nil)
	_ sqlitevfs.FileCheckpoint     = (*mainFile)(nil)
	_ sqlitevfs.FileSharedMemory   = (*mainFile)(nil)
)

// SetDB is told the connection, and forwards it.
func (f *mainFile) SetDB(db any) {
	f.sqlite, _ = db.(*sqlite3.Conn)
	f.wrapped.SetDB(db)
}

// SharedMemory is asked for the instance beneath before every operation on the
// wal-index: before a lock of it is given up above all.
func (f *mainFile) SharedMemory() sqlitevfs.SharedMemory {
	if f.wal != nil {
		f.wal.frames.indexOperation()
	}
	return f.wrapped.SharedMemory()
}

func (f *mainFile) Close() (err error) {
	defer recovered(&err)
	err = f.conn.Close()
	err = errors.Join(err, f.File.Close())
	if f.checkpointer != nil {
		f.checkpointer.release()
	}
	return errors.Join(err, f.db.Release())
}

func (f *mainFile) WriteAt(p []byte, off int64) (n int, err error) {
	defer recovered(&err)
	if err := f.conn.Write(len(p), off); err != nil {
		return 0, f.refused(err)
	}
	return f.File.WriteAt(p, off)
}

// SizeHint lets the file grow before its first write.
// See https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlsizehint.
func (f *mainFile) SizeHint(size int64) (err error) {
	defer recovered(&err)
	if err := f.conn.Begin(); err != nil {
		return f.refused(err)
	}
	return f.wrapped.SizeHint(size)
}

func (f *mainFile) Truncate(size int64) (err error) {
	defer recovered(&err)
	if err := f.conn.Truncate(size); err != nil {
		return f.refused(err)
	}
	return f.File.Truncate(size)
}

// Sync syncs the database and, side by side, the record of the transaction.
func (f *mainFile) Sync(flags sqlitevfs.SyncFlag) (err error) {
	defer recovered(&err)
	if !f.conn.Unsynced() {
		return f.File.Sync(flags)
	}
	return sideBySide(func() error { return f.File.Sync(flags) }, func() error {
		return sqlError(f.conn.Sync(), sqlite3.IOERR)
	})
}

// sideBySide runs both and returns the first one's error, or else the other's.
func sideBySide(first, second func() error) error {
	done := make(chan error, 1)
	go func() {
		var err error
		defer func() { done <- err }()
		defer recovered(&err)
		err = second()
	}()
	err := first()
	if other := <-done; err == nil {
		err = other
	}
	return err
}

func (f *mainFile) Lock(lock sqlitevfs.LockLevel) (err error) {
	defer recovered(&err)
	if err := f.File.Lock(lock); err != nil {
		return err
	}
	switch lock {
	case sqlitevfs.LOCK_SHARED:
		f.cause = nil
	case sqlitevfs.LOCK_RESERVED:
		if err := f.conn.Reserved(); err != nil {
			f.File.Unlock(sqlitevfs.LOCK_SHARED)
			return f.refused(err)
		}
	case sqlitevfs.LOCK_EXCLUSIVE:
		f.conn.Exclusive()
	}
	return nil
}

func (f *mainFile) Unlock(lock sqlitevfs.LockLevel) (err error) {
	defer recovered(&err)
	f.conn.Unlock()
	if err := f.File.Unlock(lock); err != nil || f.cause == nil {
		return err
	}
	const ok sqlite3.ErrorCode = 0
	return sqlitevfs.SystemError(f.cause, ok)
}

// refused makes err one of SQLite's, and keeps it: the driver takes what it says
// beside SQLite's words from the last call before it asks, which after a refusal
// is the one to give up the lock. That one succeeds, and says err again. In WAL
// mode calls come after it that cannot; there the log and PRAGMA
// pagetrail_status tell.
func (f *mainFile) refused(err error) error {
	f.cause = err
	return sqlError(err, sqlite3.IOERR)
}

// SyncSuper tells that all pages are written and the commit is next.
// See https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlsync.
func (f *mainFile) SyncSuper(super string) (err error) {
	defer recovered(&err)
	if err := f.conn.Prepare(super); err != nil {
		return f.refused(err)
	}
	return vfsutil.WrapSyncSuper(f.File, super)
}

// CommitPhaseTwo tells that the transaction is committed.
// See https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlcommitphasetwo.
func (f *mainFile) CommitPhaseTwo() (err error) {
	defer recovered(&err)
	f.conn.Committed()
	if f.remote != nil {
		if err := f.acknowledged(); err != nil {
			return err
		}
	}
	return vfsutil.WrapCommitPhaseTwo(f.File)
}

// CheckpointStart tells that a checkpoint is about to write to the database.
// See https://sqlite.org/c3ref/c_fcntl_begin_atomic_write.html#sqlitefcntlckptstart.
func (f *mainFile) CheckpointStart() {
	f.conn.CheckpointStart()
	vfsutil.WrapCheckpointStart(f.File)
}

func (f *mainFile) CheckpointDone() {
	f.conn.CheckpointDone()
	vfsutil.WrapCheckpointDone(f.File)
}

// besideFile is a rollback journal, a super-journal or a WAL.
type besideFile struct {
	wrapped
	files durable.FS
	dir   string // to be synced with the first sync, "" when that is done
}

// Sync syncs the file and, side by side, the directory in which it is new: a file
// system that keeps a journal of its own then writes that once for both.
func (f *besideFile) Sync(flags sqlitevfs.SyncFlag) error {
	if f.dir == "" {
		return f.File.Sync(flags)
	}
	err := sideBySide(func() error { return f.File.Sync(flags) }, func() error {
		if err := f.files.SyncDir(f.dir); err != nil {
			return sqlitevfs.SystemError(err, sqlite3.IOERR_DIR_FSYNC)
		}
		return nil
	})
	if err == nil {
		f.dir = ""
	}
	return err
}
