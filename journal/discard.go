package journal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Disposable says what of a trail Discard may remove.
type Disposable struct {
	UpTo   TXID  // what is kept elsewhere: the transactions up to it
	Before Time  // of that goes what is from before
	Most   int64 // and the oldest, while segments and bases are more bytes than this; 0: however many they are
}

// Discard removes what is kept elsewhere: sealed segments of which every transaction is disposable, and bases of
// transactions in them or before. Unlike Prune it asks for no base from which the rest could
// be restored: after it the trail alone restores only what its remaining bases reach, and the elsewhere the rest. The
// segment that grows, those after it and those not sealed stay. Oldest first, so that a crash leaves a trail that
// only begins later. It returns the names of the files it removed, and their size. ErrLocked when a Seal or a Prune
// is running. Of o, FS and Mode count.
func Discard(ctx context.Context, dir string, d Disposable, o *WriterOptions) (removed []string, size int64, err error) {
	opt := o.filled()
	id, lock, names, err := maintain(&opt, dir)
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	segments, last, err := discarded(&opt, dir, &id, names, d)
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
func discarded(o *WriterOptions, dir string, id *Identity, names *listing, d Disposable) (out []string, last TXID, err error) {
	sizes, left, err := names.sizes(o.FS, dir)
	if err != nil {
		return nil, 0, err
	}
	for i, first := range names.segments {
		if i+1 == len(names.segments) || names.segments[i+1]-1 > d.UpTo {
			break
		}
		name := segmentName(first)
		f, err := openHeader(o.FS, dir, name, readOnly, segmentMagic, id, first)
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
		if !info.Sealed || info.LastTime >= d.Before && (d.Most <= 0 || left <= d.Most) {
			break
		}
		out, last = append(out, name), info.Last
		left -= sizes[name]
		for _, b := range names.bases { // which go along
			if b <= last {
				left -= sizes[baseName(b)]
				delete(sizes, baseName(b))
			}
		}
	}
	return out, last, nil
}

// sizes are those of the segments and bases by name, and their sum. One that is gone by now has none.
func (l *listing) sizes(fsys durable.FS, dir string) (by map[string]int64, sum int64, err error) {
	by = make(map[string]int64, len(l.segments)+len(l.bases))
	add := func(name string) error {
		info, err := fsys.Stat(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			by[name] = info.Size()
			sum += info.Size()
		}
		return err
	}
	for _, id := range l.segments {
		err = errors.Join(err, add(segmentName(id)))
	}
	for _, id := range l.bases {
		err = errors.Join(err, add(baseName(id)))
	}
	return by, sum, err
}
