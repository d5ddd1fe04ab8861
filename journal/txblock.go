package journal

import (
	"github.com/pagetrail/pagetrail/diff"
)

// preambleSize is that of the fixed part of the H stream: sum before 16, time before 8, page size 4,
// page count before 4, synced 8.
const preambleSize = 40

// preamble begins the H stream of a T block, so that each block decodes alone.
type preamble struct {
	before state // txid comes from the block's header
	synced int64 // in a tail: the file was known to be durable up to here when the block was written
}

func (p *preamble) append(h []byte) []byte {
	h = appendSum(h, p.before.sum)
	h = le.AppendUint64(h, uint64(p.before.time))
	h = le.AppendUint32(h, p.before.pageSize)
	h = le.AppendUint32(h, p.before.pageCount)
	return le.AppendUint64(h, uint64(p.synced))
}

func (p *preamble) parse(f *fields, first TXID) error {
	p.before = state{txid: first - 1, sum: f.sum(), time: Time(f.u64()), pageSize: f.u32(), pageCount: f.u32()}
	p.synced = int64(f.u64())
	if ps := p.before.pageSize; ps != 0 && !validPageSize(ps) || ps == 0 && p.before.pageCount != 0 ||
		p.before.pageCount > maxPageCount || p.synced < 0 {
		f.fail()
	}
	if f.bad {
		return because(ErrCorrupt, "block preamble")
	}
	return nil
}

// txBlock steps through the records of a T block.
type txBlock struct {
	streams streamReader
	pre     preamble
	cur     state // after the record last read
	left    int   // records not yet read
	h       fields
	p, t, l fields
	parts   parts // found before the block
	sealed  bool
}

// load begins a block. The payload must stay as it is until the next load.
func (b *txBlock) load(h *blockHeader, payload []byte, found parts, sealed bool) error {
	b.left = 0
	s, err := b.streams.decode(h, payload, 4)
	if err != nil {
		return err
	}
	b.h, b.p, b.t, b.l = fields{b: s[0]}, fields{b: s[1]}, fields{b: s[2]}, fields{b: s[3]}
	if err := b.pre.parse(&b.h, TXID(h.first)); err != nil {
		return err
	}
	if sealed && b.pre.synced != 0 {
		return because(ErrCorrupt, "block preamble")
	}
	b.cur, b.left, b.parts, b.sealed = b.pre.before, int(h.records), found, sealed
	return nil
}

// next reads a record, and its last group. The slices alias the block.
func (b *txBlock) next(r *rawRecord, body *diff.Body) error {
	if err := r.parse(&b.h, &b.cur); err != nil {
		b.left = 0
		return err
	}
	*body = diff.Body{Pages: b.p.bytes(int(r.p)), Tokens: b.t.bytes(int(r.t)), Literals: b.l.bytes(int(r.l))}
	b.left--
	full := !b.sealed || b.left == 0 // where the sum must stand in full, and nowhere else
	switch {
	case b.p.bad || b.t.bad || b.l.bad:
		b.left = 0
		return because(ErrCorrupt, "streams shorter than the records say")
	case r.fullSum != full, r.parts != b.parts, r.folded > 0 && !b.sealed:
		b.left = 0
		return because(ErrCorrupt, "record header")
	case b.left == 0 && len(b.h.b)+len(b.p.b)+len(b.t.b)+len(b.l.b) != 0:
		return because(ErrCorrupt, "streams longer than the records say")
	}
	b.cur = r.after
	return nil
}

// drain reads what is left, so that cur is the state after the block.
func (b *txBlock) drain() error {
	var r rawRecord
	var body diff.Body
	for b.left > 0 {
		if err := b.next(&r, &body); err != nil {
			return err
		}
	}
	return nil
}

// peekPageSize is the page size of the block's next record.
func (b *txBlock) peekPageSize() (uint32, error) {
	var r rawRecord
	f := b.h
	err := r.parse(&f, &b.cur)
	return r.after.pageSize, err
}
