package journal

import (
	"bytes"
	"context"
	"crypto/sha256"

	"github.com/pagetrail/pagetrail/diff"
)

// segmentSummary is what verifySegment found.
type segmentSummary struct {
	blocks int
	last   state
	chain  chainHash // sealed: of the footer block
	bases  []TXID
	tail   bool // ended without a footer or E block
	first  TXID
	sealed bool

	salvaged bool // not the file that the chain of the next is about
}

// leadsTo says whether a segment with that header continues this one.
func (s *segmentSummary) leadsTo(next *fileHeader) bool {
	return next.before == s.last && (!next.sealed() || next.chain == (chainHash{}) || next.chain == s.chain || s.salvaged)
}

// verifySegment reads every byte of a segment: checksums, chain, that each record continues the one before,
// that patches can be decoded, and that the footer is what the blocks say. progress is told of bytes read.
func verifySegment(ctx context.Context, o *openedFile, progress func(n int64)) (*segmentSummary, error) {
	return verifyRecords(ctx, o, progress, nil)
}

// verifyRecords is verifySegment that shows each record, which is valid until the next, to a function if there is one.
func verifyRecords(ctx context.Context, o *openedFile, progress func(n int64), each func(*Record) error) (*segmentSummary, error) {
	v := verifier{o: o, c: recordCursor{ctx: ctx}, progress: progress, each: each}
	v.index.begin(&o.hdr)
	w := &v.c.w
	w.path, w.st, w.known, w.whole = o.path, o.hdr.before, true, true
	w.br = blockReader{r: o.f, off: fileHeaderSize, limit: o.size, sealed: o.hdr.sealed()}
	var stored []byte
	if o.hdr.sealed() {
		var err error
		var end int64
		if stored, end, err = readFooter(o.f, o.size, uint64(o.hdr.first)); err != nil {
			return nil, located(err, o.path, max(o.size-trailerSize, 0), 0)
		}
		f, err := parseFooter(stored, &o.hdr, end)
		if err != nil {
			return nil, located(err, o.path, end, 0)
		}
		v.index.f.merged, v.index.f.chain = f.merged, f.chain // which no block says
		head := make([]byte, fileHeaderSize)
		o.hdr.put(head)
		w.br.limit, w.chained, w.chain = end, true, sha256.Sum256(head)
	}
	if err := v.run(); err != nil {
		return nil, err
	}
	v.sum.first, v.sum.sealed, v.sum.salvaged = o.hdr.first, o.hdr.sealed(), o.hdr.flags&flagSalvaged != 0
	v.sum.last, v.sum.bases = v.index.f.last, v.index.f.bases
	if o.hdr.sealed() {
		if err := v.footer(stored); err != nil {
			return nil, located(err, o.path, w.br.limit, 0)
		}
	}
	return &v.sum, nil
}

// verifier is the state of verifySegment.
type verifier struct {
	o        *openedFile
	c        recordCursor
	index    indexer
	sum      segmentSummary
	progress func(n int64)
	told     int64
	each     func(*Record) error // nil: nobody looks
}

func (v *verifier) run() error {
	w := &v.c.w
	for {
		if err := v.c.ctx.Err(); err != nil {
			return err
		}
		step, err := w.next()
		if err != nil {
			return err
		}
		switch step {
		case stepTx:
			if err := v.block(); err != nil {
				return located(err, v.o.path, w.blkOff, w.blk.cur.txid+1)
			}
		case stepPoint:
			v.index.f.points = append(v.index.f.points, w.point)
		case stepEOF, stepUndecided:
			v.sum.tail = !v.o.hdr.sealed()
			return nil
		case stepEnd:
			if w.br.off != v.o.size {
				return w.fail(w.br.off, because(ErrCorrupt, "%d bytes after the end of the segment", v.o.size-w.br.off))
			}
			return nil
		}
		v.sum.blocks += 1 + int(w.parts.count)
		if v.progress != nil {
			v.progress(w.br.off - v.told)
			v.told = w.br.off
		}
	}
}

func (v *verifier) block() error {
	w := &v.c.w
	v.index.unit(w.unit)
	if w.parts.count > 0 {
		size, err := w.blk.peekPageSize()
		if err != nil {
			return err
		}
		groups := v.c.groups(v.o, w.blk.cur.txid+1, w.parts)
		var failed error
		pages := uint32(0)
		err = groups.each(func(b diff.Body, _ error) bool {
			var n int
			if n, failed = v.index.body(b, size); failed == nil {
				failed = v.c.ctx.Err()
			}
			pages += uint32(n)
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
		if pages != w.parts.pages {
			return because(ErrCorrupt, "%d pages patched in groups that say %d", pages, w.parts.pages)
		}
	}
	var r rawRecord
	var b diff.Body
	for w.blk.left > 0 {
		if err := w.blk.next(&r, &b); err != nil {
			return err
		}
		if err := v.index.record(&r, b); err != nil {
			return err
		}
		if err := v.show(&r, b); err != nil {
			return err
		}
	}
	return nil
}

// show has a record looked at.
func (v *verifier) show(raw *rawRecord, b diff.Body) error {
	if v.each == nil {
		return nil
	}
	r := &v.c.rec
	r.Tx, r.body, r.parts = raw.tx(), b, partReader{parts: raw.parts}
	if raw.parts.count > 0 {
		r.parts = v.c.groups(v.o, r.First(), raw.parts)
	}
	return v.each(r)
}

// footer compares the footer with what the blocks say, and the chain that it carries.
func (v *verifier) footer(stored []byte) error {
	if !bytes.Equal(stored, v.index.encode()) {
		return because(ErrCorrupt, "the index is not what the blocks say")
	}
	br := blockReader{r: v.o.f, off: v.c.w.br.limit, limit: v.o.size - trailerSize, sealed: true}
	var h blockHeader
	if err := br.header(&h); err != nil {
		return notTorn(err)
	}
	own, before, err := br.hash(&h)
	if err != nil {
		return err
	}
	if before != v.c.w.chain {
		return because(ErrDiverged, "footer does not continue the last block (chain)")
	}
	if v.sum.chain = own; v.index.f.merged {
		v.sum.chain = v.index.f.chain
	}
	return nil
}
