package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// Seal compresses the segments that are no longer the tail: each is written anew beside the old file,
// read back and compared with it record by record, and only then renamed over it. It needs no writer lock, may
// run beside writers and readers, in any process, and can be stopped at any point: the old file stays until
// the new one is whole. It returns how many it sealed. ErrLocked when another Seal or Prune is running. Of o,
// FS and Mode count.
//
// On Windows a segment that somebody has open cannot be replaced: the error is returned, and the next Seal
// tries again.
func Seal(ctx context.Context, dir string, o *WriterOptions) (sealed int, err error) {
	opt := o.filled()
	id, lock, names, err := maintain(&opt, dir)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	for _, name := range names.other {
		if strings.HasSuffix(name, sealingSuffix) { // of a Seal that did not finish
			if err := opt.FS.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return 0, err
			}
		}
	}
	var chain chainHash
	for i, first := range names.segments {
		if i == len(names.segments)-1 { // the tail
			break
		}
		did, hash, err := sealOne(ctx, &opt, dir, &id, first, chain)
		if err != nil {
			return sealed, err
		}
		if did {
			sealed++
		}
		chain = hash
	}
	return sealed, nil
}

// maintain takes the lock that sealing and pruning share, and reads the directory.
func maintain(o *WriterOptions, dir string) (Identity, durable.Lock, *listing, error) {
	id, err := readIdentity(o.FS, dir)
	if err != nil {
		return id, nil, nil, err
	}
	lock, err := o.FS.Lock(filepath.Join(dir, sealLockName), o.Mode, true, false)
	if err != nil {
		return id, nil, nil, err
	}
	names, err := list(o.FS, dir)
	if err != nil {
		return id, nil, nil, errors.Join(err, lock.Close())
	}
	return id, lock, names, nil
}

// sealOne seals a segment, unless it is. chain is the hash of the last block of the segment before; hash is
// that of this one.
func sealOne(ctx context.Context, o *WriterOptions, dir string, id *Identity, first TXID, chain chainHash) (did bool, hash chainHash, err error) {
	src, err := openHeader(o.FS, dir, segmentName(first), readOnly, segmentMagic, id, first)
	if err != nil {
		return false, hash, err
	}
	if src.hdr.sealed() {
		hash, err = lastHash(src)
		return false, hash, errors.Join(err, src.f.Close())
	}
	temp := filepath.Join(dir, strings.TrimSuffix(segmentName(first), segmentSuffix)+sealingSuffix)
	out, err := createSealed(o.FS, temp, o.Mode)
	if err != nil {
		return false, hash, joinClose(err, src.f)
	}
	if err = sealInto(ctx, src, out, chain); err == nil {
		err = checkSealed(ctx, o.FS, dir, temp, id, src)
	}
	err = joinClose(err, src.f) // Windows does not replace a file that is open
	if err == nil {
		err = o.FS.Rename(temp, src.path)
	}
	if err != nil {
		out.abort()
		return false, hash, err
	}
	return true, out.chain, o.FS.SyncDir(dir)
}

// lastHash is the hash of a sealed segment's footer block.
func lastHash(o *openedFile) (chainHash, error) {
	buf := make([]byte, trailerSize)
	if n, err := o.f.ReadAt(buf, max(o.size-trailerSize, 0)); n < len(buf) {
		return chainHash{}, located(cutShort(err), o.path, o.size, 0)
	}
	var t trailer
	if err := t.parse(buf, o.size); err != nil {
		return chainHash{}, located(err, o.path, o.size-trailerSize, 0)
	}
	block := make([]byte, t.length)
	if n, err := o.f.ReadAt(block, t.off); n < len(block) {
		return chainHash{}, located(cutShort(err), o.path, t.off, 0)
	}
	return sha256.Sum256(block), nil
}

// sealInto writes the sealed form of src.
func sealInto(ctx context.Context, src *openedFile, out *sealedFile, chain chainHash) error {
	hdr := src.hdr
	hdr.flags |= flagSealed
	hdr.chain = chain
	head := make([]byte, fileHeaderSize)
	hdr.put(head)
	out.chain = sha256.Sum256(head)
	s := sealer{out: out}
	s.index.begin(&hdr)
	var c recordCursor
	if err := c.start(src, hdr.first); err != nil {
		return err
	}
	if err := s.blocks(ctx, &c, src); err != nil {
		return err
	}
	if err := s.flush(); err != nil {
		return err
	}
	if len(s.index.f.units) == 0 {
		return located(because(ErrCorrupt, "a segment without a record ends"), src.path, fileHeaderSize, 0)
	}
	if err := out.footer(uint64(hdr.first), s.index.encode()); err != nil {
		return err
	}
	return out.finish(head)
}

// blocks goes through the blocks of the source to its end.
func (s *sealer) blocks(ctx context.Context, c *recordCursor, src *openedFile) error {
	w := &c.w
	w.trust = false
	for {
		if err := ctx.Err(); err != nil {
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
	if w.parts.count > 0 {
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
	s.index.unit(s.out.off)
	size, err := c.w.blk.peekPageSize()
	if err != nil {
		return err
	}
	groups := c.groups(src, id, c.w.parts)
	var failed error
	err = groups.each(func(b diff.Body, _ error) bool {
		var pages int
		if pages, failed = s.index.body(b, size); failed == nil {
			failed = s.part(id, b, uint32(pages))
		}
		return failed == nil
	})
	if failed != nil {
		return failed
	}
	return err
}

// checkSealed reads what was written and compares it with the source.
func checkSealed(ctx context.Context, fsys durable.FS, dir, temp string, id *Identity, src *openedFile) (err error) {
	o, err := openHeader(fsys, dir, filepath.Base(temp), readOnly, segmentMagic, id, src.hdr.first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	if _, err := verifySegment(ctx, o, nil); err != nil {
		return err
	}
	return sameRecords(ctx, src, o)
}

// sameRecords compares two segments: everything but what sealing leaves out.
func sameRecords(ctx context.Context, a, b *openedFile) error {
	next, stop := pullRecords(ctx, a)
	defer stop()
	for r, err := range allRecords(ctx, b) {
		if err != nil {
			return err
		}
		want, err, ok := next()
		if !ok {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if err := sameRecord(want, r); err != nil {
			return located(err, b.path, -1, r.TXID)
		}
	}
	if _, err, ok := next(); ok {
		return errors.Join(err, located(because(ErrCorrupt, "sealing left out transactions"), b.path, -1, 0))
	}
	return nil
}
