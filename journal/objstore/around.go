package objstore

import (
	"context"
	"io"
	"iter"
)

// Call is one call of a store as wrappers see it.
type Call struct {
	Op    Op
	Key   string
	Bytes int64 // to be written
}

// around puts a function around every call. The function may call do never, once or several times.
type around struct {
	store Store
	hook  func(ctx context.Context, c Call, do func(context.Context) error) error
}

var _ Store = (*around)(nil)

func (a *around) Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, size int64, err error) {
	err = a.hook(ctx, Call{Op: OpGet, Key: key}, func(ctx context.Context) error {
		if body != nil { // carried out before, and to be carried out again
			_ = body.Close()
		}
		var err error
		body, size, err = a.store.Get(ctx, key, off, n)
		return err
	})
	if err != nil && body != nil {
		_ = body.Close() // nobody will read it
		body = nil
	}
	return body, size, err
}

func (a *around) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return a.hook(ctx, Call{OpPut, key, size}, func(ctx context.Context) error { return a.store.Put(ctx, key, body, size) })
}

func (a *around) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return a.hook(ctx, Call{OpCreate, key, size}, func(ctx context.Context) error { return a.store.Create(ctx, key, body, size) })
}

// List goes on after the last object that was yielded when it is carried out again.
func (a *around) List(ctx context.Context, prefix, after string) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		stopped, last := false, after
		err := a.hook(ctx, Call{Op: OpList, Key: prefix}, func(ctx context.Context) error {
			for o, err := range a.store.List(ctx, prefix, last) {
				if err != nil {
					return err
				}
				last = o.Key
				if stopped = !yield(o, nil); stopped {
					return nil
				}
			}
			return nil
		})
		if err != nil && !stopped {
			yield(Object{}, err)
		}
	}
}

func (a *around) Delete(ctx context.Context, key string) error {
	return a.hook(ctx, Call{Op: OpDelete, Key: key}, func(ctx context.Context) error { return a.store.Delete(ctx, key) })
}

func (a *around) Close() error { return a.store.Close() }

func (a *around) Head(key string) Head { return &aroundHead{a, key, a.store.Head(key)} }

type aroundHead struct {
	a    *around
	key  string
	head Head
}

func (h *aroundHead) Load(ctx context.Context) (data []byte, tag Tag, err error) {
	err = h.a.hook(ctx, Call{Op: OpLoad, Key: h.key}, func(ctx context.Context) error {
		var err error
		data, tag, err = h.head.Load(ctx)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, tag, nil
}

func (h *aroundHead) Swap(ctx context.Context, old Tag, data []byte) (tag Tag, err error) {
	err = h.a.hook(ctx, Call{OpSwap, h.key, int64(len(data))}, func(ctx context.Context) error {
		var err error
		tag, err = h.head.Swap(ctx, old, data)
		return err
	})
	if err != nil {
		return "", err
	}
	return tag, nil
}

// ReadOnly refuses with ErrReadOnly whatever would change the store.
func ReadOnly(s Store) Store {
	return &around{s, func(ctx context.Context, c Call, do func(context.Context) error) error {
		switch c.Op {
		case OpGet, OpList, OpLoad:
			return do(ctx)
		}
		return &Error{Op: c.Op, Store: "store", Key: c.Key, Err: ErrReadOnly}
	}}
}
