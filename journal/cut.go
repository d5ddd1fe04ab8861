package journal

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/diff"
)

// CutAfter removes the records after id, in the tail only, and keeps the tail as it was in a directory cut-<µs> of the
// trail, which [Open] opens as a trail of its own, see [Trail.Cuts]. ErrRange when id is before the tail. Restore points
// of removed records, and bases, go with them. What was added and not flushed is forgotten. The result is durable when
// it returns.
//
// A crash between the steps leaves the trail as before, or as after, or without some of the records after id, or, when
// the machine loses power while a block of several records is being replaced by a shorter one, cut to the beginning of
// that block. The cut is there before anything is removed, and the next CutAfter of the rest does not make another.
func (w *Writer) CutAfter(id TXID) error {
	_, err := w.cutAfter(id)
	return err
}

// Retract is CutAfter that keeps nothing: for records that are to be had from somebody else.
func (w *Writer) Retract(id TXID) error {
	if _, err := w.parting(id); err != nil {
		return err
	}
	return w.takeOff(id)
}

// parting makes ready for the records after id to be taken off, and returns the position after id.
func (w *Writer) parting(id TXID) (common Position, err error) {
	if err := w.Reset(); err != nil {
		return common, err
	}
	if first := w.tail.hdr.first; id+1 < first {
		return common, &RangeError{Want: id, First: first - 1, Last: w.last.TXID}
	}
	return w.position(min(id, w.last.TXID))
}

// cutAfter is CutAfter, and kept the cut; "" when there is nothing to keep.
func (w *Writer) cutAfter(id TXID) (kept string, err error) {
	common, err := w.parting(id)
	if err != nil {
		return "", err
	}
	if id < w.tail.last.TXID { // an undecided record is no history
		if kept, err = w.keepCut(common); err != nil {
			return "", err
		}
	}
	if err := w.takeOff(id); err != nil || kept == "" {
		return kept, err
	}
	if err := w.moveBases(kept, common.TXID); err != nil {
		return kept, w.fail(err) // finishCut does it when the writer is opened anew
	}
	return kept, nil
}

// keepCut makes the cut, unless a crash came between making it and cutting.
func (w *Writer) keepCut(common Position) (dir string, err error) {
	names, err := list(w.o.FS, w.dir)
	if err != nil {
		return "", err
	}
	at := TimeOf(time.Now())
	for _, a := range asides(w.o.FS, w.dir, names) {
		if a.at == 0 || a.err != nil {
			continue
		}
		at = max(at, a.at+1)
		if *a.id.Common == common && w.keptIn(a.dir) {
			return a.dir, nil
		}
	}
	for { // what a crash left without an identity has its name still
		dir = filepath.Join(w.dir, cutName(at))
		err := w.o.FS.Mkdir(dir, dirMode(w.o.Mode))
		if errors.Is(err, fs.ErrExist) {
			at++
			continue
		}
		if err == nil {
			err = w.o.FS.SyncDir(w.dir)
		}
		if err == nil {
			err = w.keepTail(dir, common)
		}
		if err != nil { // as when the disk is full; the error found is the one to report
			_ = w.o.FS.Remove(filepath.Join(dir, segmentName(w.tail.hdr.first)))
			_ = w.o.FS.Remove(dir)
		}
		return dir, err
	}
}

// keptIn says whether a cut has the end of the tail. What cannot be read of it is not kept.
func (w *Writer) keptIn(dir string) bool {
	t, err := Open(dir, &ReadOptions{FS: w.o.FS, Damaged: true})
	if err != nil {
		return false
	}
	last := w.tail.last
	tx, err := t.Find(context.Background(), last.TXID)
	return errors.Join(err, t.Close()) == nil && tx.Time == last.Time && tx.Sum == last.Sum
}

// finishCut moves bases to the cut that they belong to, when a crash came before that.
func (w *Writer) finishCut(names *listing) error {
	last := &w.tail.last
	for _, a := range asides(w.o.FS, w.dir, names) {
		if a.at != 0 && a.err == nil && a.id.Common.TXID == last.TXID && a.id.Common.Sum == last.Sum {
			return w.moveBases(a.dir, last.TXID)
		}
	}
	return nil
}

// takeOff removes the records after id, of which others have a copy.
func (w *Writer) takeOff(id TXID) error {
	if id >= w.last.TXID {
		return nil
	}
	t := w.tail
	at, err := w.findCut(id)
	if err != nil {
		return err
	}
	if len(at.block) > 0 {
		// The end goes first, so that what a crash leaves of the block is not followed by whole ones.
		if err := w.truncate(at.end); err != nil {
			return err
		}
		if _, err := t.f.WriteAt(at.block, at.off); err != nil {
			_, again := t.f.WriteAt(at.old, at.off) // else the records before id would go with the block
			return w.fail(errors.Join(err, again))
		}
	}
	if err := w.truncate(at.off + int64(len(at.block))); err != nil {
		return err
	}
	if w.last.TXID != id {
		return w.fail(located(because(ErrDiverged, "cut after %d left %d", uint64(id), uint64(w.last.TXID)), t.path, at.off, id))
	}
	return w.Sync()
}

// cutPlace says where to cut: at off, where block then stands instead of old, which ends at end.
type cutPlace struct {
	off, end   int64
	block, old []byte
}

func (w *Writer) findCut(id TXID) (cutPlace, error) {
	t := w.tail
	wk := walker{path: t.path, trust: true}
	wk.br.r, wk.br.off, wk.br.limit = t.f, t.markBefore(id+1), t.end
	for {
		s, err := wk.next()
		if err != nil {
			return cutPlace{}, err
		}
		switch s {
		case stepEOF, stepEnd:
			return cutPlace{}, located(because(ErrCorrupt, "transaction %d is not where it was", uint64(id)+1), t.path, wk.br.off, id)
		case stepTx, stepUndecided:
			first := TXID(wk.hdr.first)
			if first+TXID(wk.hdr.records) <= id+1 {
				continue
			}
			if first > id {
				return cutPlace{off: wk.unit}, nil
			}
			old, err := wk.br.window(wk.blkOff, int(wk.hdr.size()))
			if err != nil {
				return cutPlace{}, err
			}
			at := cutPlace{off: wk.unit, end: wk.br.off, old: slices.Clone(old)}
			at.block, err = shortened(&wk, id)
			return at, err
		}
	}
}

// shortened is the walker's block without the records after id.
func shortened(wk *walker, id TXID) ([]byte, error) {
	pre := wk.blk.pre
	c := encBlock{before: pre.before}
	c.h = pre.append(c.h)
	var r rawRecord
	var b diff.Body
	for wk.blk.left > 0 && wk.blk.cur.txid < id {
		before := wk.blk.cur
		if err := wk.blk.next(&r, &b); err != nil {
			return nil, wk.fail(wk.blkOff, err)
		}
		tx := r.tx()
		c.h = appendRecord(c.h, before, &tx, parts{}, b, r.pages, true)
		c.p = append(c.p, b.Pages...)
		c.t = append(c.t, b.Tokens...)
		c.l = append(c.l, b.Literals...)
		c.records++
	}
	hdr := blockHeader{kind: blockTx, first: uint64(c.before.txid) + 1, records: c.records, decoded: uint32(c.size())}
	var scratch []byte
	out := appendBlock(nil, &hdr, [][]byte{c.h, c.p, c.t, c.l}, &scratch)
	if int64(len(out)) >= wk.hdr.size() {
		return nil, errors.New("journal: a shortened block is not shorter")
	}
	return out, nil
}

// Records yields the records since a TXID, for rebuilding caches: as Trail.Records, lock held. What was
// flushed is seen, an undecided record is not.
func (w *Writer) Records(from TXID) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		if err := w.ready(); err != nil {
			yield(nil, err)
			return
		}
		w.read(yield, from)
	}
}
