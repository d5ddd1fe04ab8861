package file

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// List implements objstore.Bucket. It reads the directories that can hold what is asked for, one at a time; what is
// written meanwhile may be in it or not.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		l := lister{s: s, ctx: ctx, prefix: prefix, after: after, yield: yield}
		if err := l.dir(""); err != nil && err != errStopped {
			yield(objstore.Object{}, s.fail(objstore.OpList, prefix, err))
		}
	}
}

// errStopped says that the caller of an iterator wants no more.
var errStopped = errors.New("stopped")

type lister struct {
	s             *Store
	ctx           context.Context
	prefix, after string
	yield         func(objstore.Object, error) bool
}

// dir lists the objects below a directory, whose key is empty or ends in '/'.
func (l *lister) dir(key string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := l.s.fs.ReadDir(filepath.Join(l.s.dir, filepath.FromSlash(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	// Keys are ordered by their bytes, and '/' comes after some of them: the directory a after the object a.b.
	name := func(e fs.DirEntry) string {
		if e.IsDir() {
			return e.Name() + "/"
		}
		return e.Name()
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(name(a), name(b)) })
	for _, e := range entries {
		if hidden(e.Name()) {
			continue
		}
		if err := l.entry(key+name(e), e); err != nil {
			return err
		}
	}
	return nil
}

func (l *lister) entry(key string, e fs.DirEntry) error {
	if e.IsDir() {
		beyond := strings.HasPrefix(key, l.prefix) || strings.HasPrefix(l.prefix, key)
		if !beyond || l.after > key && !strings.HasPrefix(l.after, key) {
			return nil
		}
		return l.dir(key)
	}
	if !strings.HasPrefix(key, l.prefix) || key <= l.after {
		return nil
	}
	info, err := e.Info()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !l.yield(objstore.Object{Key: key, Size: info.Size(), Modified: info.ModTime()}, nil) {
		return errStopped
	}
	return nil
}
