package journal

import (
	"errors"
	"io"
)

// step says what a walker met.
type step uint8

const (
	stepEOF       step = iota // nothing more up to the limit
	stepTx                    // a T block, committed: walker.blk has its records
	stepPoint                 // a restore point: walker.point
	stepEnd                   // the segment ends: another file goes on
	stepUndecided             // a prepared T block and then nothing: walker.blk has its record
)

// walker steps through the blocks of a segment and checks that each continues the one before.
type walker struct {
	br      blockReader
	path    string
	st      state // after the last block returned
	known   bool  // st and prev are known: false after a jump into the middle
	blk     txBlock
	inTx    bool        // blk is part of the history: its records come before the next step
	hdr     blockHeader // of the block last returned
	prev    uint32      // its checksum, as a restore point of a tail says which block it follows; 0 at the beginning
	unit    int64       // where what was last returned begins: its first P block, or the block itself
	blkOff  int64       // where the block last returned begins
	parts   parts       // P blocks met since the last T
	ahead   groupsAhead // the P blocks last met
	synced  int64       // up to where the last C block that knows it says the file was durable
	point   Point
	whole   bool      // what is incomplete is corruption, since it was whole once
	trust   bool      // P blocks' payloads are checked by whoever reads them, not here
	chained bool      // check the chain, starting from chain
	chain   chainHash // of the block before
}

// groupsAhead are the P blocks last met. When their T block is not there yet, they are not read again the next time
// the tail is looked at: a large transaction may be minutes in writing.
type groupsAhead struct {
	parts
	from, off int64 // where they begin and end
	last      blockHeader
}

// still says whether the last of them stands where it did.
func (a *groupsAhead) still(br *blockReader) bool {
	b, err := br.window(a.off-a.last.size(), blockHeaderSize)
	var h blockHeader
	return err == nil && len(b) == blockHeaderSize && h.parse(b) == nil && h == a.last && a.off <= br.limit
}

// next steps to the next block that means something by itself. On an error unit is where the last
// good state of the file ends: a tail may be cut there.
func (w *walker) next() (step, error) {
	if w.inTx {
		w.inTx = false
		if err := w.blk.drain(); err != nil {
			return stepEOF, w.fail(w.blkOff, err)
		}
		w.st = w.blk.cur
	}
	w.unit = w.br.off
	w.parts = parts{}
	if w.ahead.count > 0 && w.ahead.from == w.unit && w.ahead.still(&w.br) {
		w.br.off, w.parts = w.ahead.off, w.ahead.parts
	}
	for {
		w.blkOff = w.br.off
		switch err := w.br.header(&w.hdr); {
		case err == io.EOF && w.parts.count > 0:
			return stepEOF, w.fail(w.br.off, because(ErrTorn, "groups without their transaction"))
		case err == io.EOF:
			return stepEOF, nil
		case err != nil:
			return stepEOF, w.fail(w.br.off, err)
		}
		if !w.br.sealed && w.hdr.codec != codecRaw {
			return stepEOF, w.fail(w.br.off, because(ErrCorrupt, "a compressed block in a segment that is not sealed"))
		}
		if err := w.checkChain(); err != nil {
			return stepEOF, w.fail(w.br.off, err)
		}
		if w.hdr.kind == blockPart {
			if err := w.part(); err != nil {
				return stepEOF, w.fail(w.br.off, err)
			}
			continue
		}
		s, err := w.dispatch()
		if err != nil {
			return stepEOF, w.fail(w.br.off, err)
		}
		return s, nil
	}
}

// fail puts the place on an error: the transaction is the one that would have come next.
func (w *walker) fail(off int64, err error) error {
	if w.br.sealed || w.whole { // a sealed file was whole when it got its name
		err = notTorn(err)
	}
	id := TXID(0)
	if w.known {
		id = w.st.txid + 1
	}
	return located(err, w.path, off, id)
}

func (w *walker) checkChain() error {
	if !w.chained {
		return nil
	}
	own, before, err := w.br.hash(&w.hdr)
	if err != nil {
		return err
	}
	if before != w.chain {
		return because(ErrDiverged, "block does not continue the one before (chain)")
	}
	w.chain = own
	return nil
}

// part steps over a P block.
func (w *walker) part() error {
	if !w.trust {
		if err := w.br.checkPayload(&w.hdr); err != nil {
			return err
		}
	}
	w.parts.count++
	if w.hdr.codec == codecRaw && w.hdr.length < w.hdr.decoded || w.hdr.records == 0 || w.parts.count > maxParts ||
		uint64(w.parts.pages)+uint64(w.hdr.records) > maxPageCount || w.known && TXID(w.hdr.first) != w.st.txid+1 {
		return because(ErrCorrupt, "group of transaction %d", w.hdr.first)
	}
	w.parts.pages += w.hdr.records
	w.parts.bytes += int64(w.hdr.decoded)
	w.br.off += w.hdr.size()
	w.ahead = groupsAhead{parts: w.parts, from: w.unit, off: w.br.off, last: w.hdr}
	return nil
}

func (w *walker) dispatch() (step, error) {
	if w.hdr.kind == blockTx {
		return w.tx()
	}
	if w.parts.count > 0 {
		return stepEOF, because(ErrCorrupt, "block %q after groups", w.hdr.kind)
	}
	switch w.hdr.kind {
	case blockPoint:
		return w.named()
	case blockEnd:
		if w.br.sealed || w.hdr.length != 0 || w.hdr.decoded != 0 || w.hdr.records != 0 || w.hdr.codec != codecRaw {
			return stepEOF, because(ErrCorrupt, "end block")
		}
		if w.known && TXID(w.hdr.first) != w.st.txid+1 {
			return stepEOF, because(ErrDiverged, "segment ends before transaction %d", w.hdr.first)
		}
		w.br.off += w.hdr.size()
		return stepEnd, nil
	}
	return stepEOF, because(ErrCorrupt, "block %q is out of place", w.hdr.kind)
}

// tx loads a T block, and steps over the C block of a prepared one.
func (w *walker) tx() (step, error) {
	prepared := w.hdr.flags&flagPrepared != 0
	payload, after, err := w.br.payload(&w.hdr, blockHeaderSize)
	if err != nil {
		return stepEOF, err
	}
	if prepared && (w.br.sealed || w.hdr.records != 1) || w.parts.count > 0 && w.hdr.records != 1 {
		return stepEOF, because(ErrCorrupt, "prepared or large transaction in a block of %d", w.hdr.records)
	}
	if err := w.blk.load(&w.hdr, payload, w.parts, w.br.sealed); err != nil {
		return stepEOF, err
	}
	if w.blk.pre.synced > w.br.off {
		return stepEOF, because(ErrCorrupt, "block preamble")
	}
	if w.known && w.blk.pre.before != w.st {
		return stepEOF, w.blk.mismatch(&w.st)
	}
	w.prev = w.hdr.sealCRC
	end := w.br.off + w.hdr.size()
	if prepared {
		var mark blockHeader
		if len(after) < blockHeaderSize || errors.Is(mark.parse(after), ErrCorrupt) {
			w.br.off = end
			w.st, w.known = w.blk.pre.before, true
			return stepUndecided, nil
		}
		if !mark.commits(&w.hdr) {
			return stepEOF, because(ErrCorrupt, "prepared transaction followed by block %q", mark.kind)
		}
		if mark.flags&flagSynced != 0 {
			w.synced = end
		}
		end += blockHeaderSize
	}
	w.br.off = end
	w.st, w.known, w.inTx = w.blk.pre.before, true, true
	return stepTx, nil
}

// commits says that h is the C block of a prepared T block.
func (h *blockHeader) commits(tx *blockHeader) bool {
	return *h == blockHeader{kind: blockCommit, flags: h.flags, first: tx.first, records: tx.sealCRC, sealCRC: h.sealCRC}
}

// mismatch says in what a block does not continue the state before it.
func (b *txBlock) mismatch(st *state) error {
	b.left = 0
	got := &b.pre.before
	switch {
	case got.txid != st.txid:
		return because(ErrDiverged, "transaction %d follows %d", uint64(got.txid)+1, uint64(st.txid))
	case got.sum != st.sum:
		return because(ErrDiverged, "state sum before is %v, the transaction before left %v", got.sum, st.sum)
	case got.time != st.time:
		return because(ErrDiverged, "time before is %v, the transaction before has %v", got.time, st.time)
	}
	return because(ErrDiverged, "%d pages of %d bytes before, the transaction before left %d of %d",
		got.pageCount, got.pageSize, st.pageCount, st.pageSize)
}

// named reads an N block.
func (w *walker) named() (step, error) {
	payload, _, err := w.br.payload(&w.hdr, 0)
	if err != nil {
		return stepEOF, err
	}
	if len(payload) < 9 || len(payload) > 8+maxName || !validName(string(payload[8:])) || w.hdr.codec != codecRaw ||
		int(w.hdr.decoded) != len(payload) || w.br.sealed && w.hdr.records != 0 || w.known && TXID(w.hdr.first) > w.st.txid {
		return stepEOF, because(ErrCorrupt, "restore point")
	}
	if w.known && !w.br.sealed && w.hdr.records != w.prev {
		return stepEOF, because(ErrCorrupt, "restore point that was not written after the block before it")
	}
	w.prev = w.hdr.sealCRC
	w.point = Point{Name: string(payload[8:]), TXID: TXID(w.hdr.first), Time: Time(le.Uint64(payload))}
	w.br.off += w.hdr.size()
	return stepPoint, nil
}
