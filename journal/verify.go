package journal

import (
	"context"
	"errors"
	"io/fs"

	"github.com/pagetrail/pagetrail/diff"
)

// Summary says what Verify read.
type Summary struct {
	Segments, Bases, Blocks int
	Transactions            uint64
	Bytes                   int64
	// Damage is all that was found wrong, the first of which is the error of Verify.
	Damage []error
}

// Verify reads every byte: blocks, chain, order, indexes against blocks, bases against the transactions whose
// state they are. Patches are decoded (diff.Decoder.Load), not applied: whether they give the sums that records
// carry is what applying them finds. After damage or a gap it goes on with the next file; the error is the first of
// Summary.Damage. A torn tail is not one: Torn reports it; nor is what is pruned meanwhile.
// progress, if not nil, is told how many bytes of how many are done.
func (t *Trail) Verify(ctx context.Context, progress func(done, total int64)) (Summary, error) {
	v, err := t.view()
	if err != nil {
		return Summary{}, err
	}
	r := verifyRun{t: t, v: v, ctx: ctx, progress: progress}
	if err := r.sizes(); err != nil {
		return Summary{}, err
	}
	if err = r.segments(); err == nil {
		err = r.bases()
	}
	if err == nil && v.damage != nil {
		r.found(v.damage)
	}
	if err == nil && len(r.sum.Damage) > 0 {
		err = r.sum.Damage[0]
	}
	return r.sum, err
}

// verifyRun is the state of Verify.
type verifyRun struct {
	t           *Trail
	v           *view
	ctx         context.Context
	progress    func(done, total int64)
	done, total int64
	sum         Summary
}

func (r *verifyRun) step(n int64) {
	r.done += n
	if r.progress != nil {
		r.progress(min(r.done, r.total), r.total)
	}
}

// sizes adds up what there is to read.
func (r *verifyRun) sizes() error {
	entries, err := r.t.fs.ReadDir(r.t.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		_, isSegment := parseName(e.Name(), segmentSuffix)
		_, isBase := parseName(e.Name(), baseSuffix)
		if isSegment || isBase {
			fi, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			r.total += fi.Size()
		}
	}
	return nil
}

// found notes an error that is about the files, once.
func (r *verifyRun) found(err error) {
	for _, e := range r.sum.Damage {
		if e.Error() == err.Error() {
			return
		}
	}
	r.sum.Damage = append(r.sum.Damage, err)
}

func (r *verifyRun) segments() error {
	var prev *segmentSummary
	for _, first := range r.v.names.segments {
		if first > r.v.first {
			break
		}
		s, err := r.segment(first, prev)
		if errors.Is(err, fs.ErrNotExist) && r.pruned(first, func(l *listing) []TXID { return l.segments }) {
			prev = nil
			continue
		}
		if prev != nil && isContent(err) {
			r.found(err) // that it does not follow, perhaps: then it may be whole all the same
			s, err = r.segment(first, nil)
		}
		if err != nil && !isContent(err) {
			return err
		}
		if err != nil {
			r.found(err)
		}
		prev = s
	}
	return nil
}

func (r *verifyRun) segment(first TXID, prev *segmentSummary) (s *segmentSummary, err error) {
	o, err := openHeader(r.t.fs, r.t.dir, segmentName(first), readOnly, segmentMagic, r.t.id.Load(), first)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	if first == r.v.first && !o.hdr.sealed() {
		o.size = min(o.size, r.v.end) // what is beyond is torn, or just being written
	}
	if prev != nil {
		if o.hdr.before.txid != prev.last.txid {
			return nil, &Error{
				Path: o.path, Offset: -1, TXID: prev.last.txid + 1, Hint: hintGap,
				Err: because(ErrGap, "begins with %d, the segment before ends with %d", uint64(first), uint64(prev.last.txid)),
			}
		}
		follows := prev.leadsTo(&o.hdr)
		if !follows && o.hdr.sealed() && !prev.sealed {
			// Both were sealed since the one before was read: its footer is known only now.
			switch again, err := r.again(prev); {
			case errors.Is(err, fs.ErrNotExist) && r.pruned(prev.first, func(l *listing) []TXID { return l.segments }):
				follows = true // nothing is left to say otherwise
			case err != nil:
				return nil, err
			case again.last == prev.last:
				follows = again.leadsTo(&o.hdr)
			}
		}
		if !follows {
			return nil, located(because(ErrDiverged, "does not continue the segment before"), o.path, 0, first)
		}
	}
	start := r.done
	if s, err = verifySegment(r.ctx, o, r.step); err != nil {
		return nil, err
	}
	r.step(o.size - (r.done - start)) // header and footer
	if s.tail && first != r.v.first {
		return nil, located(because(ErrCorrupt, "the segment is not the last and has no end"), o.path, o.size, s.last.txid+1)
	}
	r.sum.Segments++
	r.sum.Blocks += s.blocks
	r.sum.Transactions += uint64(s.last.txid - o.hdr.before.txid)
	r.sum.Bytes += o.size
	return s, nil
}

// pruned says of a file that is gone that there are newer ones and no older ones, as Prune leaves it.
func (r *verifyRun) pruned(id TXID, of func(*listing) []TXID) bool {
	names, err := list(r.t.fs, r.t.dir)
	return err == nil && len(of(names)) > 0 && of(names)[0] > id
}

// again reads a segment that has been read before.
func (r *verifyRun) again(s *segmentSummary) (_ *segmentSummary, err error) {
	o, err := openHeader(r.t.fs, r.t.dir, segmentName(s.first), readOnly, segmentMagic, r.t.id.Load(), s.first)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	return verifySegment(r.ctx, o, nil)
}

func (r *verifyRun) bases() error {
	for _, id := range r.v.names.bases {
		if id > r.v.last.TXID { // what a crash left before the record was written
			continue
		}
		if err := r.base(id); isContent(err) {
			r.found(err)
		} else if errors.Is(err, fs.ErrNotExist) && r.pruned(id, func(l *listing) []TXID { return l.bases }) {
			continue
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (r *verifyRun) base(id TXID) (err error) {
	b, err := openBase(r.t.fs, r.t.dir, id, r.t.id.Load())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	start := r.done
	if err := b.verify(r.ctx, r.step); err != nil {
		return err
	}
	r.step(b.info.Size - (r.done - start))
	r.sum.Bases++
	r.sum.Blocks += b.Blocks()
	r.sum.Bytes += b.info.Size
	return r.t.matchBase(r.v, &b.info, b.path)
}

// Verify reads every byte of the base: blocks, chain, and the sum of the pages.
func (b *BaseReader) Verify(ctx context.Context) error { return b.verify(ctx, func(int64) {}) }

func (b *BaseReader) verify(ctx context.Context, step func(int64)) error {
	var sum diff.Sum
	var buf []byte
	var chain chainHash
	br := blockReader{r: b.r, off: fileHeaderSize, limit: b.info.Size - trailerSize, sealed: true}
	for i := 0; i <= len(b.blocks); i++ { // the last is the footer
		if err := ctx.Err(); err != nil {
			return err
		}
		var h blockHeader
		err := br.header(&h)
		if err == nil {
			var before chainHash
			own := chain
			if own, before, err = br.hash(&h); err == nil && before != chain {
				err = because(ErrDiverged, "block does not continue the one before (chain)")
			}
			chain = own
		}
		if err != nil {
			return located(notTorn(err), b.path, br.off, b.hdr.first)
		}
		br.off += h.size()
		if i == len(b.blocks) {
			break
		}
		first, pages, err := b.ReadBlock(i, buf)
		if err != nil {
			return err
		}
		ps := b.info.PageSize
		for at := 0; at < len(pages); at += ps {
			sum = sum.Add(diff.PageSum(first+uint32(at/ps), pages[at:at+ps]))
		}
		buf = pages
		step(h.size())
	}
	if sum != b.info.Sum {
		return located(because(ErrCorrupt, "pages sum to %v, the header says %v", sum, b.info.Sum), b.path, -1, b.hdr.first)
	}
	return nil
}
