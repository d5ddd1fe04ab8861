package upkeep_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// copied is another store with the same objects.
func copied(t testing.TB, from objstore.Store) *mem.Store {
	t.Helper()
	to := new(mem.Store)
	keys, _ := objects(t, from)
	for _, key := range keys {
		body, size, err := from.Get(t.Context(), key, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(body)
		if err == nil {
			err = to.Put(t.Context(), key, strings.NewReader(string(data)), size)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// old is a small archive for which every kind of step is due.
func old(t testing.TB) (*primary, archive.Retention) {
	p := newPrimary(t, 9)
	p.live(40, 20*time.Second)
	p.now = p.now.Add(40 * day)
	p.live(20, 20*time.Second)
	p.point("release")
	p.live(10, 20*time.Second)
	p.now = p.now.Add(2 * day)
	p.live(20, 20*time.Second)
	p.now = p.now.Add(2 * time.Hour)
	return p, archive.Retention{All: day, Minutes: 30 * day}
}

// calls are what a plan asks of a store, and in steps of which kind.
type calls []string

// count carries a plan out, and notes its calls.
func (p *primary) count(s objstore.Store, r archive.Retention) (all calls) {
	p.t.Helper()
	var mu sync.Mutex // some calls are made at the same time
	at, o := "", p.options(r)
	o.Step = func(s archive.Step) {
		mu.Lock()
		defer mu.Unlock()
		at = s.Op
	}
	_, err := upkeep.Run(p.t.Context(), objstore.Faulty(s, &objstore.Faults{Decide: func(i int, c objstore.Call) objstore.Outcome {
		mu.Lock()
		defer mu.Unlock()
		all = append(all, make(calls, max(0, i+1-len(all)))...)
		all[i] = fmt.Sprint(at, " ", c.Op, " ", strings.Map(func(r rune) rune {
			if strings.ContainsRune("0123456789abcdef", r) {
				return -1
			}
			return r
		}, c.Key))
		return objstore.Pass
	}}), o)
	p.check(err)
	return all
}

// chosen are the calls that a test has fail, one at a time: all, and with -short, as under the race detector, the last
// of each kind: of an operation, in a kind of step, on objects whose names differ in their numbers only.
func (c calls) chosen() (some []int) {
	last := map[string]int{}
	for i, kind := range c {
		last[kind] = i
	}
	for i, kind := range c {
		if !testing.Short() || last[kind] == i {
			some = append(some, i)
		}
	}
	return some
}

// Every call of a store fails once, in each of the two ways, in every step of a plan and between them. What failed is
// done again by the next run, and in the end there is what there would have been, and nothing else.
func TestEveryCallFails(t *testing.T) {
	p, r := old(t)
	from := p.store
	clean := copied(t, from)
	count := p.count(clean, r)
	want, _ := objects(t, clean)
	p.store = clean
	states := p.restorable()
	ops := make(map[string]bool)
	for k, i := range count.chosen() {
		for way, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			if testing.Short() && k%2 != way {
				continue
			}
			s := copied(t, from)
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			o := p.options(r)
			at := ""
			o.Step = func(s archive.Step) { at = s.Op }
			_, err := upkeep.Run(t.Context(), objstore.Faulty(s, f), o)
			if f.Fired() != 1 {
				t.Fatalf("call %d, outcome %d: never reached", i, out)
			}
			if err != nil {
				ops[at] = true
				if _, err = upkeep.Run(t.Context(), s, p.options(r)); err != nil {
					t.Fatalf("call %d, outcome %d, again: %v", i, out, err)
				}
			}
			if got, _ := objects(t, s); !slices.Equal(got, want) {
				t.Fatalf("call %d, outcome %d, in %s: objects %v, want %v", i, out, at, got, want)
			}
			if p.store = s; i%9 == 0 {
				if got := p.restorable(); len(got) != len(states) {
					t.Errorf("call %d: %d states, want %d", i, len(got), len(states))
				}
			}
		}
	}
	for _, op := range []string{archive.OpMerge, archive.OpFold, archive.OpBase, archive.OpForget, archive.OpDelete} {
		if !ops[op] {
			t.Errorf("no call failed in a step of %s", op)
		}
	}
}

// A plan that is killed at any call is carried on by whoever comes next. Until then everything is readable: what was
// kept by the plan can be restored at every moment of it.
func TestKilledAtAnyCall(t *testing.T) {
	p, r := old(t)
	from := p.store
	clean := copied(t, from)
	count := p.count(clean, r)
	want, _ := objects(t, clean)
	kept := p.want(r)
	resumed := 0
	for k, i := range count.chosen() {
		if testing.Short() && k%2 == 0 {
			continue
		}
		s := copied(t, from)
		ctx, kill := context.WithCancel(t.Context())
		f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
			if n < i {
				return objstore.Pass
			}
			kill()
			if n == i && i%2 == 0 {
				return objstore.Deceive // it was carried out, and nobody learned
			}
			return objstore.Refuse
		}}
		_, err := upkeep.Run(ctx, objstore.Faulty(s, f), p.options(r))
		kill()
		if err == nil {
			t.Fatalf("call %d: not killed", i)
		}
		if p.store = s; i%6 == 0 {
			got := p.restorable()
			for id := range kept {
				if !got[id] {
					t.Fatalf("killed at call %d: transaction %d cannot be restored", i, id)
				}
			}
		}
		done, err := upkeep.Run(t.Context(), s, p.options(r))
		if err != nil {
			t.Fatalf("after being killed at call %d: %v", i, err)
		}
		if done.Resumed {
			resumed++
		}
		if got, _ := objects(t, s); !slices.Equal(got, want) {
			t.Fatalf("killed at call %d: objects %v, want %v", i, got, want)
		}
	}
	if n := len(count.chosen()); resumed < n/6 {
		t.Errorf("%d of %d were resumed", resumed, n)
	}
}

// Two that carry out one plan do no harm, and neither does a hold that is put on meanwhile.
func TestTwoAtOnce(t *testing.T) {
	p, r := old(t)
	from := p.store
	clean := copied(t, from)
	if _, err := upkeep.Run(t.Context(), clean, p.options(r)); err != nil {
		t.Fatal(err)
	}
	want, _ := objects(t, clean)
	for at := range 7 {
		for _, hold := range []bool{false, true} {
			s, n := copied(t, from), 0
			o := p.options(r)
			o.Step = func(archive.Step) {
				if n++; n-1 != at {
					return
				}
				if hold {
					p.check(archive.SetHold(t.Context(), s, "", &archive.Hold{TXID: p.last(), What: "all"}))
					return
				}
				_, err := upkeep.Run(t.Context(), s, p.options(r))
				p.check(err)
			}
			_, err := upkeep.Run(t.Context(), s, o)
			if err != nil && !errors.Is(err, archive.ErrMoved) {
				t.Fatalf("step %d: %v", at, err)
			}
			if p.store = s; !testing.Short() || at%3 == 0 {
				p.restorable()
			}
			if hold {
				continue
			}
			if _, err := upkeep.Run(t.Context(), s, p.options(r)); err != nil {
				t.Fatal(err)
			}
			if got, _ := objects(t, s); !slices.Equal(got, want) {
				t.Errorf("step %d: objects %v, want %v", at, got, want)
			}
		}
	}
}

// Without pages nothing is folded, and that is said before anything is done.
func TestNoPages(t *testing.T) {
	p, r := old(t)
	before, _ := objects(t, p.store)
	if _, err := archive.Maintain(t.Context(), p.store, p.options(r)); err == nil {
		t.Error("folded without pages")
	}
	if after, _ := objects(t, p.store); !slices.Equal(before, after) {
		t.Errorf("objects %v became %v", before, after)
	}
}

// So it is when a plan is carried on that somebody began and did not end: that, too, may fail at any call.
func TestEveryCallFailsOfAPlanCarriedOn(t *testing.T) {
	p, r := old(t)
	clean := copied(t, p.store)
	count := p.count(clean, r)
	want, _ := objects(t, clean)
	kept := p.want(r)
	begun := p.store
	ctx, kill := context.WithCancel(t.Context())
	half := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
		if n < len(count)/2 {
			return objstore.Pass
		}
		kill()
		return objstore.Refuse
	}}
	if _, err := upkeep.Run(ctx, objstore.Faulty(begun, half), p.options(r)); err == nil {
		t.Fatal("not killed")
	}
	count = p.count(copied(t, begun), r)
	for k, i := range count.chosen() {
		for way, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			if testing.Short() && k%2 != way {
				continue
			}
			s := copied(t, begun)
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			_, err := upkeep.Run(t.Context(), objstore.Faulty(s, f), p.options(r))
			if f.Fired() != 1 {
				t.Fatalf("call %d, outcome %d: never reached", i, out)
			}
			if p.store = s; err != nil && i%5 == 0 {
				got := p.restorable()
				for id := range kept {
					if !got[id] {
						t.Fatalf("call %d, outcome %d: transaction %d cannot be restored", i, out, id)
					}
				}
			}
			if err != nil {
				_, err = upkeep.Run(t.Context(), s, p.options(r))
			}
			if got, _ := objects(t, s); err != nil || !slices.Equal(got, want) {
				t.Fatalf("call %d, outcome %d: objects %v, want %v, %v", i, out, got, want, err)
			}
		}
	}
}

// A hold is put on and lifted whatever call fails, in either way: it is there when that is said, and may be done again.
func TestEveryCallOfAHoldFails(t *testing.T) {
	p := newPrimary(t, 10)
	p.live(20, time.Second)
	for i, calls := 0, 1; i < calls; i++ {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			for _, hold := range []*archive.Hold{{TXID: 7, What: "evidence"}, nil} {
				f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
					if n == i {
						return out
					}
					return objstore.Pass
				}}
				err := archive.SetHold(t.Context(), objstore.Faulty(p.store, f), "", hold)
				calls = max(calls, f.Calls())
				if (err != nil) != (f.Fired() > 0) && out == objstore.Refuse {
					t.Errorf("call %d, fired %d: %v", i, f.Fired(), err)
				}
				if err != nil {
					p.check(archive.SetHold(t.Context(), p.store, "", hold))
				}
				r, err := archive.Open(t.Context(), p.store, nil)
				p.check(err)
				if is := r.Head().Hold; (is == nil) != (hold == nil) || is != nil && *is != *hold {
					t.Errorf("call %d, outcome %d: the hold is %+v, want %+v", i, out, is, hold)
				}
				p.check(r.Close())
			}
		}
	}
}
