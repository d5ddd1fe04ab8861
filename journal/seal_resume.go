package journal

import (
	"context"
	"crypto/sha256"
)

// taken is what a sealer has from one that was stopped before it.
type taken struct {
	last   TXID // the last transaction
	points int  // restore points

	// Of the transaction after last:
	groups uint32 // P blocks that are written
	unit   int64  // where they begin
}

// resumeSealing opens the file to which the sealed form of src is written, and takes over the whole blocks that an
// earlier Seal has written there, however it ended: of a large transaction, which may be minutes of work, each group.
//
// The chain vouches for what is taken over. Each block has the hash of the one before, and the first has that of the
// header that the file is to get, which says what comes before the segment; so bytes that a power cut left of
// something else, or of another history, end it. Nor is the file believed because of that: as one that was written in
// one go, it is compared with the source before it takes its place.
func resumeSealing(ctx context.Context, o *WriterOptions, src *openedFile, path string, chain chainHash) (*sealer, error) {
	hdr := src.hdr
	hdr.flags |= flagSealed
	hdr.chain = chain
	s := &sealer{head: make([]byte, fileHeaderSize)}
	if o.SealFast {
		s.effort = compressFast
	}
	hdr.put(s.head)
	out, err := openSealed(o.FS, path, o.Mode, 0)
	if err != nil {
		return nil, err
	}
	s.out, out.chain, out.effort = out, sha256.Sum256(s.head), s.effort
	s.index.begin(&hdr)
	size, err := out.f.Size()
	if err == nil && size > fileHeaderSize {
		err = s.takeOver(ctx, &hdr, size)
	}
	if err == nil && size > out.off {
		err = out.f.Truncate(out.off)
	}
	if err != nil {
		return nil, joinClose(err, out)
	}
	return s, nil
}

// takeOver reads the blocks of the file up to the first that is not whole, or is not the next.
func (s *sealer) takeOver(ctx context.Context, hdr *fileHeader, size int64) error {
	out := s.out
	v := verifier{o: &openedFile{f: out.f, path: out.path, size: size, hdr: *hdr}, c: recordCursor{ctx: ctx}}
	v.index.begin(hdr)
	w := &v.c.w
	w.path, w.st, w.known, w.chained, w.chain = out.path, hdr.before, true, true, out.chain
	w.br = blockReader{r: out.f, off: fileHeaderSize, limit: size, sealed: true}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		off, chain := w.br.off, w.chain
		step, err := w.next()
		if err != nil || step == stepEOF {
			out.off, out.chain = off, chain
			break
		}
		if step == stepPoint {
			v.index.f.points = append(v.index.f.points, w.point)
		} else if err := v.block(); err != nil {
			return ctx.Err() // right sums, wrong content: nothing of it is taken
		}
	}
	s.index = v.index
	s.done = taken{last: v.index.f.last.txid, points: len(v.index.f.points)}
	a := &w.ahead
	if a.count == 0 || a.from != out.off {
		return nil
	}
	// The walker has met the first groups of a transaction and no more.
	last := blockReader{r: out.f, off: a.off - a.last.size(), limit: a.off, sealed: true}
	own, _, err := last.hash(&a.last)
	if err != nil {
		return err
	}
	s.done.groups, s.done.unit = a.count, a.from
	out.off, out.chain = a.off, own
	return nil
}
