package encrypt_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// overtaken is a store in which another begins an archive just when this one has found none.
type overtaken struct {
	objstore.Store
	other func()
}

func (o *overtaken) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, total, err := o.Store.Get(ctx, key, off, n)
	if key == "encryption" && o.other != nil {
		other := o.other
		o.other = nil
		other()
	}
	return body, total, err
}

// TestBegunAtOnce: of two that begin a store at the same time, the second goes on with what the first has begun.
func TestBegunAtOnce(t *testing.T) {
	inner, keys := new(mem.Store), keysOf(t)
	late := open(t, &overtaken{inner, func() { put(t, open(t, inner, keys), "zebra", "striped") }}, keys)
	put(t, late, "lion", "not striped")
	for key, want := range map[string]string{"zebra": "striped", "lion": "not striped"} {
		if got, err := get(t.Context(), late, key, 0, -1); got != want || err != nil {
			t.Errorf("%s: %q, %v", key, got, err)
		}
	}
}

// between is a store in which something happens once, behind what a call has seen.
type between struct {
	objstore.Store
	listed, loaded func()
}

func once(f *func()) {
	if do := *f; do != nil {
		*f = nil
		do()
	}
}

func (b *between) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		var found []objstore.Object
		for o, err := range b.Store.List(ctx, prefix, after) {
			if err != nil {
				yield(o, err)
				return
			}
			found = append(found, o)
		}
		once(&b.listed)
		for _, o := range found {
			if !yield(o, nil) {
				return
			}
		}
	}
}

func (b *between) Head(key string) objstore.Head { return &betweenHead{b.Store.Head(key), b} }

type betweenHead struct {
	objstore.Head
	b *between
}

func (h *betweenHead) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	data, tag, err := h.Head.Load(ctx)
	once(&h.b.loaded)
	return data, tag, err
}

// TestFoundEmptyTooLate: what another goroutine has learned of a store is not forgotten for a list from before.
func TestFoundEmptyTooLate(t *testing.T) {
	inner, keys := new(mem.Store), keysOf(t)
	var many encrypt.Keys // whose headers are longer
	for range 12 {
		many.Recipients = append(many.Recipients, keysOf(t).Recipients...)
	}
	b := &between{Store: inner}
	late := open(t, b, keys)
	b.listed = func() {
		put(t, open(t, inner, many), "zebra", "striped")
		for o, err := range late.List(t.Context(), "", "") {
			if o.Key != "zebra" || o.Size != 7 || err != nil {
				t.Errorf("listed: %+v, %v", o, err)
			}
		}
	}
	put(t, late, "lion", "striped")
	if got, err := get(t.Context(), late, "lion", 0, -1); got != "striped" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, want := len(raw(t, inner, "lion")), len(raw(t, inner, "zebra")); got != want {
		t.Errorf("objects of 7 bytes take %d and %d", got, want)
	}
}

// TestManyTriesInVain: without an identity, what was refused does not push out the key of what is there.
func TestManyTriesInVain(t *testing.T) {
	ctx := t.Context()
	s := open(t, new(mem.Store), encrypt.Keys{Recipients: keysOf(t).Recipients})
	h := s.Head("head")
	if _, err := h.Swap(ctx, "", []byte("first")); err != nil {
		t.Fatal(err)
	}
	put(t, s, "k", "first")
	for range 50 {
		if _, err := h.Swap(ctx, "", []byte("in vain")); !errors.Is(err, objstore.ErrConflict) {
			t.Fatal(err)
		}
		if err := s.Create(ctx, "k", strings.NewReader("in vain"), 7); !errors.Is(err, objstore.ErrExists) {
			t.Fatal(err)
		}
	}
	if got, _, err := h.Load(ctx); string(got) != "first" || err != nil {
		t.Errorf("head: %q, %v", got, err)
	}
	if got, err := get(ctx, s, "k", 0, -1); got != "first" || err != nil {
		t.Errorf("object: %q, %v", got, err)
	}
}

// TestLoadOvertaken: a head that was replaced many times between loading and decrypting is loaded again.
func TestLoadOvertaken(t *testing.T) {
	ctx, b := t.Context(), &between{Store: new(mem.Store)}
	s := open(t, b, encrypt.Keys{Recipients: keysOf(t).Recipients})
	h := s.Head("head")
	tag, err := h.Swap(ctx, "", []byte("first"))
	if err != nil {
		t.Fatal(err)
	}
	b.loaded = func() {
		for range 50 {
			if tag, err = h.Swap(ctx, tag, []byte("another")); err != nil {
				t.Fatal(err)
			}
		}
		tag, err = h.Swap(ctx, tag, []byte("last"))
	}
	if got, now, loadErr := h.Load(ctx); string(got) != "last" || now != tag || errors.Join(err, loadErr) != nil {
		t.Errorf("%q, %v, %v", got, err, loadErr)
	}
}
