package journal

import (
	"errors"
	"os"
)

// Flush writes all that was added in one write (one more for each large transaction among it). On error
// the trail is cut back to what it was, and what was added is forgotten.
func (w *Writer) Flush() error {
	if err := w.ready(); err != nil {
		return err
	}
	if w.parts.count > 0 {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.pend.txid + 1, Err: errors.New("flush of groups without their record")}
	}
	w.finishBlock()
	if len(w.chunks) == 0 {
		return nil
	}
	w.dirty = true
	for _, c := range w.chunks {
		if _, err := w.tail.f.WriteAt(w.out[c.from:c.to], c.off); err != nil {
			return errors.Join(err, w.Reset())
		}
	}
	w.flushed()
	return nil
}

// flushed takes what was written into the tail's state, as a scan of it would.
func (w *Writer) flushed() {
	t := w.tail
	for _, c := range w.chunks {
		at, off, unit := c.from, c.off, c.unit
		for at < c.to {
			var h blockHeader
			copy(t.endHead[:], w.out[at:])
			h.parseOwn(w.out[at:])
			t.endOff = off
			if h.kind == blockTx {
				t.note(TXID(h.first), unit)
				t.undecCRC = h.sealCRC // right for the last, which is the prepared one if any is
			}
			at += int(h.size())
			off += h.size()
			unit = off
		}
	}
	t.end, t.seen = w.next, w.next
	t.last, t.st = w.last, w.pend
	if w.prepared {
		t.undecTx, t.undecOff = w.last, w.partsOff
		t.undecided = &t.undecTx
		t.last, t.st = w.prior, w.priorState
	}
	if w.added.count > 0 {
		if t.firstTime == 0 {
			t.firstTime = w.added.firstTime
		}
		t.raw += w.added.raw
		t.bases = append(t.bases, w.added.bases...)
	}
	w.forget()
}

// forget drops the buffers of what was added.
func (w *Writer) forget() {
	w.cur.reset()
	w.out, w.chunks = w.out[:0], w.chunks[:0]
	w.parts, w.partsOff = parts{}, 0
	w.added = totals{bases: w.added.bases[:0]}
	w.next = w.tail.end
	if cap(w.out) > keepBuffer {
		w.out = nil
	}
	for _, b := range []*[]byte{&w.cur.h, &w.cur.p, &w.cur.t, &w.cur.l, &w.scratch} {
		if cap(*b) > keepBuffer {
			*b = nil
		}
	}
}

// keepBuffer is the largest buffer that is kept for the next transactions.
const keepBuffer = 4 << 20

// Reset forgets parts and records added but not flushed, and cuts what AddPart wrote.
func (w *Writer) Reset() error {
	if err := w.ready(); err != nil {
		return err
	}
	w.adopt()
	size, err := w.tail.f.Size()
	if err == nil && size > w.tail.end {
		w.dirty = true
		err = w.tail.f.Truncate(w.tail.end)
	}
	if err != nil {
		return w.fail(err)
	}
	w.tail.seen = w.tail.end
	return nil
}

// adopt makes the tail's state the writer's.
func (w *Writer) adopt() {
	t := w.tail
	w.last, w.prepared = t.last, false
	w.pend = t.st
	if t.undecided != nil {
		w.last, w.prepared = *t.undecided, true
		w.pend = stateAfter(t.undecided)
	}
	w.forget()
}

// Sync makes everything flushed durable, other writers' records too; it does nothing when all is known to be. A
// failed sync is final: all later calls fail until the writer is opened anew.
func (w *Writer) Sync() error {
	if err := w.ready(); err != nil {
		return err
	}
	if !w.dirty && w.tail.synced >= w.tail.end {
		return nil
	}
	if err := w.tail.f.Sync(); err != nil {
		return w.fail(err)
	}
	w.tail.synced, w.dirty = w.tail.end, false
	return nil
}

// Beside returns a function that makes durable what was flushed so far, and may be called without the lock, beside other
// calls. The writer takes no notice: what a later Sync does, and what it finds, stays as it was. The lock must be held.
func (w *Writer) Beside() (sync func() error) {
	if w.tail == nil {
		return func() error { return nil }
	}
	f := w.tail.f
	return func() error {
		if err := f.Sync(); !errors.Is(err, os.ErrClosed) { // else it has ended meanwhile, and was synced for that
			return err
		}
		return nil
	}
}

// append writes one finished block at the end.
func (w *Writer) append(hdr *blockHeader, payload []byte) error {
	t := w.tail
	hdr.length, hdr.crc = uint32(len(payload)), crcOf(payload)
	w.out = append(w.out[:0], make([]byte, blockHeaderSize)...)
	hdr.put(w.out)
	w.out = append(w.out, payload...)
	w.dirty = true
	if _, err := t.f.WriteAt(w.out, t.end); err != nil {
		return errors.Join(err, w.Reset())
	}
	return nil
}

// appended takes the block that append wrote into the tail's state.
func (w *Writer) appended() {
	t := w.tail
	t.endOff = t.end
	copy(t.endHead[:], w.out)
	t.end += int64(len(w.out))
	t.seen = t.end
	w.forget()
}

// Confirm marks the prepared last record as committed, flushing it first when it is not yet.
func (w *Writer) Confirm() error {
	if err := w.ready(); err != nil {
		return err
	}
	if !w.prepared {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("confirm of a record that is not prepared")}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	t := w.tail
	hdr := blockHeader{kind: blockCommit, first: uint64(w.last.TXID), records: t.undecCRC}
	if t.synced >= t.end {
		hdr.flags = flagSynced
	}
	off, head := t.endOff, t.endHead
	if err := w.append(&hdr, nil); err != nil {
		return err
	}
	w.appended()
	t.endOff, t.endHead = off, head // the T block's, as a reader keeps it
	t.last, t.st, t.undecided = w.last, w.pend, nil
	t.count(&w.pend, w.last.Kind, w.last.Bytes)
	w.prepared = false
	return nil
}

// Drop removes the prepared last record.
func (w *Writer) Drop() error {
	if err := w.ready(); err != nil {
		return err
	}
	if !w.prepared {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("drop of a record that is not prepared")}
	}
	if err := w.Flush(); err != nil { // the records before it are not to be lost with it
		return err
	}
	return w.truncate(w.tail.undecOff)
}

// truncate cuts the tail at the beginning of a block and reads it anew from there.
func (w *Writer) truncate(off int64) error {
	t := w.tail
	w.dirty = true
	if err := t.f.Truncate(off); err != nil {
		return w.fail(err)
	}
	t.synced, t.onDisk, t.w.synced = min(t.synced, off), min(t.onDisk, off), min(t.w.synced, off)
	if _, err := t.refresh(); err != nil {
		return w.fail(err)
	}
	if err := w.opener().previous(t); err != nil {
		return w.fail(err)
	}
	w.adopt()
	return nil
}
