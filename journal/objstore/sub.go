package objstore

import (
	"context"
	"io"
	"iter"
	"strings"
)

// Sub is the part of a store whose keys begin with prefix and '/', as a store of its own. An empty prefix is the
// store itself.
func Sub(s Store, prefix string) Store {
	if prefix = strings.Trim(prefix, "/"); prefix == "" {
		return s
	}
	return &sub{s, prefix + "/"}
}

type sub struct {
	store  Store
	prefix string
}

var _ Store = (*sub)(nil)

func (s *sub) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	return s.store.Get(ctx, s.prefix+key, off, n)
}

func (s *sub) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return s.store.Put(ctx, s.prefix+key, body, size)
}

func (s *sub) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return s.store.Create(ctx, s.prefix+key, body, size)
}

func (s *sub) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	if after != "" {
		after = s.prefix + after
	}
	return func(yield func(Object, error) bool) {
		for o, err := range s.store.List(ctx, s.prefix+prefix, after) {
			o.Key = strings.TrimPrefix(o.Key, s.prefix)
			if !yield(o, err) {
				return
			}
		}
	}
}

func (s *sub) Delete(ctx context.Context, key string) error { return s.store.Delete(ctx, s.prefix+key) }
func (s *sub) Head(key string) Head                         { return s.store.Head(s.prefix + key) }
func (s *sub) Close() error                                 { return s.store.Close() }
