package vfs

import (
	"io"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// frameWriter writes the frames of a commit to a WAL together. SQLite writes a
// frame in two calls, the header and then the page behind it, and a commit frame
// by frame. Here they wait for the commit's last, and all go down with one call,
// which spares every commit as many system calls as it has pages, twice. Until
// that last frame nobody looks at them: they are beyond the end that the
// wal-index tells, which is moved when the commit has been written.
//
// What waits must never be written when another connection may have put its own
// frames in the place: after the transaction was rolled back, that is, of which
// no file is told. But who gives up the right to write, WAL_WRITE_LOCK, does so
// with an operation on the wal-index, and so nothing waits across one of those.
// Nor does anything wait across any other operation on the WAL. Where operations
// on the wal-index are not seen, because it is in memory (locking_mode=EXCLUSIVE)
// or a VFS above keeps hold of it, every frame goes down by itself.
//
// A header also comes alone, when a commit ends by renewing the checksums of
// frames that were written over: then it is the last thing that is written
// before the commit can be seen. Those are headers of frames that this
// connection has written before, so only one beyond all of these waits.
type frameWriter struct {
	f      io.WriterAt
	wait   []byte    // the frames that wait, one after the other, the last of them perhaps without its page
	at     int64     // where they belong
	whole  int       // bytes of wait that are whole frames
	frame  int       // bytes of one of them
	commit bool      // the last of wait is a commit's last
	top    int64     // where the last header is that the connection wrote to this generation
	salt   [2]uint32 // of this generation

	// seen says that there was an operation on the wal-index since the last
	// commit, so that there will be one before the lock is given up.
	seen bool
	// failed is why what waits could not be written. SQLite may count on it still,
	// in a transaction that did not fit its cache, or the transaction may be over.
	failed error
	// overtaken says whether the wal-index has committed the frame of that number
	// written under salt, or one after it, or one of another generation. nil: no
	// frame waits for another.
	overtaken func(frame uint32, salt [2]uint32) (bool, error)
}

// gatherBytes is how much of a large commit waits before it is written.
const gatherBytes = 64 << 10

func (w *frameWriter) WriteAt(p []byte, off int64) (int, error) {
	if err := w.retry(); err != nil {
		return 0, err
	}
	header := len(p) == sqlitefile.FrameHeaderSize
	var frame sqlitefile.Frame
	if header {
		frame = sqlitefile.ParseFrame(p)
	}
	if len(w.wait) > 0 && off == w.at+int64(len(w.wait)) {
		switch {
		case len(w.wait) > w.whole:
			return w.page(p)
		case header && frame.Salt == w.salt:
			w.header(p, off, frame)
			return len(p), nil
		}
	}
	if err := w.settle(); err != nil {
		return 0, err
	}
	if header && frame.Salt != w.salt && frame.Salt != unsalted {
		w.top, w.salt = 0, frame.Salt // somebody began the WAL anew
	}
	if !header || off <= w.top {
		return w.f.WriteAt(p, off)
	}
	w.at = off
	w.header(p, off, frame)
	return len(p), nil
}

// unsalted is what frames have in place of salts and checksum when these are left
// for the commit, because a frame before was written over.
var unsalted [2]uint32

func (w *frameWriter) header(p []byte, off int64, f sqlitefile.Frame) {
	w.wait, w.top, w.commit = append(w.wait, p...), off, f.Commit != 0
}

// page writes the page of the header that came last, and all that waits, unless
// more is to come.
func (w *frameWriter) page(p []byte) (int, error) {
	alone := w.whole == 0
	w.wait = append(w.wait, p...)
	w.whole = len(w.wait)
	if alone {
		w.frame = len(w.wait)
	}
	if w.gathers(len(p)) {
		return len(p), nil
	}
	w.seen = w.seen && !w.commit
	commit := w.commit
	if err := w.settle(); err != nil {
		if alone || commit { // SQLite gives up the frame, or the transaction
			w.forget()
		}
		return 0, err
	}
	return len(p), nil
}

// gathers says whether a frame with a page of so many bytes waits for the next.
// A page may come in parts, around a sync.
func (w *frameWriter) gathers(page int) bool {
	return w.seen && !w.commit && w.overtaken != nil && w.whole < gatherBytes &&
		sqlitefile.ValidPageSize(page) && sqlitefile.ParseFrame(w.wait).Salt != unsalted
}

// settle writes what waits. The connection holds WAL_WRITE_LOCK if anything does;
// what has failed before is left alone.
func (w *frameWriter) settle() error {
	if len(w.wait) == 0 || w.failed != nil {
		return nil
	}
	if _, err := w.f.WriteAt(w.wait, w.at); err != nil {
		if w.failed = err; w.whole == 0 {
			w.forget() // a header alone: SQLite gives the frame up
		}
		return err
	}
	w.forget()
	return nil
}

// read is called before n bytes are read at off.
func (w *frameWriter) read(n int, off int64) error {
	if err := w.settle(); err != nil {
		return err
	}
	if off+int64(n) <= w.at || off >= w.at+int64(len(w.wait)) {
		return nil
	}
	counts, err := w.counts()
	if err == nil && counts {
		err = w.failed
	}
	return err
}

// indexOperation is called before an operation on the wal-index. It cannot
// report an error; whoever writes to the WAL next does, or reads what is not there.
func (w *frameWriter) indexOperation() {
	defer recovered(&w.failed)
	w.seen = true
	_ = w.settle()
}

// retry writes what could not be written before, if that still counts. The
// connection holds WAL_WRITE_LOCK, so what is beyond the committed end belongs to
// nobody else: there this is garbage at worst, where garbage is allowed.
func (w *frameWriter) retry() error {
	if w.failed == nil {
		return nil
	}
	counts, err := w.counts()
	if err != nil || !counts {
		return err
	}
	w.failed = nil
	return w.settle()
}

// counts says whether what could not be written may still be part of a
// transaction. Otherwise, when somebody has committed in its place, it is forgotten.
func (w *frameWriter) counts() (bool, error) {
	if w.failed == nil {
		return false, nil
	}
	n := uint32((w.at-sqlitefile.WALHeaderSize)/int64(w.frame)) + 1
	passed, err := w.overtaken(n, sqlitefile.ParseFrame(w.wait).Salt)
	if err == nil && passed {
		w.forget()
	}
	return !passed, err
}

// refused drops the header that came last: its page will not come.
func (w *frameWriter) refused() { w.wait = w.wait[:w.whole] }

func (w *frameWriter) forget() { w.wait, w.whole, w.failed = w.wait[:0], 0, nil }
