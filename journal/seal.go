package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Seal compresses the segments that are no longer the tail: each is written anew beside the old file,
// read back and compared with it record by record, and only then renamed over it. It needs no writer lock, may
// run beside writers and readers, in any process, and can be stopped at any point: the old file stays until
// the new one is whole, and the next Seal goes on with what is written of it. It returns how many it sealed.
// ErrLocked when another Seal or Prune is running. Of o, FS, Mode and SealFast count.
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
	from, chain, err := firstUnsealed(&opt, dir, &id, names)
	if err != nil {
		return 0, err
	}
	ended := names.segments[from:max(len(names.segments)-1, from)] // without the tail
	if err := removeSealing(&opt, dir, names, ended); err != nil {
		return 0, err
	}
	for _, first := range ended {
		if err := ctx.Err(); err != nil {
			return sealed, err
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

// Unsealed is how many bytes of segments there are for Seal to work on. It reads the directory and a few headers, takes
// no lock and makes no file.
func Unsealed(dir string, o *WriterOptions) (bytes int64, err error) {
	opt := o.filled()
	names, err := list(opt.FS, dir)
	if err != nil || len(names.segments) < 2 {
		return 0, err
	}
	ended := names.segments[:len(names.segments)-1]
	for i := len(ended) - 1; i >= 0; i-- {
		s, err := openHeader(opt.FS, dir, segmentName(ended[i]), readOnly, segmentMagic, nil, ended[i])
		if err != nil {
			return bytes, err
		}
		if err := s.f.Close(); err != nil || s.hdr.sealed() {
			return bytes, err
		}
		bytes += s.size
	}
	return bytes, nil
}

// firstUnsealed is the index of the first segment that is not sealed, and the hash of the last block before it. A
// segment is sealed only after the one before it, so it is looked for from the end.
func firstUnsealed(o *WriterOptions, dir string, id *Identity, names *listing) (i int, chain chainHash, err error) {
	for i = len(names.segments) - 1; i > 0; i-- {
		first := names.segments[i-1]
		s, err := openHeader(o.FS, dir, segmentName(first), readOnly, segmentMagic, id, first)
		if err != nil {
			return 0, chain, err
		}
		sealed := s.hdr.sealed()
		if sealed {
			chain, err = lastHash(s)
		}
		if err := errors.Join(err, s.f.Close()); err != nil {
			return 0, chain, err
		}
		if sealed {
			return i, chain, nil
		}
	}
	return 0, chain, nil
}

// removeSealing removes what Seals left that did not finish, but for the file with which the next is to begin.
func removeSealing(o *WriterOptions, dir string, names *listing, ended []TXID) error {
	for _, name := range names.other {
		if !strings.HasSuffix(name, sealingSuffix) || len(ended) > 0 && name == sealingName(ended[0]) {
			continue
		}
		if err := o.FS.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
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
	temp := filepath.Join(dir, sealingName(first))
	s, err := resumeSealing(ctx, o, src, temp, chain)
	if err != nil {
		return false, hash, joinClose(err, src.f)
	}
	out := s.out
	if err = s.all(ctx, src); err == nil {
		err = checkSealed(ctx, o.FS, dir, temp, id, src)
	}
	err = joinClose(err, src.f) // Windows does not replace a file that is open
	if err == nil {
		err = o.FS.Rename(temp, src.path)
	}
	if err != nil && ctx.Err() != nil {
		return false, hash, joinClose(err, out) // the next one goes on with it
	}
	if err != nil {
		out.abort()
		return false, hash, err
	}
	return true, out.chain, o.FS.SyncDir(dir)
}

// chainOf is what the next segment's header has as its chain: the hash of the footer block, or, of a segment that
// stands for others, what the last of those had.
func (f *footer) chainOf(o *openedFile) (chainHash, error) {
	if f.merged {
		return f.chain, nil
	}
	return lastHash(o)
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

// checkSealed reads what was written and compares it with the source.
func checkSealed(ctx context.Context, fsys durable.FS, dir, temp string, id *Identity, src *openedFile) (err error) {
	o, err := openHeader(fsys, dir, filepath.Base(temp), readOnly, segmentMagic, id, src.hdr.first)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	return sameRecords(ctx, src, o)
}

// sameRecords verifies b and compares it with a: everything but what sealing leaves out.
func sameRecords(ctx context.Context, a, b *openedFile) error {
	next, stop := pullRecords(ctx, a)
	defer stop()
	_, err := verifyRecords(ctx, b, nil, func(r *Record) error {
		want, err, ok := next()
		if !ok {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		return located(sameRecord(ctx, want, r), b.path, -1, r.TXID)
	})
	if err != nil {
		return err
	}
	if _, err, ok := next(); ok {
		return errors.Join(err, located(because(ErrCorrupt, "sealing left out transactions"), b.path, -1, 0))
	}
	return nil
}
