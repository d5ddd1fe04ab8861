package journal

import (
	"context"
	"errors"
	"slices"
	"sort"

	"github.com/pagetrail/pagetrail/diff"
)

// tail is what is known of the segment that still grows, or of one that grew until a moment ago.
// Its reader may be another process than its writer, so it only ever looks at the file.
type tail struct {
	*openedFile
	w    walker
	rec  rawRecord // scratch of scan, in one place so that it costs no allocation
	body diff.Body

	seen      int64 // size of the file when last looked at
	end       int64 // where the next block goes: after all that is whole, an undecided block included
	prev      *Tx   // the last record of the segment before, when it is known
	last      Tx    // the last committed record: TXID first-1 when there is none
	st        state // after last
	undecided *Tx   // a prepared record at the end: undecTx, or nil
	undecTx   Tx
	undecOff  int64 // where it begins, its P blocks included
	undecCRC  uint32
	ended     bool  // an E block: another file goes on
	synced    int64 // known to have been durable up to here, and SQLite's transactions with it
	onDisk    int64 // known to have been durable up to here by itself: SQLite may have lost the last transaction
	points    []Point
	bases     []TXID // records of Kind Base
	marks     []mark
	firstTime Time   // of the first record
	raw       int64  // bytes of the streams of all records
	folded    uint64 // transactions folded into others, in a sealed segment
	torn      *Error // what is beyond end, when that is not a block
	damaged   bool   // take a damaged tail for what is whole of it
	damage    error  // what is wrong beyond end, if damaged allows it

	endOff  int64 // the last block before end, to notice a tail cut and written again
	endHead [blockHeaderSize]byte
	head    [blockHeaderSize]byte // scratch of sameEnd
}

// mark remembers where a block begins, so that a reader need not walk from the start.
type mark struct {
	first TXID
	off   int64
}

// markEvery is the distance of marks in bytes. The last marksAtEnd blocks have one each, since what is asked for
// again and again is what came last.
const (
	markEvery  = 64 << 10
	marksAtEnd = 64
)

// rewind forgets all but the header.
func (t *tail) rewind() {
	before := t.hdr.before
	t.st = before
	t.last = Tx{
		TXID: before.txid, Time: before.time, PageSize: int(before.pageSize), PageCount: before.pageCount,
		Sum: before.sum, SumKnown: true, SumCut: before.sum.Cut(),
	}
	if t.prev != nil && t.prev.TXID == before.txid {
		t.last = *t.prev
	}
	t.seen, t.end = -1, fileHeaderSize
	t.undecided, t.ended, t.synced, t.torn, t.damage, t.endOff = nil, false, 0, nil, nil, 0
	t.onDisk, t.w.synced = 0, 0
	t.points, t.marks = t.points[:0], t.marks[:0]
	t.firstTime, t.raw, t.bases = 0, 0, t.bases[:0]
	t.w.ahead = groupsAhead{}
}

// refresh reads what was appended since the last time. changed says that something is different.
func (t *tail) refresh() (changed bool, err error) {
	if t.hdr.sealed() {
		return false, nil // the next file is not there yet: a crash came between, or the trail is made of batches
	}
	size, err := t.f.Size()
	if err != nil {
		return false, err
	}
	same, err := t.sameEnd(size)
	if err != nil {
		return false, err
	}
	if same && size == t.seen && t.torn == nil && t.damage == nil {
		return false, nil
	}
	if same {
		if err = t.scan(size); err == nil {
			return true, nil
		}
	}
	// The tail was cut by its writer below what was read here, or is damaged: only the whole tells.
	t.rewind()
	err = t.scan(size)
	if err != nil && t.damaged && isContent(err) {
		t.damage, t.seen = err, size
		return true, nil
	}
	if err != nil {
		t.rewind()
	}
	return true, err
}

// sameEnd says whether the last block read still stands where it was.
func (t *tail) sameEnd(size int64) (bool, error) {
	if t.seen < 0 || size < t.end {
		return false, nil
	}
	if t.endOff == 0 {
		return true, nil
	}
	if n, err := t.f.ReadAt(t.head[:], t.endOff); n < len(t.head) {
		if isEOF(err) {
			return false, nil
		}
		return false, err
	}
	return t.head == t.endHead, nil
}

// scan reads blocks from end on. Whatever may be a crash's doing ends it without an error.
func (t *tail) scan(size int64) error {
	from := t.end
	if t.undecided != nil {
		from = t.undecOff
	}
	t.undecided, t.torn, t.damage = nil, nil, nil
	w := &t.w
	w.br.r, w.br.off, w.br.limit = t.f, from, size
	w.br.buf, w.br.bufOff = w.br.buf[:0], 0
	w.path, w.st, w.known, w.inTx, w.prev = t.path, t.st, true, false, t.lastCRC()
	for {
		s, err := w.next()
		if err != nil {
			return t.broken(err, size)
		}
		if s == stepEOF {
			break
		}
		if err := t.take(s); err != nil {
			return err
		}
		if t.ended {
			break
		}
	}
	t.seen = size
	return nil
}

// note remembers where a block, or the first P block before it, begins.
func (t *tail) note(first TXID, off int64) {
	t.marks = append(t.marks, mark{first, off})
	if i := len(t.marks) - 1 - marksAtEnd; i > 0 && t.marks[i].off-t.marks[i-1].off < markEvery {
		t.marks = slices.Delete(t.marks, i, i+1)
	}
}

// take notes what the walker met.
func (t *tail) take(s step) error {
	w := &t.w
	t.end, t.endOff = w.br.off, w.blkOff
	switch s {
	case stepTx:
		t.note(w.blk.cur.txid+1, w.unit)
		t.synced, t.onDisk = max(t.synced, w.blk.pre.synced), max(t.onDisk, w.synced)
		if err := t.lastRecord(true); err != nil {
			return err
		}
		t.last, t.st = t.rec.tx(), t.rec.after
	case stepUndecided:
		t.synced = max(t.synced, w.blk.pre.synced)
		if err := t.lastRecord(false); err != nil {
			return err
		}
		t.undecTx, t.undecOff, t.undecCRC = t.rec.tx(), w.unit, w.hdr.sealCRC
		t.undecided = &t.undecTx
	case stepPoint:
		t.points = append(t.points, w.point)
	case stepEnd:
		t.ended = true
	}
	return t.noteEnd()
}

// noteEnd keeps the header of the last block: of an undecided one and of a marked one that of the T
// block, which is all that tells two of them apart.
func (t *tail) noteEnd() error {
	h, err := t.w.br.window(t.endOff, blockHeaderSize)
	if err == nil {
		copy(t.endHead[:], h)
	}
	return err
}

// lastRecord reads the records of the loaded block to the last into t.rec, whose strings alias the block. Those
// that are committed count.
func (t *tail) lastRecord(committed bool) error {
	w := &t.w
	for w.blk.left > 0 {
		if err := w.blk.next(&t.rec, &t.body); err != nil {
			return w.fail(w.blkOff, err)
		}
		if committed {
			t.count(&t.rec.after, t.rec.kind, t.rec.parts.bytes+int64(t.body.Len()))
		}
	}
	return nil
}

// broken decides what an error of the walker means: an end that a crash can leave is noted in torn, and
// the tail ends before it; anything else is returned.
//
// A crash leaves the last write cut short, or, when the machine lost power, anything at all in what
// was never synced: holes, old bytes, and whole blocks behind them. So bytes that are no block are
// corruption only when they were once known to be durable, and every T block says up to where the
// file was when it was written, as C blocks do by a flag. FORMAT.md has the rule.
func (t *tail) broken(err error, size int64) error {
	// A whole block that is not the one that belongs there can be a crash's
	// doing too: an older one, cut off before, where the cut or what was
	// written over it was lost.
	whole := errors.Is(err, ErrCorrupt) || errors.Is(err, ErrDiverged)
	if !whole && !errors.Is(err, errHeader) && !errors.Is(err, errPayload) && !errors.Is(err, ErrTorn) {
		return err
	}
	e, _ := errors.AsType[*Error](err)
	if e == nil || e.Offset < t.w.unit {
		return err
	}
	durableTo := max(t.synced, t.onDisk)
	if durableTo <= e.Offset {
		later, lerr := laterSynced(t.f, e.Offset+1, size, t.st.txid)
		if lerr != nil {
			return lerr
		}
		durableTo = max(durableTo, later)
	}
	if durableTo > e.Offset {
		if errors.Is(err, ErrTorn) {
			e.Err = because(ErrCorrupt, "cut short: %v", e.Err)
		}
		e.Hint = hintCorrupt
		return e
	}
	t.torn = &Error{
		Path: t.path, Offset: t.w.unit, TXID: t.st.txid + 1, Hint: hintTorn,
		Err: because(ErrTorn, "%d bytes after the last whole block (%v)", size-t.w.unit, e.Err),
	}
	t.seen = size
	return nil
}

// markBefore is where to begin to walk so as to meet the record id.
func (t *tail) markBefore(id TXID) (off int64) {
	i := sort.Search(len(t.marks), func(i int) bool { return t.marks[i].first > id })
	if i == 0 {
		return fileHeaderSize
	}
	return t.marks[i-1].off
}

func (t *tail) close() error {
	if t == nil || t.openedFile == nil {
		return nil
	}
	return t.f.Close()
}

// loadSealed reads what a sealed segment's footer says, and its last record.
func (t *tail) loadSealed() error {
	f, _, err := loadFooter(t.openedFile)
	if err != nil {
		return err
	}
	t.st, t.ended, t.points, t.firstTime, t.raw, t.end = f.last, true, f.points, f.firstTime, f.raw, t.size
	t.bases, t.folded = f.bases, f.folded
	for r, err := range recordsFrom(context.Background(), t.openedFile, f.last.txid) {
		if err != nil {
			return err
		}
		t.last = r.Tx
	}
	return nil
}

// count takes a committed record into the totals.
func (t *tail) count(after *state, kind Kind, bytes int64) {
	if t.firstTime == 0 {
		t.firstTime = after.time
	}
	if kind == Base {
		t.bases = append(t.bases, after.txid)
	}
	t.raw += bytes
}
