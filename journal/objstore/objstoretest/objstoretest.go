// Package objstoretest holds implementations and wrappers of [objstore.Store] to its promises: one suite for all, so
// that what is written against one of them works with the others.
package objstoretest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Run runs the suite, save the parts named in skip. open makes a new, empty store for each part.
func Run(t *testing.T, open func(t *testing.T) objstore.Store, skip ...string) {
	for _, part := range []struct {
		name string
		run  func(*suite)
	}{
		{"put and get", putAndGet},
		{"ranges", ranges},
		{"overwrite", overwrite},
		{"create", create},
		{"create at once", createAtOnce},
		{"delete", deletes},
		{"list", lists},
		{"many", many},
		{"head", heads},
		{"large head", largeHead},
		{"swap at once", swapAtOnce},
		{"keys", keys},
		{"cancelled", cancelled},
		{"sub", subs},
		{"probe", probe},
	} {
		if slices.Contains(skip, part.name) {
			continue
		}
		t.Run(part.name, func(t *testing.T) {
			s := &suite{T: t, ctx: t.Context(), store: open(t)}
			part.run(s)
			if err := s.store.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		})
	}
}

// ServiceEnv is the environment variable with the URL of a store at a running service, for tests that are skipped
// without it: make test-s3 sets it, and so may whoever wants to know whether another service will do.
const ServiceEnv = "PAGETRAIL_TEST_STORE"

// RunService runs the suite at the service of ServiceEnv, if that is one of the scheme: each part below a prefix of its
// own, which is emptied afterwards.
func RunService(t *testing.T, scheme string, open objstore.Opener) {
	raw := os.Getenv(ServiceEnv)
	if !strings.HasPrefix(raw, scheme+"://") {
		t.Skipf("%s is not a %s:// URL", ServiceEnv, scheme)
	}
	store, err := objstore.Registry{scheme: open}.Open(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	Run(t, func(t *testing.T) objstore.Store {
		var name [8]byte
		_, _ = rand.Read(name[:]) // documented never to fail
		part := objstore.Sub(store, "conformance-"+hex.EncodeToString(name[:]))
		t.Cleanup(func() { empty(t, part) })
		return part
	})
}

func empty(t *testing.T, s objstore.Store) {
	ctx := context.Background() // the test's has ended
	for o, err := range s.List(ctx, "", "") {
		if err == nil {
			err = s.Delete(ctx, o.Key)
		}
		if err != nil {
			t.Errorf("cleaning up: %v", err)
			return
		}
	}
}

type suite struct {
	*testing.T
	ctx   context.Context
	store objstore.Store
}

func (s *suite) put(key, data string) {
	s.Helper()
	s.must(s.store.Put(s.ctx, key, strings.NewReader(data), int64(len(data))))
}

func (s *suite) create(key, data string) error {
	return s.store.Create(s.ctx, key, strings.NewReader(data), int64(len(data)))
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) want(err, is error) {
	s.Helper()
	if !errors.Is(err, is) {
		s.Fatalf("error is %v, want %v", err, is)
	}
}

func (s *suite) get(key string) string {
	s.Helper()
	return s.part(key, 0, -1, nil)
}

// part reads a range; size, if not nil, is that of the whole object.
func (s *suite) part(key string, off, n int64, size *int64) string {
	s.Helper()
	body, whole, err := s.store.Get(s.ctx, key, off, n)
	s.must(err)
	data, err := io.ReadAll(body)
	s.must(errors.Join(err, body.Close()))
	if size != nil {
		*size = whole
	}
	return string(data)
}

func (s *suite) list(prefix, after string) []string {
	s.Helper()
	var found []string
	for o, err := range s.store.List(s.ctx, prefix, after) {
		s.must(err)
		found = append(found, fmt.Sprintf("%s:%d", o.Key, o.Size))
	}
	return found
}

func putAndGet(s *suite) {
	for _, n := range []int{0, 1, 4095, 4096, 4097, 1<<20 - 1, 1 << 20, 1<<20 + 1, 3 << 20} {
		data := strings.Repeat("pagetrail", n/9+1)[:n]
		key := fmt.Sprintf("a/b-%d.seg", n)
		s.put(key, data)
		if got := s.get(key); got != data {
			s.Errorf("object of %d bytes came back with %d", n, len(got))
		}
	}
	_, _, err := s.store.Get(s.ctx, "a/none", 0, -1)
	s.want(err, objstore.ErrNotFound)
	_, _, err = s.store.Get(s.ctx, "a", 0, -1) // a prefix is no object
	s.want(err, objstore.ErrNotFound)
}

func ranges(s *suite) {
	s.put("k", "0123456789")
	s.put("empty", "")
	for _, c := range []struct {
		key    string
		off, n int64
		want   string
	}{
		{"k", 0, 1, "0"},
		{"k", 0, 10, "0123456789"},
		{"k", 0, 11, "0123456789"},
		{"k", 3, 4, "3456"},
		{"k", 9, 1, "9"},
		{"k", 9, 100, "9"},
		{"k", 10, 1, ""},
		{"k", 11, 5, ""},
		{"k", 4, -1, "456789"},
		{"k", 10, -1, ""},
		{"k", 5, 0, ""},
		{"empty", 0, -1, ""},
		{"empty", 0, 5, ""},
		{"empty", 1, 5, ""},
	} {
		var size int64
		if got := s.part(c.key, c.off, c.n, &size); got != c.want {
			s.Errorf("%s from %d, %d bytes: %q, want %q", c.key, c.off, c.n, got, c.want)
		}
		if want := map[string]int64{"k": 10, "empty": 0}[c.key]; size != want {
			s.Errorf("%s from %d: size %d, want %d", c.key, c.off, size, want)
		}
	}
}

func overwrite(s *suite) {
	s.put("k", "first, and longer")
	s.put("k", "second")
	s.put("k", "second") // the same again is fine
	if got := s.get("k"); got != "second" {
		s.Errorf("after another put: %q", got)
	}
}

func create(s *suite) {
	s.must(s.create("d/k", "mine"))
	s.want(s.create("d/k", "yours"), objstore.ErrExists)
	s.want(s.create("d/k", "mine"), objstore.ErrExists) // also when it is the same
	if got := s.get("d/k"); got != "mine" {
		s.Errorf("a refused create left %q", got)
	}
	s.must(s.store.Delete(s.ctx, "d/k"))
	s.must(s.create("d/k", "new"))
}

func createAtOnce(s *suite) {
	const writers = 8
	for round := range 5 {
		key := fmt.Sprintf("race/%d", round)
		var won atomic.Int32
		var winner atomic.Value
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() {
				data := fmt.Sprintf("writer %d", i)
				switch err := s.create(key, data); {
				case err == nil:
					won.Add(1)
					winner.Store(data)
				case !errors.Is(err, objstore.ErrExists):
					s.Errorf("writer %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			s.Fatalf("%d of %d creates of one key succeeded", won.Load(), writers)
		}
		if got := s.get(key); got != winner.Load() {
			s.Errorf("%q won, and there is %q", winner.Load(), got)
		}
	}
}

func deletes(s *suite) {
	s.put("a/k", "x")
	s.must(s.store.Delete(s.ctx, "a/k"))
	s.must(s.store.Delete(s.ctx, "a/k"))
	s.must(s.store.Delete(s.ctx, "never/there"))
	_, _, err := s.store.Get(s.ctx, "a/k", 0, -1)
	s.want(err, objstore.ErrNotFound)
	if got := s.list("", ""); len(got) != 0 {
		s.Errorf("after the delete there are %v", got)
	}
}

func lists(s *suite) {
	for _, key := range []string{"a/1", "a/2", "a.b", "a/10", "ab/1", "b", "a-/x", "A"} {
		s.put(key, key)
	}
	for _, c := range []struct {
		prefix, after string
		want          []string
	}{
		{"", "", []string{"A:1", "a-/x:4", "a.b:3", "a/1:3", "a/10:4", "a/2:3", "ab/1:4", "b:1"}},
		{"a/", "", []string{"a/1:3", "a/10:4", "a/2:3"}},
		{"a/1", "", []string{"a/1:3", "a/10:4"}},
		{"a/", "a/1", []string{"a/10:4", "a/2:3"}},
		{"a/", "a/100", []string{"a/2:3"}},
		{"a/", "a/2", nil},
		{"", "a/2", []string{"ab/1:4", "b:1"}},
		{"", "zzz", nil},
		{"none/", "", nil},
		{"b/", "", nil},
	} {
		if got := s.list(c.prefix, c.after); !slices.Equal(got, c.want) {
			s.Errorf("list %q after %q: %v, want %v", c.prefix, c.after, got, c.want)
		}
	}
	for o, err := range s.store.List(s.ctx, "", "") { // stopping early
		s.must(err)
		if o.Key != "A" {
			s.Errorf("first is %q", o.Key)
		}
		break
	}
}

// many is more than a store gives in one answer.
func many(s *suite) {
	const n = 1050
	work := make(chan int)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range work {
				if err := s.create(fmt.Sprintf("m/%06d", i), "x"); err != nil {
					s.Error(err)
				}
			}
		})
	}
	for i := range n {
		work <- i
	}
	close(work)
	wg.Wait()
	got := s.list("m/", "")
	if len(got) != n || got[0] != "m/000000:1" || got[n-1] != fmt.Sprintf("m/%06d:1", n-1) || !slices.IsSorted(got) {
		s.Errorf("%d objects listed, want %d in order", len(got), n)
	}
}

func heads(s *suite) {
	h := s.store.Head("p/head")
	_, _, err := h.Load(s.ctx)
	s.want(err, objstore.ErrNotFound)
	_, err = h.Swap(s.ctx, "made-up", []byte("x"))
	s.want(err, objstore.ErrConflict)
	one, err := h.Swap(s.ctx, "", []byte("one"))
	s.must(err)
	_, err = h.Swap(s.ctx, "", []byte("another first"))
	s.want(err, objstore.ErrConflict)
	data, tag, err := h.Load(s.ctx)
	s.must(err)
	if string(data) != "one" || tag != one {
		s.Errorf("loaded %q with tag %q, want one with tag %q", data, tag, one)
	}
	two, err := s.store.Head("p/head").Swap(s.ctx, one, []byte("two")) // two values of one head are one head
	s.must(err)
	_, err = h.Swap(s.ctx, one, []byte("late"))
	s.want(err, objstore.ErrConflict)
	if data, tag, err = h.Load(s.ctx); err != nil || string(data) != "two" || tag != two {
		s.Errorf("loaded %q with tag %q and %v, want two with tag %q", data, tag, err, two)
	}
	if got := s.get("p/head"); got != "two" {
		s.Errorf("the head as an object is %q", got)
	}
	_, err = h.Swap(s.ctx, two, bytes.Repeat([]byte("x"), objstore.MaxHead+1))
	s.want(err, objstore.ErrTooLarge)
}

// largeHead loads what no Swap wrote.
func largeHead(s *suite) {
	s.put("head", strings.Repeat("x", objstore.MaxHead+1))
	_, _, err := s.store.Head("head").Load(s.ctx)
	s.want(err, objstore.ErrTooLarge)
}

func swapAtOnce(s *suite) {
	h := s.store.Head("counter")
	const writers, each = 4, 5
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				if err := count(s.ctx, h); err != nil {
					s.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	data, _, err := h.Load(s.ctx)
	s.must(err)
	if len(data) != writers*each {
		s.Errorf("%d increments counted of %d", len(data), writers*each)
	}
}

// count makes a head one byte longer.
func count(ctx context.Context, h objstore.Head) error {
	for {
		data, tag, err := h.Load(ctx)
		if err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
		if _, err = h.Swap(ctx, tag, append(data, 'x')); !errors.Is(err, objstore.ErrConflict) {
			return err
		}
	}
}

func keys(s *suite) {
	for _, key := range []string{"", "/", "/a", "a/", "a//b", "../a", "a/../b", ".a", "a/.b", "a b", "a\\b", "ä", "a\x00", strings.Repeat("x", 1025)} {
		s.want(s.create(key, "x"), objstore.ErrKey)
		_, _, err := s.store.Get(s.ctx, key, 0, -1)
		s.want(err, objstore.ErrKey)
		s.want(s.store.Delete(s.ctx, key), objstore.ErrKey)
		_, err = s.store.Head(key).Swap(s.ctx, "", []byte("x"))
		s.want(err, objstore.ErrKey)
	}
	for _, key := range []string{"A-z_0.9", "a/=2Eb=3D", "a/b/c/d/e/f", "a..b", "head.tmp"} {
		s.must(s.create(key, key))
		if got := s.get(key); got != key {
			s.Errorf("%s: %q", key, got)
		}
	}
}

func cancelled(s *suite) {
	s.put("k", "x")
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, _, err := s.store.Get(ctx, "k", 0, -1)
	s.want(err, context.Canceled)
	s.want(s.store.Create(ctx, "new", strings.NewReader("x"), 1), context.Canceled)
	s.want(s.store.Delete(ctx, "k"), context.Canceled)
	for _, err := range s.store.List(ctx, "", "") {
		s.want(err, context.Canceled)
	}
	if got := s.list("", ""); !slices.Equal(got, []string{"k:1"}) {
		s.Errorf("cancelled calls left %v", got)
	}
}

func subs(s *suite) {
	outer := s.store
	sub := objstore.Sub(outer, "/part/one/")
	s.put("zzz", "outside")
	s.store = sub
	s.put("a/k", "inside")
	if got := s.list("", ""); !slices.Equal(got, []string{"a/k:6"}) {
		s.Errorf("the part holds %v", got)
	}
	if got := s.list("", "a/k"); len(got) != 0 {
		s.Errorf("after the last: %v", got)
	}
	heads(s)
	s.store = outer
	if got := s.list("part/", ""); !slices.Equal(got, []string{"part/one/a/k:6", "part/one/p/head:3"}) {
		s.Errorf("the whole holds %v", got)
	}
}

func probe(s *suite) {
	s.must(objstore.Probe(s.ctx, s.store))
	if got := s.list("", ""); len(got) != 0 {
		s.Errorf("the probe left %v", got)
	}
}
