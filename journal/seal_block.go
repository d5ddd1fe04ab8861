package journal

import "github.com/pagetrail/pagetrail/diff"

// A block of a sealed segment ends when it has so many records or so many bytes of streams. Ten records a
// block give half of what compressing them together gains, a hundred 85 %; more would make finding one
// transaction dearer.
const (
	sealRecords = 100
	sealBytes   = 256 << 10
)

// sealer writes the blocks of a sealed segment.
type sealer struct {
	out     *sealedFile
	head    []byte // the file's header, written last
	done    taken
	index   indexer
	cur     encBlock
	pending sealedRecord // the last record of cur, whose header is not yet in it: only the last has a full sum
	scratch []byte
	bytes   int         // of streams, after which a block ends; 0: sealBytes
	effort  compression // zero: compressDefault
}

// sealedRecord is what a record's header is made of.
type sealedRecord struct {
	before state
	tx     Tx
	parts  parts
	pages  uint32
	body   diff.Body // of which only the lengths count
}

// add adds a record whose groups before the last are written already. A block ends only with a record whose sum is
// known in full, which in a source that is sealed itself is the last of each block.
func (s *sealer) add(r *rawRecord, before state, b diff.Body) error {
	c := &s.cur
	if c.records > 0 && s.pending.tx.SumKnown && s.full(b.Len(), r.parts.count > 0) {
		if err := s.flush(); err != nil {
			return err
		}
	}
	if c.records == 0 {
		c.before = before
		pre := preamble{before: before}
		c.h = pre.append(c.h[:0])
		if r.parts.count == 0 { // else the first group began the unit
			s.index.unit(s.out.off)
		}
	} else {
		s.header(false)
	}
	if err := s.index.record(r, b); err != nil {
		return err
	}
	s.pending = sealedRecord{before: before, tx: r.tx(), parts: r.parts, pages: r.pages, body: b}
	c.p = append(c.p, b.Pages...)
	c.t = append(c.t, b.Tokens...)
	c.l = append(c.l, b.Literals...)
	c.records++
	return nil
}

// full says that a block ends before a record with n bytes of streams.
func (s *sealer) full(n int, large bool) bool {
	c, records, limit := &s.cur, uint32(sealRecords), sealBytes
	if s.bytes > 0 {
		records, limit = blockRecords, s.bytes
	} else if s.pending.tx.TXID%sealRecords == 0 {
		return true
	}
	return c.records >= records || c.size()+n > limit || large
}

// header writes the header of the pending record.
func (s *sealer) header(last bool) {
	p := &s.pending
	if !last {
		p.tx.Origin = Origin{} // recovery looks only at the last record of the trail, which ends its block
	}
	s.cur.h = appendRecord(s.cur.h, p.before, &p.tx, p.parts, p.body, p.pages, last)
}

// flush writes the block under construction.
func (s *sealer) flush() error {
	c := &s.cur
	if c.records == 0 {
		return nil
	}
	s.header(true)
	hdr := blockHeader{kind: blockTx, first: uint64(c.before.txid) + 1, records: c.records, decoded: uint32(c.size())}
	err := s.write(&hdr, [][]byte{c.h, c.p, c.t, c.l})
	c.reset()
	return err
}

// part writes a P block.
func (s *sealer) part(id TXID, b diff.Body, pages uint32) error {
	hdr := blockHeader{kind: blockPart, first: uint64(id), records: pages, decoded: uint32(b.Len())}
	return s.write(&hdr, [][]byte{b.Pages, b.Tokens, b.Literals})
}

func (s *sealer) write(hdr *blockHeader, streams [][]byte) error {
	s.out.begin()
	var used bool
	if s.out.block, used = appendStreams(s.out.block, streams, s.effort.orDefault(), &s.scratch); used {
		hdr.codec = codecZstd
	}
	return s.out.end(hdr)
}

// point writes an N block, after the block under construction: points keep their order among records.
func (s *sealer) point(p Point) error {
	if s.cur.records > 0 && !s.pending.tx.SumKnown {
		return because(ErrCorrupt, "restore point %.80q in the middle of a block", p.Name)
	}
	if err := s.flush(); err != nil {
		return err
	}
	s.index.f.points = append(s.index.f.points, p)
	s.out.begin()
	s.out.block = append(le.AppendUint64(s.out.block, uint64(p.Time)), p.Name...)
	hdr := blockHeader{kind: blockPoint, first: uint64(p.TXID), decoded: uint32(8 + len(p.Name))}
	return s.out.end(&hdr)
}
