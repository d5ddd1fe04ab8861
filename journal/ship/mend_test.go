package ship_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// What is gone from an archive but its end is sent again, wherever it was and however much, while the trail has it: also
// where that was sealed into other blocks, or named more restore points since. Then all is as it was, and what came later
// fits.
func TestMissingBatchesAreSentAgain(t *testing.T) {
	kinds := map[string]func(p *primary){
		"at once": func(*primary) {},
		"sealed":  func(p *primary) { p.rotate(true) },
		"named":   func(p *primary) { p.point("late") },
		"more":    func(p *primary) { p.live(5) },
	}
	for name, later := range kinds {
		for gone := range sample(9) {
			for wide := 1; gone+wide < 10; wide += 3 {
				t.Run(fmt.Sprint(name, gone, wide), func(t *testing.T) {
					p, s := newPrimary(t, uint64(40+gone)), new(mem.Store)
					p.base(true)
					p.point("first")
					for range 10 {
						p.live(3)
						once(t, p, s, ship.Options{})
						p.point("shipped with the next")
					}
					all := batches(t, s)
					points, err := openArchive(t, s).Points()
					p.check(err)
					for _, key := range all[gone : gone+wide] {
						p.check(s.Delete(t.Context(), key))
					}
					later(p)
					var why error
					told := ship.Events{Mended: func(_, _ journal.TXID, _ int64, err error) { why = err }}
					if r := once(t, p, s, ship.Options{Events: told}); r.Mended != 1 || why != nil {
						t.Errorf("%+v, %v: want one object that came back", r, why)
					}
					p.checkArchive(s, p.last(), 6)
					after, err := openArchive(t, s).Points()
					p.check(err)
					for _, point := range points {
						n := 0
						for _, q := range after {
							if q == point {
								n++
							}
						}
						if n != 1 {
							t.Errorf("%v is there %d times", point, n)
						}
					}
					if r := once(t, p, s, ship.Options{Mend: true}); r.Mended != 0 {
						t.Errorf("once more: %+v", r)
					}
				})
			}
		}
	}
}

// So are those with which the archive begins: with a base or without one, one batch or more, while the head still says
// where the last ones began and when it does not any more, and where the history was made to begin later. An archive that
// has lost none of them is left as it is.
func TestFirstBatchesAreSentAgain(t *testing.T) {
	begins := map[string]func(p *primary){
		"empty":        func(*primary) {},
		"base":         func(p *primary) { p.base(true) },
		"base between": func(p *primary) { p.commit(4); p.base(false); p.commit(2) },
		"pruned": func(p *primary) {
			p.commit(4)
			p.rotate(true)
			p.commit(3)
			p.base(false)
			p.commit(1)
			p.rotate(true)
			if removed, err := journal.Prune(t.Context(), p.dir, p.last(), nil); err != nil || len(removed) == 0 {
				t.Fatal(removed, err)
			}
		},
	}
	for name, begin := range begins {
		for _, many := range []int{4, 200} {
			for _, wide := range []int{1, 2, 3} {
				t.Run(fmt.Sprint(name, many, wide), func(t *testing.T) {
					p, s := newPrimary(t, uint64(60+wide)), new(mem.Store)
					begin(p)
					p.point("first")
					for range many {
						p.commit(2)
						once(t, p, s, ship.Options{Trusted: true})
					}
					all := batches(t, s)
					if r := once(t, p, s, ship.Options{Mend: true}); r.Mended != 0 || fmt.Sprint(batches(t, s)) != fmt.Sprint(all) {
						t.Fatalf("of an archive that is whole: %+v", r)
					}
					window, err := openArchive(t, s).Window(t.Context())
					p.check(err)
					for _, key := range all[:wide] {
						p.check(s.Delete(t.Context(), key))
					}
					var why error
					told := ship.Events{Mended: func(_, _ journal.TXID, _ int64, err error) { why = err }}
					r := once(t, p, s, ship.Options{Events: told})
					if r.Mended != 1 || why != nil || batches(t, s)[0] != all[0] {
						t.Errorf("%+v, %v, first is %s: want the first object, which was %s", r, why, batches(t, s)[0], all[0])
					}
					p.checkArchive(s, p.last(), 6)
					after, err := openArchive(t, s).Window(t.Context())
					if err != nil || fmt.Sprint(after) != fmt.Sprint(window) {
						t.Errorf("the window was %+v, and is %+v, %v", window, after, err)
					}
					if point, err := openArchive(t, s).FindPoint("first"); err != nil {
						t.Errorf("%+v, %v", point, err)
					}
					if r := once(t, p, s, ship.Options{Mend: true}); r.Mended != 0 {
						t.Errorf("once more: %+v", r)
					}
				})
			}
		}
	}
}

// An archive that began in the middle of a history has lost nothing, though a trail has more than it began with.
func TestBeginningIsKept(t *testing.T) {
	p, s := newPrimary(t, 56), new(mem.Store)
	p.commit(10)
	p.rotate(true)
	p.commit(2)
	p.base(false)
	p.commit(1)
	p.rotate(true)
	saved := filepath.Join(t.TempDir(), "saved")
	p.check(os.CopyFS(saved, os.DirFS(p.dir)))
	removed, err := journal.Prune(t.Context(), p.dir, p.last(), nil)
	if err != nil || len(removed) == 0 {
		t.Fatal(removed, err)
	}
	for range 200 {
		p.commit(1)
		once(t, p, s, ship.Options{Trusted: true})
	}
	all := batches(t, s)
	for _, name := range removed {
		p.check(os.Rename(filepath.Join(saved, name), filepath.Join(p.dir, name)))
	}
	for _, mend := range []bool{false, true} {
		if r := once(t, p, s, ship.Options{Mend: mend}); r.Mended != 0 || fmt.Sprint(batches(t, s)) != fmt.Sprint(all) {
			t.Errorf("asked to mend %v: %+v", mend, r)
		}
	}
	p.checkArchive(s, p.last(), 10)
}

// So it is where the history has gone on to another timeline: the object that comes back is one of the timeline before.
func TestMissingBeforeATimeline(t *testing.T) {
	p, s := newPrimary(t, 54), new(mem.Store)
	for range 6 {
		p.commit(5)
		once(t, p, s, ship.Options{})
	}
	q := p.restored(23, 2, 55)
	q.commit(4)
	once(t, q, s, ship.Options{})
	q.commit(4)
	once(t, q, s, ship.Options{})
	for _, key := range batches(t, s)[1:3] {
		p.check(s.Delete(t.Context(), key))
	}
	if r := once(t, q, s, ship.Options{Mend: true}); r.Mended != 1 {
		t.Errorf("%+v: want one object that came back", r)
	}
	q.checkArchive(s, q.last(), 12)
	p.check(s.Delete(t.Context(), "00000002/1/0000000000000015-0000000000000017.seg")) // the beginning of the batch that was left
	if r := once(t, q, s, ship.Options{Mend: true}); r.Mended != 1 {
		t.Errorf("%+v: want one object that came back", r)
	}
	q.checkArchive(s, q.last(), 12)
}

// Of many batches the head says nothing any more: these are looked at with Options.Mend only.
func TestMendLooksAtAll(t *testing.T) {
	p, s := newPrimary(t, 51), new(mem.Store)
	p.commit(500)
	once(t, p, s, ship.Options{BatchBytes: 1})
	all := batches(t, s)
	p.check(s.Delete(t.Context(), all[len(all)/10]))
	m := new(objstore.Meter)
	if r := once(t, p, objstore.Metered(s, m), ship.Options{Trusted: true}); r.Mended != 0 || m.Requests() > 10 {
		t.Errorf("%+v with %d requests", r, m.Requests())
	}
	if r := once(t, p, s, ship.Options{Mend: true}); r.Mended != 1 || r.Batches != 0 {
		t.Errorf("%+v: want one object that came back", r)
	}
	p.checkArchive(s, p.last(), 5)

	// One that is damaged is not replaced, but named.
	put(t, s, all[len(all)/10], []byte("damaged"))
	_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, Mend: true, Archive: "file:///a"})
	var place *journal.Error
	if !errors.Is(err, journal.ErrCorrupt) || !errors.As(err, &place) || place.Path != "file:///a/"+all[len(all)/10] {
		t.Errorf("with a damaged batch: %v", err)
	}
}

// What the trail does not have any more, or has otherwise, is told, and what comes later is shipped all the same.
func TestCannotBeMended(t *testing.T) {
	p, s := newPrimary(t, 52), new(mem.Store)
	p.base(true)
	for range 6 {
		p.commit(5)
		p.rotate(true)
		once(t, p, s, ship.Options{})
	}
	p.base(false)
	once(t, p, s, ship.Options{})
	all := batches(t, s)
	p.check(s.Delete(t.Context(), all[2]))
	if _, _, err := journal.Discard(t.Context(), p.dir, journal.Disposable{UpTo: p.last(), Before: p.clock + 1}, nil); err != nil {
		t.Fatal(err)
	}
	p.commit(3)
	var told error
	r := once(t, p, s, ship.Options{Events: ship.Events{Mended: func(_, _ journal.TXID, _ int64, err error) { told = err }}})
	if told == nil || r.Mended != 0 || r.Transactions != 3 {
		t.Errorf("%+v, told %v", r, told)
	}
	w, err := openArchive(t, s).Window(t.Context())
	if err != nil || len(w.Gaps) != 1 || w.Spans[len(w.Spans)-1].Last != p.last() {
		t.Errorf("%+v, %v", w, err)
	}
}

// Mending, too, fails at any call in each of the two ways, and is done again.
func TestEveryCallOfMendingFails(t *testing.T) {
	p, s := newPrimary(t, 53), new(mem.Store)
	p.base(true)
	for range 5 {
		p.commit(6)
		once(t, p, s, ship.Options{})
	}
	want := batches(t, s)
	gone := []string{want[0], want[2], want[3]}
	mend := func(through objstore.Store) ship.Result {
		for _, key := range gone {
			p.check(s.Delete(t.Context(), key))
		}
		return once(t, p, through, ship.Options{Trusted: true, Clock: new(clock)})
	}
	count := new(calls)
	if r := mend(count.of(s)); r.Mended != 2 {
		t.Fatalf("%+v", r)
	}
	want = batches(t, s) // two of them are one now
	for i := range count.all {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			if mend(objstore.Faulty(s, f)); f.Fired() != 1 {
				t.Fatalf("call %d: never reached", i)
			}
			if got := batches(t, s); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Fatalf("call %d, outcome %d: %v, want %v", i, out, got, want)
			}
			p.checkArchive(s, p.last(), 2)
		}
	}
}
