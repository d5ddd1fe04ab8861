package vfs

import (
	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"
)

// walFile is the WAL of one connection.
type walFile struct {
	*besideFile
	main   *mainFile
	frames frameWriter
}

func (f *walFile) WriteAt(p []byte, off int64) (n int, err error) {
	defer recovered(&err)
	if err := f.main.conn.WriteWAL(p, off); err != nil {
		f.frames.refused()
		return 0, sqlError(err, sqlite3.IOERR)
	}
	return f.frames.WriteAt(p, off)
}

func (f *walFile) ReadAt(p []byte, off int64) (n int, err error) {
	defer recovered(&err)
	if err := f.frames.read(len(p), off); err != nil {
		return 0, err
	}
	return f.File.ReadAt(p, off)
}

func (f *walFile) Size() (int64, error) {
	if err := f.frames.settle(); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *walFile) Sync(flags sqlitevfs.SyncFlag) (err error) {
	defer recovered(&err)
	if err := f.frames.settle(); err != nil {
		return err
	}
	return f.main.conn.SyncWAL(func() error { return f.besideFile.Sync(flags) })
}

func (f *walFile) Truncate(size int64) (err error) {
	defer recovered(&err)
	if err := f.main.conn.TruncateWAL(size); err != nil {
		return sqlError(err, sqlite3.IOERR)
	}
	if err := f.frames.settle(); err != nil {
		return err
	}
	f.frames.forget() // also what could not be written: nobody cuts a WAL that he writes to
	return f.File.Truncate(size)
}

// Close leaves out what waits: its connection died in the middle of a
// transaction, and the place may be another's by now.
func (f *walFile) Close() (err error) {
	defer recovered(&err)
	f.main.wal = nil
	f.main.conn.CloseWAL()
	return f.File.Close()
}
