package objstore_test

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	for name, wrap := range map[string]func(objstore.Store) objstore.Store{
		"retry": func(s objstore.Store) objstore.Store { return objstore.Retry(s, nil) },
		"limit": func(s objstore.Store) objstore.Store {
			return objstore.NewLimiter(objstore.LimitOptions{RequestsPerSecond: 1e6, BytesPerSecond: 1e9}).Limit(s)
		},
		"no limit": func(s objstore.Store) objstore.Store { return objstore.NewLimiter(objstore.LimitOptions{}).Limit(s) },
		"meter":    func(s objstore.Store) objstore.Store { return objstore.Metered(s, new(objstore.Meter)) },
		"faults":   func(s objstore.Store) objstore.Store { return objstore.Faulty(s, new(objstore.Faults)) },
		"kept":     func(s objstore.Store) objstore.Store { return objstore.Kept(s, t.TempDir()) },
		"sub":      func(s objstore.Store) objstore.Store { return objstore.Sub(s, "some/where") },
		"all": func(s objstore.Store) objstore.Store {
			s = objstore.Metered(objstore.Sub(s, "x"), new(objstore.Meter))
			return objstore.Retry(objstore.NewLimiter(objstore.LimitOptions{BytesPerSecond: 1e9}).Limit(s), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			objstoretest.Run(t, func(*testing.T) objstore.Store { return wrap(new(mem.Store)) })
		})
	}
}

// With every third call of a key failing, in each of the two ways, Retry keeps the promises; but it cannot tell its own
// writes from equal ones of another, which two parts of the suite make. Every third call of all would not do: of calls
// made at once, it could be the same one that fails, until its tries are used up.
func TestRetryConforms(t *testing.T) {
	for name, out := range map[string]objstore.Outcome{"refused": objstore.Refuse, "deceived": objstore.Deceive} {
		t.Run(name, func(t *testing.T) {
			objstoretest.Run(t, func(t *testing.T) objstore.Store {
				var mu sync.Mutex
				calls := map[string]int{}
				f := &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
					mu.Lock()
					defer mu.Unlock()
					i := calls[c.Key]
					calls[c.Key]++
					if i%3 == 0 {
						return out
					}
					return objstore.Pass
				}}
				t.Cleanup(func() {
					if f.Calls() > 0 && f.Fired() == 0 {
						t.Error("no fault was reached")
					}
				})
				return objstore.Retry(objstore.Faulty(new(mem.Store), f), &objstore.RetryOptions{Tries: 20, Pause: 2, Most: 2})
			}, "create", "swap at once")
		})
	}
}

func create(t *testing.T, s objstore.Store, key, data string) error {
	t.Helper()
	return s.Create(t.Context(), key, strings.NewReader(data), int64(len(data)))
}

func get(t *testing.T, s objstore.Store, key string) string {
	t.Helper()
	body, _, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// A create whose first try was carried out finds the key taken; whether by itself is told by the content.
func TestRetryTellsItsOwnFromOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(mem.Store)
		f := &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome { return objstore.Pass }}
		s := objstore.Retry(objstore.Faulty(inner, f), nil)
		once := func(out objstore.Outcome, op objstore.Op) {
			done := false
			f.Decide = func(_ int, c objstore.Call) objstore.Outcome {
				if c.Op != op || done {
					return objstore.Pass
				}
				done = true
				return out
			}
		}
		once(objstore.Deceive, objstore.OpCreate)
		if err := create(t, s, "k", "mine"); err != nil {
			t.Errorf("my own: %v", err)
		}
		once(objstore.Refuse, objstore.OpCreate)
		if err := create(t, s, "k", "yours"); !errors.Is(err, objstore.ErrExists) {
			t.Errorf("another's: %v", err)
		}
		h := s.Head("head")
		once(objstore.Deceive, objstore.OpSwap)
		tag, err := h.Swap(t.Context(), "", []byte("one"))
		if err != nil {
			t.Fatalf("my own swap: %v", err)
		}
		if _, err := inner.Head("head").Swap(t.Context(), tag, []byte("theirs")); err != nil {
			t.Fatalf("the tag that was returned is not the content's: %v", err)
		}
		once(objstore.Refuse, objstore.OpSwap)
		if _, err := h.Swap(t.Context(), tag, []byte("mine")); !errors.Is(err, objstore.ErrConflict) {
			t.Errorf("another's swap: %v", err)
		}
		if f.Fired() != 4 {
			t.Errorf("%d faults of 4 fired", f.Fired())
		}
	})
}

func TestRetryGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome { return objstore.Refuse }}
		pauses := 0
		s := objstore.Retry(objstore.Faulty(new(mem.Store), f), &objstore.RetryOptions{
			Tries: 5, Pause: time.Second, Most: 3 * time.Second,
			Notify: func(objstore.Call, int, time.Duration, error) { pauses++ },
		})
		start := time.Now()
		if err := create(t, s, "k", "x"); !errors.Is(err, objstore.ErrInjected) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(start); took < 4500*time.Millisecond || took > 9*time.Second || pauses != 4 || f.Calls() != 5 {
			t.Errorf("%d calls, %d pauses, in %v", f.Calls(), pauses, took) // 0.5–1 + 1–2 + 1.5–3 + 1.5–3 s
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if err := s.Delete(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a deadline: %v", err)
		}
	})
}

// broken is a store whose bodies break off after some bytes.
type broken struct {
	objstore.Store
	after int64
	times int
}

func (b *broken) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, size, err := b.Store.Get(ctx, key, off, n)
	if err != nil || b.times == 0 {
		return body, size, err
	}
	b.times--
	return io.NopCloser(io.LimitReader(body, b.after)), size, nil
}

func TestRetryContinuesABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner := new(mem.Store)
		data := strings.Repeat("0123456789", 1000)
		if err := create(t, inner, "k", data); err != nil {
			t.Fatal(err)
		}
		b := &broken{Store: inner, after: 777, times: 4}
		if got := get(t, objstore.Retry(b, nil), "k"); got != data || b.times != 0 {
			t.Errorf("%d bytes of %d came, %d breaks left", len(got), len(data), b.times)
		}
		b.times = 100
		body, _, err := objstore.Retry(b, nil).Get(t.Context(), "k", 5, 9000)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(body); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a body that always breaks: %v", err)
		}
	})
}

func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := objstore.NewLimiter(objstore.LimitOptions{RequestsPerSecond: 10}).Limit(new(mem.Store))
		start := time.Now()
		for range 35 {
			if err := s.Delete(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 2300*time.Millisecond || took > 2600*time.Millisecond {
			t.Errorf("35 requests at 10 a second took %v", took) // the first 11 at once
		}
		s = objstore.NewLimiter(objstore.LimitOptions{BytesPerSecond: 1000}).Limit(new(mem.Store))
		start = time.Now()
		for _, key := range []string{"a", "b", "c", "d"} {
			if err := create(t, s, key, strings.Repeat("x", 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if got := get(t, s, "a"); len(got) != 1000 {
			t.Errorf("%d bytes", len(got))
		}
		if took := time.Since(start); took < 3*time.Second || took > 6*time.Second {
			t.Errorf("5000 bytes at 1000 a second took %v", took)
		}
	})
}

// Several stores share one rate.
func TestLimiterShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := objstore.NewLimiter(objstore.LimitOptions{RequestsPerSecond: 10})
		a, b := l.Limit(new(mem.Store)), l.Limit(new(mem.Store))
		start := time.Now()
		for range 15 {
			if err := errors.Join(a.Delete(t.Context(), "k"), b.Delete(t.Context(), "k")); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 1800*time.Millisecond || took > 2100*time.Millisecond {
			t.Errorf("30 requests at 10 a second took %v", took) // the first 11 at once
		}
	})
}

func TestMeterCounts(t *testing.T) {
	m := new(objstore.Meter)
	s := objstore.Metered(new(mem.Store), m)
	for range 2 {
		_ = create(t, s, "k", "12345") // the second is refused
	}
	get(t, s, "k")
	if _, err := s.Head("h").Swap(t.Context(), "", []byte("123")); err != nil {
		t.Fatal(err)
	}
	calls, read := m.Counts()
	if c := calls[objstore.OpCreate]; c.Requests != 2 || c.Failed != 1 || c.Written != 10 {
		t.Errorf("creates: %+v", c)
	}
	if calls[objstore.OpGet].Requests != 1 || calls[objstore.OpSwap].Written != 3 || read != 5 || m.Requests() != 4 {
		t.Errorf("counted %+v, %d bytes read", calls, read)
	}
	// Three writes, a read, five bytes out, and a removal for nothing.
	if err := s.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	if got := m.Cost(objstore.Prices{Storage: 1e9, Put: 1000, Get: 100, Out: 2e9}); got != 3+0.1+10 {
		t.Errorf("they cost %v", got)
	}
}

func TestReadOnly(t *testing.T) {
	inner := new(mem.Store)
	if err := create(t, inner, "k", "x"); err != nil {
		t.Fatal(err)
	}
	s := objstore.ReadOnly(inner)
	_, swapped := s.Head("k").Swap(t.Context(), "", nil)
	for what, err := range map[string]error{
		"create": create(t, s, "new", "x"), "put": s.Put(t.Context(), "k", strings.NewReader(""), 0),
		"delete": s.Delete(t.Context(), "k"), "swap": swapped, "probe": objstore.Probe(t.Context(), s),
	} {
		if !errors.Is(err, objstore.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if got := get(t, s, "k"); got != "x" {
		t.Errorf("read %q", got)
	}
}

// liar ignores the conditions of one kind of write.
type liar struct {
	objstore.Store
	swaps bool
}

func (l *liar) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if l.swaps {
		return l.Store.Create(ctx, key, body, size)
	}
	return l.Put(ctx, key, body, size)
}

func (l *liar) Head(key string) objstore.Head { return &liarHead{l.Store.Head(key), l} }

type liarHead struct {
	objstore.Head
	l *liar
}

func (h *liarHead) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	if h.l.swaps {
		_, old, _ = h.Load(ctx)
	}
	return h.Head.Swap(ctx, old, data)
}

func TestProbe(t *testing.T) {
	for _, swaps := range []bool{false, true} {
		s := &liar{new(mem.Store), swaps}
		if err := objstore.Probe(t.Context(), s); !errors.Is(err, objstore.ErrLies) {
			t.Errorf("swaps %v: %v", swaps, err)
		}
		for o := range s.List(t.Context(), "", "") {
			t.Errorf("the probe left %v", o)
		}
	}
}

// aged is a store whose objects with 01d in their name are from two days ago.
type aged struct{ objstore.Store }

func (a aged) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		for o, err := range a.Store.List(ctx, prefix, after) {
			if strings.Contains(o.Key, "01d") {
				o.Modified = o.Modified.Add(-48 * time.Hour)
			}
			if !yield(o, err) {
				return
			}
		}
	}
}

// What a probe left that was killed goes with one that is made a day later; what is younger may be another's that runs, and
// what is named otherwise is not a probe's.
func TestProbeSweeps(t *testing.T) {
	s := aged{new(mem.Store)}
	const old, young = "probe-00000000000001d0", "probe-00000000000000aa"
	for _, key := range []string{old, young, "probe-01d", "probe-notes-of-01d", "01d"} {
		if err := s.Create(t.Context(), key, strings.NewReader("x"), 1); err != nil {
			t.Fatal(err)
		}
	}
	if err := objstore.Probe(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var left []string
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, o.Key)
	}
	if want := []string{"01d", young, "probe-01d", "probe-notes-of-01d"}; !slices.Equal(left, want) {
		t.Errorf("left %q, want %q", left, want)
	}
}
