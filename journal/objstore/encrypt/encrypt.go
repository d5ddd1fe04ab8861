package encrypt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for New; nil means defaults.
type Options struct {
	Name string // of the store in errors; default "store"
}

// New is a store whose objects are encrypted in another. Reading without identities, and writing without recipients,
// fails with objstore.ErrEncrypted, and so does an identity of which an object does not know. A store with objects that
// are not encrypted is objstore.ErrNotEncrypted: the two are never mixed. objstore.ErrDamaged is an object that is not
// what was written under its name.
//
// Names are bound into the objects, relative to s: give it the part of a store that stays together (objstore.Sub).
func New(s objstore.Store, keys Keys, o *Options) (objstore.Store, error) {
	if err := keys.Check(); err != nil {
		return nil, err
	}
	e := &store{inner: s, keys: keys, name: "store"}
	if o != nil && o.Name != "" {
		e.name = o.Name
	}
	return e, nil
}

type store struct {
	inner objstore.Store
	keys  Keys
	name  string
	pad   atomic.Int64 // of headers, see newHeader

	mu      sync.Mutex
	header  int  // length of the headers; 0: not known yet. Under mu
	marked  bool // that length is in the store; under mu
	opened  memory[*opened]
	written memory[[][]byte] // keys of objects that this process wrote
}

var _ objstore.Store = (*store)(nil)

func (s *store) fail(op objstore.Op, key string, err error) error {
	if err == nil {
		return nil
	}
	return &objstore.Error{Op: op, Store: s.name, Key: key, Err: err}
}

// check refuses the one name that is ours.
func (s *store) check(op objstore.Op, key string) error {
	err := objstore.CheckKey(key)
	if err == nil && key == markKey {
		err = fmt.Errorf("an encrypted store has an object of that name already: %w", objstore.ErrKey)
	}
	return s.fail(op, key, err)
}

// Put implements objstore.Bucket.
func (s *store) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	sealed, err := s.seal(ctx, objstore.OpPut, key, body, size)
	if err != nil {
		return err
	}
	defer s.opened.forget(key)
	return s.inner.Put(ctx, key, sealed, sealed.Size())
}

// Create implements objstore.Bucket.
func (s *store) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	sealed, err := s.seal(ctx, objstore.OpCreate, key, body, size)
	if err != nil {
		return err
	}
	if err = s.inner.Create(ctx, key, sealed, sealed.Size()); errors.Is(err, objstore.ErrExists) {
		s.disown(key, sealed.fileKey)
	}
	return err
}

// seal prepares an encrypted object.
func (s *store) seal(ctx context.Context, op objstore.Op, key string, body io.ReaderAt, size int64) (*sealedBody, error) {
	if err := s.check(op, key); err != nil {
		return nil, err
	}
	if len(s.keys.Recipients) == 0 {
		return nil, s.fail(op, key, fmt.Errorf("to write here recipients are needed: the store %w", objstore.ErrEncrypted))
	}
	length, err := s.mark(ctx)
	if err != nil {
		return nil, err
	}
	header, fileKey, err := newHeader(s.keys.Recipients, key, length, &s.pad)
	if err != nil {
		return nil, s.fail(op, key, err)
	}
	s.remember(key, fileKey)
	sealed, err := newSealedBody(header, fileKey, body, size)
	return sealed, s.fail(op, key, err)
}

// keysOfOne is how many keys are remembered of objects of one name: as many as may be tried to be written with at once,
// and not refused yet.
const keysOfOne = 32

func (s *store) remember(key string, fileKey []byte) {
	s.written.change(key, func(known [][]byte) [][]byte {
		known = append(slices.Clone(known), fileKey)
		return known[max(len(known)-keysOfOne, 0):]
	})
}

// disown forgets the key of an object that was refused, so that those who try in vain do not push out the key of the
// one that is there.
func (s *store) disown(key string, fileKey []byte) {
	s.written.change(key, func(known [][]byte) [][]byte {
		return slices.DeleteFunc(slices.Clone(known), func(k []byte) bool { return bytes.Equal(k, fileKey) })
	})
}

// List implements objstore.Bucket. Sizes are those of the objects before they were encrypted.
func (s *store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		header, err := s.settle(ctx)
		if err != nil {
			yield(objstore.Object{}, err)
			return
		}
		for o, err := range s.inner.List(ctx, prefix, after) {
			if o.Key == markKey && err == nil {
				continue
			}
			if header == 0 && err == nil { // the store was empty a moment ago
				if header, err = s.settle(ctx); err != nil {
					o = objstore.Object{}
				}
			}
			// A size that no object has is found out by whoever reads it.
			o.Size, _ = plainSize(max(o.Size-int64(header), 0))
			if !yield(o, err) || err != nil {
				return
			}
		}
	}
}

// Delete implements objstore.Bucket.
func (s *store) Delete(ctx context.Context, key string) error {
	if err := s.check(objstore.OpDelete, key); err != nil {
		return err
	}
	s.opened.forget(key)
	return s.inner.Delete(ctx, key)
}

// Close implements objstore.Bucket.
func (s *store) Close() error { return s.inner.Close() }

// Head implements objstore.Store. The tag is that of the encrypted content, so that no two Swaps have the same.
func (s *store) Head(key string) objstore.Head { return &head{s, key, s.inner.Head(key)} }

type head struct {
	s     *store
	key   string
	inner objstore.Head
}

// loads is how often a head is loaded that was replaced each time before it was decrypted.
const loads = 8

// Load implements objstore.Head. Whoever has no identity may find that the content was replaced so often since it was
// loaded that its key is forgotten: then the one that is there now is what counts.
func (h *head) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	if err := h.s.check(objstore.OpLoad, h.key); err != nil {
		return nil, "", err
	}
	var before objstore.Tag
	for try := 1; ; try++ {
		sealed, tag, err := h.inner.Load(ctx)
		if err != nil {
			return nil, "", err
		}
		data, err := h.s.openWhole(h.key, sealed)
		if err == nil {
			return data, tag, nil
		}
		if len(h.s.keys.Identities) > 0 || !errors.Is(err, objstore.ErrEncrypted) || tag == before || try == loads {
			return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
		}
		before = tag
	}
}

// openWhole decrypts an object that is there as a whole, whatever the length of its header.
func (s *store) openWhole(key string, sealed []byte) ([]byte, error) {
	n := headerLen(sealed)
	if n == 0 || n > len(sealed) {
		return nil, notSealed(sealed)
	}
	o, err := s.unlock(key, sealed[:n], int64(len(sealed)))
	if err != nil {
		return nil, err
	}
	var data []byte
	for i, rest := int64(0), sealed[n:]; i < blocks(o.size); i++ {
		block := rest[:min(len(rest), sealedBytes)]
		if data, err = o.stream.open(data, block, i, i == blocks(o.size)-1); err != nil {
			return nil, damaged(err)
		}
		rest = rest[len(block):]
	}
	return data, nil
}

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	if len(data) > objstore.MaxHead {
		return "", h.s.fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	body, err := h.s.seal(ctx, objstore.OpSwap, h.key, bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return "", err
	}
	sealed := make([]byte, body.Size())
	if _, err := body.ReadAt(sealed, 0); err != nil {
		return "", h.s.fail(objstore.OpSwap, h.key, err)
	}
	defer h.s.opened.forget(h.key)
	tag, err := h.inner.Swap(ctx, old, sealed)
	if errors.Is(err, objstore.ErrConflict) {
		h.s.disown(h.key, body.fileKey)
	}
	return tag, err
}

// memory holds what is known of the objects used last. Safe for concurrent use.
type memory[T any] struct {
	mu    sync.Mutex
	known map[string]T // under mu
	order []string     // of known, the oldest first; under mu
}

// remembered is how many objects a memory holds.
const remembered = 256

func (m *memory[T]) get(key string) (T, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.known[key]
	return v, ok
}

func (m *memory[T]) put(key string, v T) { m.change(key, func(T) T { return v }) }

// change puts what becomes of what is known of an object; no other change comes between.
func (m *memory[T]) change(key string, become func(T) T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.known == nil {
		m.known = make(map[string]T)
	}
	if _, ok := m.known[key]; !ok {
		if m.order = append(m.order, key); len(m.order) > remembered {
			delete(m.known, m.order[0])
			m.order = m.order[1:]
		}
	}
	m.known[key] = become(m.known[key])
}

func (m *memory[T]) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.known[key]; !ok {
		return
	}
	delete(m.known, key)
	for i, k := range m.order {
		if k == key {
			m.order = append(m.order[:i:i], m.order[i+1:]...)
			return
		}
	}
}
