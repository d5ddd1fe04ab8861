package objstore

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Kept reads no part of an object twice: what Get brought stays in a scratch file in dir, "" means os.TempDir(), until
// Close, which closes s too. It is for whoever reads the same objects again and again, and for as long as nobody else
// replaces one of them. What the scratch file does not take is read again.
func Kept(s Store, dir string) Store {
	k := &kept{dir: dir, objects: make(map[string]*keptObject)}
	k.around = around{s, func(ctx context.Context, c Call, do func(context.Context) error) error {
		switch c.Op {
		case OpPut, OpCreate, OpDelete, OpSwap:
			defer k.forget(c.Key)
		}
		return do(ctx)
	}}
	return k
}

type kept struct {
	around
	dir string

	mu      sync.Mutex
	objects map[string]*keptObject // under mu
	file    durable.File           // under mu: made when the first object is read
	next    int64                  // under mu: where there is room in file
}

var _ Store = (*kept)(nil)

// keptObject is what is kept of an object.
type keptObject struct {
	size  int64      // of the whole object
	parts []keptPart // under the store's mu; by from
}

// keptPart is the bytes from..to of an object, at a place in the file.
type keptPart struct{ from, to, at int64 }

func (k *kept) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if body, size, ok := k.find(key, off, n); ok && ctx.Err() == nil {
		return body, size, nil
	}
	body, size, err := k.around.Get(ctx, key, off, n)
	if err != nil {
		return nil, 0, err
	}
	return k.tap(body, key, size, off, n), size, nil
}

// find puts what is asked for together, if all of it is there.
func (k *kept) find(key string, off, n int64) (io.ReadCloser, int64, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := k.objects[key]
	if o == nil || off < 0 {
		return nil, 0, false
	}
	end := o.end(off, n)
	var bodies []io.Reader
	for _, p := range o.parts {
		if p.from <= off && off < min(p.to, end) {
			to := min(p.to, end)
			bodies = append(bodies, io.NewSectionReader(k.file, p.at+off-p.from, to-off))
			off = to
		}
	}
	return io.NopCloser(io.MultiReader(bodies...)), o.size, off >= end
}

// end is where n bytes from off on end.
func (o *keptObject) end(off, n int64) int64 {
	if n < 0 || n > o.size-off {
		return o.size
	}
	return off + n
}

// tap keeps what is read of body, which is that of Get.
func (k *kept) tap(body io.ReadCloser, key string, size, off, n int64) io.ReadCloser {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.file == nil {
		var err error
		if k.file, err = durable.Scratch(durable.OS, k.dir, 0o600); err != nil {
			return body
		}
	}
	o := k.objects[key]
	if o == nil {
		o = &keptObject{size: size}
		k.objects[key] = o
	}
	t := &keptBody{body: body, store: k, file: k.file, of: o, part: keptPart{off, off, k.next}}
	k.next += max(o.end(off, n)-off, 0)
	return t
}

// keptBody keeps what is read of it.
type keptBody struct {
	body  io.ReadCloser
	store *kept
	file  durable.File
	of    *keptObject
	part  keptPart
	full  bool // nothing more is taken
}

func (b *keptBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if n > 0 && !b.full {
		if _, e := b.file.WriteAt(p[:n], b.part.at+b.part.to-b.part.from); e != nil {
			b.full = true
		} else {
			b.part.to += int64(n)
		}
	}
	return n, err
}

func (b *keptBody) Close() error {
	b.store.mu.Lock()
	defer b.store.mu.Unlock()
	if p := b.part; p.to > p.from {
		i, _ := slices.BinarySearchFunc(b.of.parts, p, func(a, b keptPart) int { return cmp.Compare(a.from, b.from) })
		b.of.parts = slices.Insert(b.of.parts, i, p)
		b.full, b.part.to = true, p.from
	}
	return b.body.Close()
}

func (k *kept) forget(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.objects, key)
}

func (k *kept) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.objects)
	var err error
	if k.file != nil {
		err, k.file = k.file.Close(), nil
	}
	return errors.Join(err, k.store.Close())
}
