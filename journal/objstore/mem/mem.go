// Package mem is an object store in memory, for tests. It keeps every promise of [objstore.Store] but durability.
package mem

import (
	"bytes"
	"context"
	"io"
	"iter"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Store is a store in memory. The zero value is empty and ready. Safe for concurrent use.
type Store struct {
	mu      sync.Mutex
	objects map[string]object // under mu
	version uint64            // of the object last written; under mu
}

type object struct {
	data    []byte // never changed
	version uint64
}

var _ objstore.Store = (*Store)(nil)

// Opener opens mem:NAME; two of the same name are the same store, as long as the opener is used.
func Opener() objstore.Opener {
	var mu sync.Mutex
	stores := make(map[string]*Store)
	return func(_ context.Context, u *url.URL) (objstore.Store, error) {
		if _, err := objstore.Query(u); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		name := u.Opaque + u.Host + u.Path
		if stores[name] == nil {
			stores[name] = new(Store)
		}
		return stores[name], nil
	}
}

func fail(op objstore.Op, key string, err error) error {
	return &objstore.Error{Op: op, Store: "mem:", Key: key, Err: err}
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := s.check(ctx, objstore.OpGet, key); err != nil {
		return nil, 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[key]
	if !ok {
		return nil, 0, fail(objstore.OpGet, key, objstore.ErrNotFound)
	}
	size := int64(len(o.data))
	from := min(off, size)
	to := size
	if n >= 0 && n < size-from {
		to = from + n
	}
	return io.NopCloser(bytes.NewReader(o.data[from:to])), size, nil
}

func (s *Store) check(ctx context.Context, op objstore.Op, key string) error {
	if err := ctx.Err(); err != nil {
		return fail(op, key, err)
	}
	if err := objstore.CheckKey(key); err != nil {
		return fail(op, key, err)
	}
	return nil
}

func (s *Store) write(ctx context.Context, op objstore.Op, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, op, key); err != nil {
		return err
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(body, 0, size), data); err != nil {
		return fail(op, key, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[key]; ok && op == objstore.OpCreate {
		return fail(op, key, objstore.ErrExists)
	}
	s.set(key, data)
	return nil
}

// set stores data. The caller holds mu.
func (s *Store) set(key string, data []byte) uint64 {
	if s.objects == nil {
		s.objects = make(map[string]object)
	}
	s.version++
	s.objects[key] = object{data, s.version}
	return s.version
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return s.write(ctx, objstore.OpPut, key, body, size)
}

// Create implements objstore.Bucket.
func (s *Store) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return s.write(ctx, objstore.OpCreate, key, body, size)
}

// List implements objstore.Bucket: a snapshot of the moment when the iteration begins.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(objstore.Object{}, fail(objstore.OpList, prefix, err))
			return
		}
		var found []objstore.Object
		s.mu.Lock()
		for key, o := range s.objects {
			if strings.HasPrefix(key, prefix) && key > after {
				found = append(found, objstore.Object{Key: key, Size: int64(len(o.data))})
			}
		}
		s.mu.Unlock()
		slices.SortFunc(found, func(a, b objstore.Object) int { return strings.Compare(a.Key, b.Key) })
		for _, o := range found {
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, objstore.OpDelete, key); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, key)
	return nil
}

// Close does nothing: the objects stay.
func (s *Store) Close() error { return nil }

// Head implements objstore.Store.
func (s *Store) Head(key string) objstore.Head { return &head{s, key} }

type head struct {
	s   *Store
	key string
}

func (h *head) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	if err := h.s.check(ctx, objstore.OpLoad, h.key); err != nil {
		return nil, "", err
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	o, ok := h.s.objects[h.key]
	if !ok {
		return nil, "", fail(objstore.OpLoad, h.key, objstore.ErrNotFound)
	}
	if len(o.data) > objstore.MaxHead {
		return nil, "", fail(objstore.OpLoad, h.key, objstore.ErrTooLarge)
	}
	return bytes.Clone(o.data), tagOf(o.version), nil
}

func tagOf(version uint64) objstore.Tag { return objstore.Tag(strconv.FormatUint(version, 10)) }

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	if err := h.s.check(ctx, objstore.OpSwap, h.key); err != nil {
		return "", err
	}
	if len(data) > objstore.MaxHead {
		return "", fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	h.s.mu.Lock()
	defer h.s.mu.Unlock()
	var now objstore.Tag
	if o, ok := h.s.objects[h.key]; ok {
		now = tagOf(o.version)
	}
	if now != old {
		return "", fail(objstore.OpSwap, h.key, objstore.ErrConflict)
	}
	return tagOf(h.s.set(h.key, bytes.Clone(data))), nil
}
