package vfs

import (
	"io"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
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
		f.frames.forget() // SQLite gives the frame up
		return 0, sqlError(err, sqlite3.IOERR)
	}
	return f.frames.WriteAt(p, off)
}

func (f *walFile) ReadAt(p []byte, off int64) (n int, err error) {
	if err := f.frames.settle(); err != nil {
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
	return f.File.Truncate(size)
}

// Close leaves out a header whose page never came: its connection died in
// between, and the place may be another's by now.
func (f *walFile) Close() (err error) {
	defer recovered(&err)
	f.main.conn.CloseWAL()
	return f.File.Close()
}

// frameWriter writes frames to a WAL whole. SQLite writes a frame in two calls,
// the header and then the page behind it. Here the header waits for its page and
// both go down together, which spares every commit as many system calls as it
// has pages. What the file holds after the second call is the same, and before
// it a header without its page is as good as none.
//
// A header also comes alone, when a commit ends by renewing the checksums of
// frames that were written over: then it is the last thing that is written
// before the commit can be seen. Those are headers of frames that this
// connection has written before, so only one beyond all of these waits. Whatever
// else is done to the file first writes what is waiting.
type frameWriter struct {
	f     io.WriterAt
	frame []byte // the header that waits, empty: none
	at    int64  // where it belongs
	top   int64  // where the last header is that the connection wrote to this generation
}

func (w *frameWriter) WriteAt(p []byte, off int64) (int, error) {
	if len(w.frame) > 0 && off == w.at+sqlitefile.FrameHeaderSize {
		w.frame = append(w.frame, p...)
		if err := w.settle(); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	if err := w.settle(); err != nil {
		return 0, err
	}
	if off == 0 {
		w.top = 0 // a new generation
	}
	if len(p) == sqlitefile.FrameHeaderSize && off > w.top {
		w.frame, w.at, w.top = append(w.frame, p...), off, off
		return len(p), nil
	}
	return w.f.WriteAt(p, off)
}

// settle writes what waits.
func (w *frameWriter) settle() error {
	if len(w.frame) == 0 {
		return nil
	}
	_, err := w.f.WriteAt(w.frame, w.at)
	w.forget()
	return err
}

func (w *frameWriter) forget() { w.frame = w.frame[:0] }
