package journal

import (
	"errors"
	"iter"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
)

// CutAfter removes the records after id, in the tail only, keeping the removed bytes in <trail>/cut-<time>;
// ErrRange when id is before the tail. Restore points of removed records go with them. What was added and
// not flushed is forgotten. The result is durable when it returns.
//
// A crash between the steps leaves the trail as before, or as after, or, when the machine loses power while
// a block of several records is being replaced by a shorter one, cut to the beginning of that block.
func (w *Writer) CutAfter(id TXID) error {
	if err := w.Reset(); err != nil {
		return err
	}
	t := w.tail
	if id+1 < t.hdr.first {
		return &RangeError{Want: id, First: t.hdr.first - 1, Last: w.last.TXID}
	}
	if id >= w.last.TXID {
		return nil
	}
	at, err := w.findCut(id)
	if err != nil {
		return err
	}
	if err := w.keepAside(at.off, t.end); err != nil {
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
