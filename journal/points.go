package journal

import (
	"errors"
)

// AddPoint names the last committed transaction, after a Flush of what was added. Names may come again: the
// latest counts. A name is 1 to 255 bytes of UTF-8 without control characters.
func (w *Writer) AddPoint(name string, at Time) (Point, error) {
	if err := w.ready(); err != nil {
		return Point{}, err
	}
	if !validName(name) {
		return Point{}, because(ErrRange, "name %.80q of a restore point: want 1 to %d bytes of UTF-8 without control characters", name, maxName)
	}
	if w.prepared {
		return Point{}, &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("restore point on a prepared transaction")}
	}
	if err := w.Flush(); err != nil {
		return Point{}, err
	}
	p := Point{Name: name, TXID: w.last.TXID, Time: at}
	payload := append(le.AppendUint64(nil, uint64(at)), name...)
	hdr := blockHeader{kind: blockPoint, first: uint64(p.TXID), records: w.tail.lastCRC(), decoded: uint32(len(payload))}
	if err := w.append(&hdr, payload); err != nil {
		return Point{}, err
	}
	w.appended()
	w.tail.points = append(w.tail.points, p)
	return p, nil
}

// lastCRC is the header checksum of the last block, 0 when there is none.
func (t *tail) lastCRC() uint32 {
	if t.endOff == 0 {
		return 0
	}
	return le.Uint32(t.endHead[28:])
}

// Rotate ends the tail and begins the next; both are durable when it returns. A tail without a record
// stays as it is.
func (w *Writer) Rotate() error {
	if err := w.ready(); err != nil {
		return err
	}
	if w.prepared {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("rotation with a prepared transaction")}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	t := w.tail
	if t.st.txid < t.hdr.first {
		return nil
	}
	hdr := blockHeader{kind: blockEnd, first: uint64(t.st.txid) + 1}
	if err := w.append(&hdr, nil); err != nil {
		return err
	}
	w.appended()
	t.ended = true
	if err := w.Sync(); err != nil {
		return err
	}
	next, err := w.followTail()
	if err != nil {
		return w.fail(err) // the tail has ended and must not be appended to; a new writer goes on from there
	}
	w.tail = next
	w.adopt()
	return nil
}
