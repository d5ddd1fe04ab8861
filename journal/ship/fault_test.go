package ship_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// story is a primary whose shipping meets every kind of call: a base, several batches, another base, a second run.
func story(t testing.TB) *primary {
	p := newPrimary(t, 11)
	p.base(true)
	p.live(12)
	p.base(false)
	p.live(3)
	return p
}

// tell ships a story in two runs through a store.
func tell(ctx context.Context, p *primary, s objstore.Store) error {
	for range 2 {
		o := ship.Options{Store: s, Once: true, BatchBytes: 700, Clock: new(clock)}
		if _, err := ship.Run(ctx, p.dir, &o); err != nil {
			return err
		}
	}
	return nil
}

// Every call of a store fails once, in each of the two ways, in each phase of shipping, and the archive comes out as
// if none had.
func TestEveryCallFails(t *testing.T) {
	p := story(t)
	count := new(calls)
	clean := new(mem.Store)
	if err := tell(t.Context(), p, count.of(clean)); err != nil {
		t.Fatal(err)
	}
	want := keys(t, clean)
	if len(count.all) < 30 || len(want) < 8 {
		t.Fatalf("a story of %d calls and %d objects", len(count.all), len(want))
	}
	for _, i := range count.chosen() {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			func() {
				s := new(mem.Store)
				f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
					if n == i {
						return out
					}
					return objstore.Pass
				}}
				if err := tell(t.Context(), p, objstore.Faulty(s, f)); err != nil {
					t.Fatalf("call %d, outcome %d: %v", i, out, err)
				}
				if f.Fired() != 1 {
					t.Fatalf("call %d, outcome %d: never reached", i, out)
				}
				compareKeys(t, i, want, keys(t, s))
				if i%5 == 0 {
					p.checkArchive(s, p.last(), 2)
				}
			}()
		}
	}
}

// sample is of how many of n states a test looks at.
func sample(n int) int {
	if testing.Short() {
		return max(1, n/5)
	}
	return n
}

// calls notes what is asked of a store.
type calls struct {
	mu  sync.Mutex
	all []objstore.Call // under mu
}

func (c *calls) of(s objstore.Store) objstore.Store {
	return objstore.Faulty(s, &objstore.Faults{Decide: func(i int, call objstore.Call) objstore.Outcome {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all = append(c.all, make([]objstore.Call, max(0, i+1-len(c.all)))...)
		c.all[i] = call
		return objstore.Pass
	}})
}

// chosen are the calls that a test has fail, one at a time: all, and with -short, as under the race detector, the first
// and the last of each kind: of an operation, on objects whose names differ in their numbers only.
func (c *calls) chosen() (some []int) {
	first, last := map[string]int{}, map[string]int{}
	kind := func(call objstore.Call) string {
		return fmt.Sprint(call.Op, " ", strings.Map(func(r rune) rune {
			if strings.ContainsRune("0123456789abcdef", r) {
				return -1
			}
			return r
		}, call.Key))
	}
	for i, call := range c.all {
		k := kind(call)
		if _, ok := first[k]; !ok {
			first[k] = i
		}
		last[k] = i
	}
	for i, call := range c.all {
		if k := kind(call); !testing.Short() || first[k] == i || last[k] == i {
			some = append(some, i)
		}
	}
	return some
}

// keys are the sizes of an archive's objects.
func keys(t testing.TB, s objstore.Store) map[string]int64 {
	t.Helper()
	found := make(map[string]int64)
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		found[o.Key] = o.Size
	}
	return found
}

// compareKeys compares two archives of one trail: same batches, same bases, nothing else but what a probe that could
// not delete left.
func compareKeys(t testing.TB, call int, want, got map[string]int64) {
	t.Helper()
	for key, size := range want {
		if key == "head" {
			continue
		}
		if got[key] != size {
			t.Errorf("call %d: %s has %d bytes, want %d", call, key, got[key], size)
		}
	}
	probes := 0
	for key := range got {
		if _, ok := want[key]; !ok {
			if probes++; probes > 1 || len(key) != len("probe-0123456789abcdef") {
				t.Errorf("call %d: %s is too much", call, key)
			}
		}
	}
}

// A shipper that is killed before or after any call, and started again, goes on as if nothing had been. What it had
// shipped is not shipped again.
func TestKilledAtAnyCall(t *testing.T) {
	p := story(t)
	count, clean := new(calls), new(mem.Store)
	if err := tell(t.Context(), p, count.of(clean)); err != nil {
		t.Fatal(err)
	}
	want := keys(t, clean)
	for _, i := range count.chosen() {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			s := new(mem.Store)
			ctx, kill := context.WithCancel(t.Context())
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				switch {
				case n == i && out == objstore.Refuse:
					kill()
					return objstore.Refuse
				case n == i+1:
					kill()
				}
				if n > i {
					return objstore.Refuse // the dead make no calls
				}
				return objstore.Pass
			}}
			if err := tell(ctx, p, objstore.Faulty(s, f)); err == nil && out == objstore.Refuse {
				t.Fatalf("call %d: not killed", i)
			}
			kill()
			before := keys(t, s)
			if err := tell(t.Context(), p, s); err != nil {
				t.Fatalf("after being killed at call %d: %v", i, err)
			}
			after := keys(t, s)
			compareKeys(t, i, want, after)
			for key := range before {
				if after[key] != before[key] && key != "head" && key[:5] != "probe" {
					t.Errorf("call %d: %s was written again", i, key)
				}
			}
		}
	}
}

// A store that is away for hours is waited for, with pauses that grow to a limit; nothing is lost, and the commits of
// that time share batches.
func TestStoreIsAway(t *testing.T) {
	p := newPrimary(t, 12)
	p.live(10)
	s := new(mem.Store)
	c := new(clock)
	for h := range 4 {
		c.at(time.Duration(h+1)*time.Hour, func() { p.live(5) })
	}
	f := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if c.now < 5*time.Hour {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	ctx, stop := context.WithCancel(t.Context())
	var longest time.Duration
	o := ship.Options{Store: objstore.Faulty(s, f), MostPause: time.Minute, Clock: c, Events: ship.Events{
		Retry: func(_ error, _ int, pause time.Duration) { longest = max(longest, pause) },
		Batch: func(b journal.Batch) {
			if b.Last == p.last() {
				stop()
			}
		},
	}}
	if _, err := ship.Run(ctx, p.dir, &o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if longest < 30*time.Second || longest > time.Minute || f.Fired() < 300 || f.Fired() > 700 {
		t.Errorf("%d refused calls in 5 hours, the longest pause %v", f.Fired(), longest)
	}
	p.checkArchive(s, p.last(), 5)
}

// clock is a ship.Clock that stands still but when somebody sleeps, and then does what is due meanwhile.
type clock struct {
	now time.Duration // since the beginning
	due []event       // in order
}

type event struct {
	at time.Duration
	do func()
}

func (c *clock) at(at time.Duration, do func()) { c.due = append(c.due, event{at, do}) }

func (c *clock) Now() time.Time { return time.Unix(1_790_000_000, 0).Add(c.now) }

func (c *clock) Sleep(ctx context.Context, d time.Duration) error {
	to := c.now + d
	for len(c.due) > 0 && c.due[0].at <= to {
		e := c.due[0]
		c.due, c.now = c.due[1:], e.at
		e.do()
	}
	c.now = to
	return context.Cause(ctx)
}
