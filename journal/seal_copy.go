package journal

import (
	"context"

	"github.com/pagetrail/pagetrail/diff"
)

// all writes the sealed form of src, but for what the sealer took over from an earlier one.
func (s *sealer) all(ctx context.Context, src *openedFile) error {
	c := recordCursor{ctx: ctx}
	if err := c.start(src, src.hdr.first); err != nil {
		return err
	}
	if err := s.blocks(&c, src); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	if len(s.index.f.units) == 0 {
		return located(because(ErrCorrupt, "a segment without a record ends"), src.path, fileHeaderSize, 0)
	}
	if err := s.out.footer(uint64(src.hdr.first), s.index.encode()); err != nil {
		return err
	}
	return s.out.finish(s.head)
}

// blocks goes through the blocks of the source to its end.
func (s *sealer) blocks(c *recordCursor, src *openedFile) error {
	w := &c.w
	w.trust = false
	for {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		step, err := w.next()
		if err != nil {
			return located(notTorn(err), src.path, w.br.off, 0)
		}
		switch step {
		case stepEnd:
			return nil
		case stepEOF, stepUndecided:
			return located(because(ErrCorrupt, "the segment is not the last and has no end"), src.path, w.br.off, w.st.txid+1)
		case stepPoint:
			if s.done.points > 0 {
				s.done.points--
				continue
			}
			if err := s.point(w.point); err != nil {
				return err
			}
		case stepTx:
			if err := s.block(c, src); err != nil {
				return located(err, src.path, w.blkOff, w.blk.cur.txid+1)
			}
		}
	}
}

// block adds the records of a block of the source.
func (s *sealer) block(c *recordCursor, src *openedFile) error {
	w := &c.w
	if w.parts.count > 0 && w.blk.cur.txid >= s.done.last {
		if err := s.groups(c, src); err != nil {
			return err
		}
	}
	var r rawRecord
	var b diff.Body
	for w.blk.left > 0 {
		before := w.blk.cur
		if err := w.blk.next(&r, &b); err != nil {
			return err
		}
		if r.after.txid <= s.done.last {
			continue
		}
		if err := s.add(&r, before, b); err != nil {
			return err
		}
	}
	if w.parts.count > 0 { // a large transaction's block is its own
		return s.flush()
	}
	return nil
}

// groups copies the P blocks before a block.
func (s *sealer) groups(c *recordCursor, src *openedFile) error {
	if err := s.flush(); err != nil {
		return err
	}
	id := c.w.blk.cur.txid + 1
	begin, have := s.out.off, s.done.groups
	if have > 0 {
		begin, s.done.groups = s.done.unit, 0
	}
	s.index.unit(begin)
	size, err := c.w.blk.peekPageSize()
	if err != nil {
		return err
	}
	groups := c.groups(src, id, c.w.parts)
	var failed error
	err = groups.each(func(b diff.Body, _ error) bool {
		var pages int
		if pages, failed = s.index.body(b, size); failed == nil {
			failed = c.ctx.Err()
		}
		if have > 0 {
			have--
		} else if failed == nil {
			failed = s.part(id, b, uint32(pages))
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}
