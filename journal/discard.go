package journal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
)

// Discard removes what is kept elsewhere: sealed segments of which every transaction is at most upTo and from before
// that time, and bases of transactions in them or before. Unlike Prune it asks for no base from which the rest could
// be restored: after it the trail alone restores only what its remaining bases reach, and the elsewhere the rest. The
// segment that grows, those after it and those not sealed stay. Oldest first, so that a crash leaves a trail that
// only begins later. It returns the names of the files it removed, and their size. ErrLocked when a Seal or a Prune
// is running. Of o, FS and Mode count.
func Discard(ctx context.Context, dir string, upTo TXID, before Time, o *WriterOptions) (removed []string, size int64, err error) {
	opt := o.filled()
	id, lock, names, err := maintain(&opt, dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	segments, last, err := discarded(&opt, dir, &id, names, upTo, before)
	if err != nil || len(segments) == 0 {
		return nil, 0, err
	}
	var files []string
	for _, b := range names.bases {
		if b <= last {
			files = append(files, baseName(b))
		}
	}
	for _, name := range append(files, segments...) {
		if err := ctx.Err(); err != nil {
			return removed, size, err
		}
		path := filepath.Join(dir, name)
		info, err := opt.FS.Stat(path)
		if err == nil {
			err = opt.FS.Remove(path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return removed, size, err
		}
		removed, size = append(removed, name), size+info.Size()
	}
	return removed, size, opt.FS.SyncDir(dir)
}

// discarded lists the segments that Discard may remove, and the last transaction in them.
func discarded(o *WriterOptions, dir string, id *Identity, names *listing, upTo TXID, before Time) (out []string, last TXID, err error) {
	for i, first := range names.segments {
		if i+1 == len(names.segments) || names.segments[i+1]-1 > upTo {
			break
		}
		f, err := openHeader(o.FS, dir, segmentName(first), readOnly, segmentMagic, id, first)
		if err != nil {
			return nil, 0, err
		}
		s, err := newSegmentReader(f)
		if err != nil {
			return nil, 0, joinClose(err, f.f)
		}
		info := s.info
		if err := s.Close(); err != nil {
			return nil, 0, err
		}
		if !info.Sealed || info.LastTime >= before {
			break
		}
		out, last = append(out, segmentName(first)), info.Last
	}
	return out, last, nil
}
