package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// create makes a trail. Its identity comes last: a directory without one is a creation that a crash
// interrupted, and is made anew.
func create(o *WriterOptions, dir string) (Identity, error) {
	err := o.FS.Mkdir(dir, dirMode(o.Mode))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return Identity{}, err
	}
	if err := o.FS.SyncDir(filepath.Dir(dir)); err != nil {
		return Identity{}, err
	}
	lock, err := o.FS.Lock(filepath.Join(dir, lockName), o.Mode, true, true)
	if err != nil {
		return Identity{}, err
	}
	id, err := createLocked(o, dir)
	return id, errors.Join(err, lock.Close())
}

func createLocked(o *WriterOptions, dir string) (Identity, error) {
	id, err := readIdentity(o.FS, dir)
	if !errors.Is(err, ErrNotFound) {
		return id, err // another process was faster
	}
	names, err := list(o.FS, dir)
	if err != nil {
		return Identity{}, err
	}
	id = Identity{Format: formatVersion, Database: o.Database, Timeline: 1}
	var st state
	if o.Begin != nil {
		id, st = o.Begin.Identity, stateAfter(&o.Begin.After)
	}
	if len(names.segments) > 1 || len(names.segments) == 1 && names.segments[0] != st.txid+1 {
		return Identity{}, &Error{Path: dir, Offset: -1, Err: because(ErrCorrupt, "segments without an identity file"), Hint: hintCorrupt}
	}
	path := filepath.Join(dir, segmentName(st.txid+1))
	if fi, err := o.FS.Stat(path); err == nil && fi.Size() > fileHeaderSize {
		return Identity{}, &Error{Path: path, Offset: -1, Err: because(ErrCorrupt, "a segment with content and no identity file"), Hint: hintCorrupt}
	}
	if id.Database == (DatabaseID{}) {
		id.Database = NewDatabaseID()
	}
	if err := writeTail(o, dir, &id, st); err != nil {
		return Identity{}, err
	}
	data, err := id.Encode()
	if err != nil {
		return Identity{}, err
	}
	return id, durable.WriteFile(o.FS, filepath.Join(dir, identityName), data, o.Mode)
}

// writeTail makes the segment that goes on from st, empty and durable.
func writeTail(o *WriterOptions, dir string, id *Identity, st state) error {
	hdr := fileHeader{magic: segmentMagic, database: id.Database, timeline: id.Timeline, first: st.txid + 1, before: st}
	buf := make([]byte, fileHeaderSize)
	hdr.put(buf)
	return durable.WriteFile(o.FS, filepath.Join(dir, segmentName(hdr.first)), buf, o.Mode)
}

// Lock excludes other writers, in this process and others, then reads what they appended since; moved says
// they did (or that this is the first Lock). When nobody did it costs the lock, an fstat and a read of 32
// bytes. A torn tail is cut here, and what is cut is kept in a file torn-<µs>. On error the lock is not held.
func (w *Writer) Lock() (moved bool, err error) { return w.acquire(true) }

// TryLock is Lock that does not wait for other writers: ErrLocked while one has the lock.
func (w *Writer) TryLock() (moved bool, err error) { return w.acquire(false) }

func (w *Writer) acquire(wait bool) (moved bool, err error) {
	if w.held {
		panic("journal: Lock of a Writer that is locked")
	}
	if w.failed != nil {
		return false, &Error{Path: w.dir, Offset: -1, Err: because(ErrFailed, "%v", w.failed), Hint: hintReopen}
	}
	if w.lock == nil {
		w.lock, err = w.o.FS.Lock(filepath.Join(w.dir, lockName), w.o.Mode, true, wait)
	} else {
		err = w.lock.Acquire(true, wait)
	}
	if err != nil {
		return false, err
	}
	w.held = true
	moved, err = w.look()
	if err != nil {
		w.tail = errTail(w.tail)
		w.fresh = true
		w.Unlock()
	}
	return moved, err
}

// errTail closes a tail that could not be read: the next Lock opens it anew.
func errTail(t *tail) *tail {
	_ = t.close() // the reason for giving it up is reported already
	return nil
}

// Unlock lets other writers in. What was not flushed is forgotten.
func (w *Writer) Unlock() {
	if !w.held {
		return
	}
	if w.failed == nil && w.tail != nil && (w.cur.records > 0 || len(w.chunks) > 0 || w.parts.count > 0) {
		_ = w.Reset() // its failure makes the writer fail, which the next Lock reports
	}
	w.held = false
	if err := w.lock.Release(); err != nil && w.failed == nil {
		w.failed = err
	}
}

// look brings the writer up to date with the files. The steps are those of recovery:
//
//  1. Open the last segment, or read on in the one that is open. A missing one is ErrGap.
//  2. While it has ended, go to the next. If that is not there, a crash came between ending the one and
//     making the other: make it.
//  3. If bytes that are no block follow the last whole one, a crash came into a write: keep them aside, cut.
//  4. If a base is beyond the last record, a crash came between making it and its record: remember it, so
//     that it is removed before another transaction takes that number. Or it came between cutting its record
//     off and moving it to the cut: move it.
//  5. If there is a branch of the timeline that is still the trail's, a crash came into a Fork: finish it.
func (w *Writer) look() (moved bool, err error) {
	var fork *Position
	if w.tail == nil {
		if fork, err = w.forked(); err != nil {
			return false, err
		}
		if err := w.openTail(); err != nil {
			return false, err
		}
		moved = true
	} else if moved, err = w.tail.refresh(); err != nil {
		return false, err
	}
	if !moved {
		return false, nil
	}
	if !w.fresh {
		if fork, err = w.forked(); err != nil { // the tail may have been cut, and gone on in another timeline
			return false, err
		}
	}
	if w.tail, err = w.followTail(); err != nil {
		return false, err
	}
	if w.tail.torn != nil {
		if err := w.repair(); err != nil {
			return false, err
		}
	}
	if err := w.opener().previous(w.tail); err != nil {
		return false, err
	}
	if w.fresh {
		if err := w.findStaleBase(); err != nil {
			return false, err
		}
		w.fresh = false
	}
	w.adopt()
	if fork != nil {
		return true, w.finishFork(*fork)
	}
	return true, nil
}

func (w *Writer) openTail() error {
	names, err := list(w.o.FS, w.dir)
	if err != nil {
		return err
	}
	w.tail, err = w.opener().last(names)
	return err
}

// followTail goes to the last segment, and makes it when the one before has ended.
func (w *Writer) followTail() (*tail, error) {
	for {
		t, err := w.opener().follow(w.tail)
		if err != nil || !t.ended {
			return t, err
		}
		w.tail = t
		if err := writeTail(&w.o, w.dir, &w.identity, t.st); err != nil {
			return nil, err
		}
	}
}

// repair cuts what a crash left behind the last whole block. Whole groups of a transaction that was never recorded
// are not kept aside: they may be as large as the database, on a disk that they filled.
func (w *Writer) repair() error {
	t := w.tail
	size, err := t.f.Size()
	if err != nil {
		return err
	}
	from := t.end
	if a := &t.w.ahead; a.count > 0 && a.from == t.end && a.still(&t.w.br) {
		from = a.off
	}
	if from < size {
		if err := w.keepTorn(from, size); err != nil {
			return err
		}
	}
	w.dirty = true
	if err := t.f.Truncate(t.end); err != nil {
		return err
	}
	t.w.ahead = groupsAhead{}
	t.torn, t.seen = nil, t.end
	return nil
}

// keepTorn copies bytes of the tail to a new file torn-<µs> and syncs it.
func (w *Writer) keepTorn(from, to int64) error {
	at := time.Now().UnixMicro()
	var f durable.File
	var err error
	for {
		f, err = w.o.FS.OpenFile(filepath.Join(w.dir, fmt.Sprintf("%s%d", tornPrefix, at)), os.O_RDWR|os.O_CREATE|os.O_EXCL, w.o.Mode)
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		at++
	}
	if err != nil {
		return err
	}
	err = copyRange(f, w.tail.f, from, to)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return w.o.FS.SyncDir(w.dir)
}

// copyRange copies bytes [from, to) of src to the beginning of dst.
func copyRange(dst, src durable.File, from, to int64) error {
	buf := make([]byte, min(to-from, readChunk))
	for off := from; off < to; {
		n, err := src.ReadAt(buf[:min(int64(len(buf)), to-off)], off)
		if n == 0 {
			if isEOF(err) {
				return nil
			}
			return err
		}
		if _, err := dst.WriteAt(buf[:n], off-from); err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}

// findStaleBase looks for a base beyond the last record that belongs to no cut.
func (w *Writer) findStaleBase() error {
	names, err := list(w.o.FS, w.dir)
	if err != nil {
		return err
	}
	w.staleBase = 0
	last := w.tail.st.txid
	if w.tail.undecided != nil {
		last++
	}
	if n := len(names.bases); n > 0 && names.bases[n-1] > last {
		w.staleBase = names.bases[n-1]
		return w.finishCut(names)
	}
	return nil
}

// clearStaleBase removes a base that a crash left, when its number is about to be used for something else.
func (w *Writer) clearStaleBase(tx *Tx) error {
	if w.staleBase == 0 {
		return nil
	}
	id := w.staleBase
	if w.pend.txid+1 < id {
		return nil
	}
	w.staleBase = 0
	if tx.Kind == Base && w.pend.txid+1 == id {
		return nil
	}
	if err := w.o.FS.Remove(filepath.Join(w.dir, baseName(id))); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.staleBase = id
		return err
	}
	return w.o.FS.SyncDir(w.dir)
}
