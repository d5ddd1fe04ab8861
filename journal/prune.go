package journal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
)

// Prune removes sealed segments and bases not needed to restore TXIDs at or after keep: those before the newest
// base at or before keep. It never leaves a trail without a way to restore: without such a base, and for what is
// not sealed, it removes nothing. Oldest first, so that a crash leaves a trail that only begins later. It returns
// the names of the files it removed. ErrLocked when a Seal or another Prune is running. Of o, FS and Mode count.
func Prune(ctx context.Context, dir string, keep TXID, o *WriterOptions) (removed []string, err error) {
	opt := o.filled()
	id, lock, _, err := maintain(&opt, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	t, err := Open(dir, &ReadOptions{FS: opt.FS})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	from, err := t.pruneTo(keep)
	if err != nil || from == 0 {
		return nil, err
	}
	names, err := pruned(&opt, dir, &id, t.names, from)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return removed, err
		}
		if err := opt.FS.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, err
		}
		removed = append(removed, name)
	}
	if len(removed) == 0 {
		return nil, nil
	}
	return removed, opt.FS.SyncDir(dir)
}

// pruneTo is the newest base at or before keep that is whole and of this history; 0 when there is none. All of
// it is read, since what is removed cannot be fetched back.
func (t *Trail) pruneTo(keep TXID) (TXID, error) {
	v, err := t.view()
	if err != nil {
		return 0, err
	}
	for i := len(v.names.bases) - 1; i >= 0; i-- {
		id := v.names.bases[i]
		if id > keep || id > v.last.TXID {
			continue
		}
		b, err := t.OpenBase(id)
		if err == nil {
			err = joinClose(b.verify(context.Background(), func(int64) {}), b)
		}
		if err == nil {
			return id, nil
		}
		if !errors.Is(err, errStaleBase) { // that is a base of no history: an older one will do
			return 0, err
		}
	}
	return 0, nil
}

// pruned lists the files that restoring from the base of that TXID on does not need: older bases, then segments,
// oldest first, up to the first that is not sealed or holds a later transaction. The segment that holds the base's
// own transaction stays, since it is what the base is checked against.
func pruned(o *WriterOptions, dir string, id *Identity, names *listing, base TXID) ([]string, error) {
	var out []string
	for _, b := range names.bases {
		if b < base {
			out = append(out, baseName(b))
		}
	}
	for i, first := range names.segments {
		if i+1 == len(names.segments) || names.segments[i+1] > base {
			break
		}
		s, err := openHeader(o.FS, dir, segmentName(first), readOnly, segmentMagic, id, first)
		if err != nil {
			return nil, err
		}
		sealed := s.hdr.sealed()
		if err := s.f.Close(); err != nil {
			return nil, err
		}
		if !sealed {
			break
		}
		out = append(out, segmentName(first))
	}
	return out, nil
}
