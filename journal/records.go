package journal

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
)

// Records yields the transactions from TXID from on, in order, up to the one that Last reports when the
// iteration begins; from 0 means 1. The Record is valid until the next step. It follows over the ends of
// segments, and is not disturbed by a process that appends, rotates or seals meanwhile. One block and
// one group are in memory at a time.
//
// from = Last+1 yields nothing. Below the first that is held, or beyond Last+1, it yields a *RangeError;
// where a file is missing, ErrGap; where a file does not continue the one before, ErrDiverged.
func (t *Trail) Records(ctx context.Context, from TXID) iter.Seq2[*Record, error] {
	return t.RecordsTo(ctx, from, MaxTXID)
}

// RecordsTo is Records that ends with the record that holds TXID to, if there are so many. Whoever knows where to end
// should say so: what lies beyond is then not fetched ahead.
func (t *Trail) RecordsTo(ctx context.Context, from, to TXID) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		v, err := t.view()
		if err != nil {
			yield(nil, err)
			return
		}
		for r, err := range t.records(ctx, v, from, min(to, v.last.TXID)) {
			if !yield(r, err) {
				return
			}
		}
	}
}

func (t *Trail) records(ctx context.Context, v *view, from, to TXID) iter.Seq2[*Record, error] {
	return func(yield func(*Record, error) bool) {
		from = max(from, 1)
		if e := v.held(from); from > to+1 || from <= to && from < e.First {
			yield(nil, e)
			return
		}
		c := recordCursor{t: t, v: v, ctx: ctx, yield: yield}
		if err := c.run(from, to); err != nil && err != errStopped {
			yield(nil, err)
		}
	}
}

// recordCursor walks over segments for Records. Its buffers serve all of them.
type recordCursor struct {
	t     *Trail
	v     *view
	ctx   context.Context
	yield func(*Record, error) bool

	w        walker
	rec      Record
	partBuf  blockReader
	partsOut streamReader
}

func (c *recordCursor) run(from, to TXID) error {
	if c.t.reading != nil {
		c.t.reading(to)
		defer c.t.reading(0)
	}
	for from <= to {
		o, err := c.open(from)
		if err != nil {
			return err
		}
		err = c.segment(o, from, to)
		if cerr := o.f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return err
		}
		if c.w.st.txid < from {
			return c.gap(from)
		}
		from = c.w.st.txid + 1
	}
	return nil
}

// open finds the segment that holds the transaction.
func (c *recordCursor) open(id TXID) (*openedFile, error) {
	i := c.v.names.segmentOf(id)
	if i < 0 {
		return nil, c.gap(id)
	}
	first := c.v.names.segments[i]
	if first > c.v.first || first < c.v.first && id >= c.v.first {
		first = c.v.first // the names are older or newer than the tail
	}
	o, err := openHeader(c.t.fs, c.t.dir, segmentName(first), readOnly, segmentMagic, c.t.id.Load(), first)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, c.gap(id)
	}
	if err != nil {
		return nil, err
	}
	if c.w.known && first == id && o.hdr.before != c.w.st {
		err := because(ErrDiverged, "the segment does not continue transaction %d", uint64(c.w.st.txid))
		return nil, errors.Join(located(err, o.path, 0, first), o.f.Close())
	}
	return o, nil
}

func (c *recordCursor) gap(id TXID) error {
	return &Error{
		Path: filepath.Join(c.t.dir, segmentName(id)), Offset: -1, TXID: id, Hint: hintGap,
		Err: because(ErrGap, "no segment holds transaction %d", uint64(id)),
	}
}

// segment yields the records of one file.
func (c *recordCursor) segment(o *openedFile, from, to TXID) error {
	if err := c.start(o, from); err != nil {
		return err
	}
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		s, err := c.w.next()
		if err != nil {
			return err
		}
		switch s {
		case stepTx:
			if err := c.block(o, from, to); err != nil {
				return err
			}
			if c.w.blk.cur.txid >= to {
				c.w.st, c.w.inTx = c.w.blk.cur, false
				return nil
			}
		case stepEOF, stepEnd, stepUndecided:
			return nil
		}
	}
}

// start puts the walker at a block at or before the record wanted.
func (c *recordCursor) start(o *openedFile, from TXID) error {
	w := &c.w
	w.path, w.trust, w.whole, w.inTx = o.path, true, true, false
	w.br.r, w.br.limit, w.br.sealed = o.f, o.size, o.hdr.sealed()
	w.br.buf, w.br.bufOff = w.br.buf[:0], 0
	w.br.off, w.st, w.known, w.prev = fileHeaderSize, o.hdr.before, true, 0
	if o.hdr.sealed() {
		return c.startSealed(o, from)
	}
	if c.v != nil && o.hdr.first == c.v.first {
		i, _ := slices.BinarySearchFunc(c.v.marks, from, func(m mark, id TXID) int {
			if m.first <= id {
				return -1
			}
			return 1
		})
		if i > 0 {
			w.br.off, w.known = c.v.marks[i-1].off, false
		}
	}
	return nil
}

// block yields the records of a block that are asked for.
func (c *recordCursor) block(o *openedFile, from, to TXID) error {
	var raw rawRecord
	w, r := &c.w, &c.rec
	for w.blk.left > 0 && w.blk.cur.txid < to {
		if err := w.blk.next(&raw, &r.body); err != nil {
			return w.fail(w.blkOff, err)
		}
		if raw.after.txid < from {
			continue
		}
		r.Tx = raw.tx()
		r.parts = partReader{parts: raw.parts}
		if raw.parts.count > 0 {
			r.parts = c.groups(o, r.First(), raw.parts)
		}
		if !c.yield(r, nil) {
			return errStopped
		}
	}
	return nil
}

// groups reads the P blocks before the walker's block.
func (c *recordCursor) groups(o *openedFile, id TXID, ps parts) partReader {
	return partReader{
		parts: ps, r: o.f, path: o.path, id: id, off: c.w.unit, end: c.w.blkOff,
		sealed: c.w.br.sealed, shared: &c.partBuf, streams: &c.partsOut,
	}
}

// startSealed puts the walker at the unit that holds a transaction.
func (c *recordCursor) startSealed(o *openedFile, from TXID) error {
	f, end, err := loadFooter(o)
	if err != nil {
		return err
	}
	i := f.unitOf(from)
	if i == len(f.units) { // beyond the end: nothing to read
		c.w.br.limit, c.w.br.off, c.w.st = end, end, f.last
		return nil
	}
	c.w.br.limit, c.w.br.off = end, f.units[i].off
	c.w.known = i == 0
	return nil
}
