package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// piece is a run of whole blocks in a damaged segment that continue each other.
type piece struct {
	from, to int64
	sealed   bool
	before   state
	after    state
	index    footer
}

// pieces finds the whole blocks of a damaged segment. A file whose header cannot be read may be sealed or not, so both
// are tried.
func pieces(ctx context.Context, o *openedFile, known bool) ([]piece, error) {
	forms := []bool{o.hdr.sealed()}
	if !known {
		forms = []bool{false, true}
	}
	for _, sealed := range forms {
		found, err := piecesOf(ctx, o, sealed)
		if err != nil || len(found) > 0 {
			return found, err
		}
	}
	return nil, nil
}

func piecesOf(ctx context.Context, o *openedFile, sealed bool) (found []piece, err error) {
	last := TXID(0)
	for off := int64(fileHeaderSize); off < o.size; {
		p, end, err := pieceAt(ctx, o, off, sealed)
		if err != nil {
			return nil, err
		}
		if p != nil && p.before.txid >= last {
			found = append(found, *p)
			last = p.after.txid
		}
		if end < 0 {
			break
		}
		if off, err = nextUnit(o, max(end, off+1), sealed, last); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// pieceAt reads blocks from off on, as far as they are whole and continue each other. next is where to search for more,
// -1 when the segment has ended. The piece is nil when there are none.
func pieceAt(ctx context.Context, o *openedFile, off int64, sealed bool) (p *piece, next int64, err error) {
	src := *o
	src.hdr.flags = 0
	if sealed {
		src.hdr.flags = flagSealed
	}
	v := verifier{o: &src, c: recordCursor{ctx: ctx}}
	v.index.over = true // where pages are is not asked here
	w := &v.c.w
	w.path, w.whole = o.path, true
	w.br = blockReader{r: o.f, off: off, limit: o.size, sealed: sealed}
	for {
		if ctx.Err() != nil {
			return nil, 0, context.Cause(ctx)
		}
		step, err := w.next()
		if err == nil && step == stepTx {
			if p == nil {
				p = &piece{from: off, sealed: sealed, before: w.blk.pre.before}
				v.index.begin(&fileHeader{first: p.before.txid + 1, before: p.before})
			}
			w.known = true
			// A block that fails here has been entered in the index in part, so what comes before is kept aside.
			kept := v.index.f
			if err = v.block(); err != nil {
				v.index.f = kept
			} else {
				p.to, p.after = w.br.off, v.index.f.last
			}
		}
		switch {
		case err != nil && !isContent(err):
			return nil, 0, err
		case err != nil:
			return p.finish(&v.index.f), max(w.unit, w.blkOff) + 1, nil
		case step == stepPoint && p != nil:
			p.to = w.br.off
			v.index.f.points = append(v.index.f.points, w.point)
		case step == stepEnd, step == stepEOF, step == stepUndecided:
			return p.finish(&v.index.f), -1, nil
		}
	}
}

// finish is the piece with what it holds; nil when not one block was whole.
func (p *piece) finish(f *footer) *piece {
	if p == nil || p.to == 0 {
		return nil
	}
	p.index = *f
	p.index.units = nil
	return p
}

// nextUnit searches from off on, at every byte, for a whole T or P block of a transaction after last; the file's size
// when there is none.
func nextUnit(o *openedFile, off int64, sealed bool, last TXID) (int64, error) {
	br := blockReader{r: o.f, limit: o.size}
	probe := blockReader{r: o.f, limit: o.size, sealed: sealed}
	budget := maxLookahead*(o.size-off) + readChunk
	for off+blockHeaderSize <= o.size {
		b, err := br.window(off, readChunk)
		if err != nil {
			return 0, err
		}
		if len(b) < blockHeaderSize {
			break
		}
		at := 0
		for ; at+blockHeaderSize <= len(b); at++ {
			if b[at] != blockTx && b[at] != blockPart || b[at+1] > codecZstd || b[at+3] != 0 {
				continue
			}
			var h blockHeader
			if h.parse(b[at:]) != nil || TXID(h.first) <= last || off+int64(at)+h.size() > o.size {
				continue
			}
			if budget -= h.size(); budget < 0 {
				return o.size, nil
			}
			probe.off = off + int64(at)
			switch err := probe.checkPayload(&h); {
			case err == nil:
				return probe.off, nil
			case !isDamage(err):
				return 0, err
			}
		}
		off += int64(at)
	}
	return o.size, nil
}

// header is that of the segment that a piece becomes.
func (p *piece) header(id *Identity, timeline Timeline) fileHeader {
	return fileHeader{
		magic: segmentMagic, flags: flagSealed | flagSalvaged, database: id.Database, timeline: timeline,
		first: p.before.txid + 1, before: p.before,
	}
}

// salvage writes a piece of the file src as a sealed segment with the suffix of those that are to be put in place.
func (r *repair) salvage(ctx context.Context, src string, p *piece, hdr fileHeader) (err error) {
	f, err := r.fs.OpenFile(filepath.Join(r.dir, src), readOnly, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	o := &openedFile{f: f, path: filepath.Join(r.dir, src), hdr: hdr}
	o.hdr.flags = 0
	if p.sealed {
		o.hdr.flags = flagSealed
	}
	name := filepath.Join(r.dir, salvagedName(hdr.first))
	out, err := createSealed(r.fs, name+durable.TempSuffix, r.o.Mode)
	if err != nil {
		return err
	}
	if err = salvageInto(ctx, o, p, hdr, out); err == nil {
		err = r.checkSalvaged(ctx, out.path, hdr)
	}
	if err == nil {
		err = r.fs.Rename(out.path, name)
	}
	if err != nil {
		out.abort()
		return err
	}
	return r.fs.SyncDir(r.dir)
}

func salvageInto(ctx context.Context, o *openedFile, p *piece, hdr fileHeader, out *sealedFile) error {
	head := make([]byte, fileHeaderSize)
	hdr.put(head)
	out.chain = sha256.Sum256(head)
	s := sealer{out: out}
	s.index.begin(&hdr)
	c := recordCursor{ctx: ctx}
	w := &c.w
	w.path, w.whole, w.st, w.known = o.path, true, p.before, true
	w.br = blockReader{r: o.f, off: p.from, limit: p.to, sealed: p.sealed}
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		step, err := w.next()
		switch {
		case err != nil:
			return err
		case step == stepPoint:
			err = s.point(w.point)
		case step == stepTx:
			err = s.block(&c, o)
		default:
			if err = s.flush(); err == nil {
				err = out.footer(uint64(hdr.first), s.index.encode())
			}
			return errors.Join(err, out.finish(head))
		}
		if err != nil {
			return err
		}
	}
}

// checkSalvaged reads what was written.
func (r *repair) checkSalvaged(ctx context.Context, path string, hdr fileHeader) (err error) {
	o, err := openHeader(r.fs, r.dir, filepath.Base(path), readOnly, segmentMagic, &r.id, hdr.first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	_, err = verifySegment(ctx, o, nil)
	return err
}

// end makes the last whole block of a damaged tail its end, so that a program that has it open goes on in the next.
func (r *repair) end(name string, p *piece) (err error) {
	f, err := r.fs.OpenFile(filepath.Join(r.dir, name), readWrite, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, blockHeaderSize)
	hdr := blockHeader{kind: blockEnd, first: uint64(p.after.txid) + 1, crc: crcOf(nil)}
	hdr.put(b)
	if err := f.Truncate(p.to); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, p.to); err != nil {
		return err
	}
	return f.Sync()
}

// cut takes what follows the last whole block off a tail.
func (r *repair) cut(name string, to int64) (err error) {
	f, err := r.fs.OpenFile(filepath.Join(r.dir, name), readWrite, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate(to); err != nil {
		return err
	}
	return f.Sync()
}
