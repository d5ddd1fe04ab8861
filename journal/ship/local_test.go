package ship_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// segments lists the files of a trail that Options.Keep may remove.
func segments(t testing.TB, dir string) (names []string) {
	t.Helper()
	for _, glob := range []string{"*.seg", "*.base"} {
		found, err := filepath.Glob(filepath.Join(dir, glob))
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, found...)
	}
	return names
}

// What was shipped and is old leaves the trail; what was not shipped, or is young, stays, however little the disk has.
// The archive has everything, and goes on.
func TestKeep(t *testing.T) {
	p, s, c := newPrimary(t, 30), new(mem.Store), new(clock)
	p.base(true)
	for range 4 {
		p.commit(5)
		p.rotate(false)
	}
	down := true
	faults := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if down {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	ctx, stop := context.WithCancel(t.Context())
	var pruned []string
	c.at(time.Hour, func() {
		if n := len(segments(t, p.dir)); n != 6 || len(pruned) != 0 {
			t.Errorf("%d files after an hour without the store, %v removed", n, pruned)
		}
		down = false
	})
	c.at(2*time.Hour, func() { // 4 segments and the base, all of them from before the hour
		if len(pruned) != 5 || len(segments(t, p.dir)) != 1 {
			t.Errorf("removed %v, there are %v", pruned, segments(t, p.dir))
		}
		p.clock = journal.TimeOf(c.Now())
		p.commit(5)
		p.rotate(true)
		p.commit(1)
	})
	c.at(2*time.Hour+20*time.Minute, func() {
		if len(pruned) != 5 || len(segments(t, p.dir)) != 2 {
			t.Errorf("removed %v within the time to keep", pruned)
		}
		down = true
		p.commit(5)
		p.rotate(true)
		p.commit(1)
	})
	c.at(4*time.Hour, func() {
		if len(pruned) != 6 || len(segments(t, p.dir)) != 2 {
			t.Errorf("removed %v, of which some was not shipped", pruned)
		}
		down = false
	})
	c.at(6*time.Hour, stop)
	o := ship.Options{Store: objstore.Faulty(s, faults), Clock: c, Keep: 30 * time.Minute, Events: ship.Events{
		Pruned: func(files []string, size int64) {
			pruned = append(pruned, files...)
			if size <= 0 {
				t.Errorf("%v had %d bytes", files, size)
			}
		},
	}}
	if _, err := ship.Run(ctx, p.dir, &o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if len(pruned) != 7 {
		t.Errorf("removed in the end: %v", pruned)
	}
	p.commit(3)
	once(t, p, s, ship.Options{Keep: time.Minute})
	p.checkArchive(s, p.last(), 10)
}

// A trail that is larger than KeepBytes loses what was shipped, the oldest first and no more than need be, however young it
// is; what was not shipped stays.
func TestKeepBytes(t *testing.T) {
	p, s, c := newPrimary(t, 33), new(mem.Store), new(clock)
	p.clock = journal.TimeOf(c.Now())
	p.base(true)
	for range 6 {
		p.commit(5)
		p.rotate(true)
	}
	size := func() (sum int64) {
		for _, name := range segments(t, p.dir) {
			info, err := os.Stat(name)
			p.check(err)
			sum += info.Size()
		}
		return sum
	}
	all, most := size(), size()/2
	down := true
	faults := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if down {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	ctx, stop := context.WithCancel(t.Context())
	var pruned []string
	c.at(time.Hour, func() {
		if len(pruned) > 0 || size() != all {
			t.Errorf("removed without the store: %v", pruned)
		}
		down = false
	})
	c.at(2*time.Hour, stop)
	o := ship.Options{Store: objstore.Faulty(s, faults), Clock: c, Keep: 1000 * time.Hour, KeepBytes: most, Events: ship.Events{
		Pruned: func(files []string, _ int64) { pruned = append(pruned, files...) },
	}}
	if _, err := ship.Run(ctx, p.dir, &o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	left := segments(t, p.dir)
	if len(pruned) < 2 || len(left) < 3 || size() > most {
		t.Errorf("removed %v, there are %v, %d of %d bytes", pruned, left, size(), most)
	}
	p.commit(3)
	once(t, p, s, ship.Options{})
	p.checkArchive(s, p.last(), 10)
}

// On a full disk nothing stays of what was shipped but the segment that grows, unless nothing ever goes.
func TestFull(t *testing.T) {
	p, s, c := newPrimary(t, 34), new(mem.Store), new(clock)
	p.clock = journal.TimeOf(c.Now())
	p.base(true)
	for range 3 {
		p.commit(5)
		p.rotate(true)
	}
	down, full := false, false
	faults := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if down {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	ctx, stop := context.WithCancel(t.Context())
	c.at(time.Hour, func() {
		if n := len(segments(t, p.dir)); n != 5 {
			t.Errorf("with room there are %d files", n)
		}
		down = true
		p.commit(5)
		p.rotate(true)
	})
	c.at(2*time.Hour, func() { full = true })
	c.at(3*time.Hour, func() {
		if n := len(segments(t, p.dir)); n != 2 {
			t.Errorf("beside one segment that is not shipped there are %d files", n-1)
		}
		down = false
	})
	c.at(4*time.Hour, stop)
	o := ship.Options{Store: objstore.Faulty(s, faults), Clock: c, Keep: 1000 * time.Hour, Full: func() bool { return full }}
	if _, err := ship.Run(ctx, p.dir, &o); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if n := len(segments(t, p.dir)); n != 1 {
		t.Errorf("with everything shipped there are %d files", n)
	}
	p.commit(5)
	p.rotate(true)
	once(t, p, s, ship.Options{Full: o.Full})
	if n := len(segments(t, p.dir)); n != 2 {
		t.Errorf("without a time to keep there are %d files", n)
	}
	p.commit(3)
	once(t, p, s, ship.Options{})
	p.checkArchive(s, p.last(), 10)
}

// What the trail's writer asks for is removed, once it was shipped, though nothing says that it may go at some time.
func TestCrowded(t *testing.T) {
	p, s, c := newPrimary(t, 35), new(mem.Store), new(clock)
	p.clock = journal.TimeOf(c.Now())
	p.base(true)
	for range 6 {
		p.commit(5)
		p.rotate(true)
	}
	all, most := segments(t, p.dir), int64(0)
	for _, name := range all[len(all)-3:] { // of which the first is more than is asked for
		info, err := os.Stat(name)
		p.check(err)
		most += info.Size()
	}
	ctx, stop := context.WithCancel(t.Context())
	asks := func(keep int64, want int) func() {
		return func() {
			if n := len(segments(t, p.dir)); n != want {
				t.Errorf("at %v there are %d files, not %d", c.now, n, want)
			}
			if _, asked := journal.Crowded(durable.OS, p.dir); asked {
				t.Errorf("at %v room is asked for, though there is some", c.now)
			}
			p.check(journal.Crowd(durable.OS, p.dir, keep))
		}
	}
	c.at(1*time.Hour, asks(most-1, len(all)))
	c.at(2*time.Hour, asks(0, 2))
	c.at(3*time.Hour, asks(0, 1))
	c.at(4*time.Hour, stop)
	if _, err := ship.Run(ctx, p.dir, &ship.Options{Store: s, Clock: c}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, asked := journal.Crowded(durable.OS, p.dir); asked {
		t.Error("room is asked for, though there is no more to be had")
	}
	p.commit(3)
	once(t, p, s, ship.Options{})
	p.checkArchive(s, p.last(), 10)
}

// A shipper that rests has no file open, asks nobody, and tells with one stat whether there is something to do; the
// next process knows it from the mark.
func TestRest(t *testing.T) {
	p, s, m := newPrimary(t, 31), new(mem.Store), new(objstore.Meter)
	p.commit(3)
	o := ship.Options{Store: objstore.Metered(s, m), Archive: "the archive"}
	a, err := ship.Open(p.dir, &o)
	p.check(err)
	if _, ok, err := a.Rest(); ok || err != nil {
		t.Errorf("resting before anything was shipped: %v, %v", ok, err)
	}
	p.check(a.Drain(t.Context()))
	mark, ok, err := a.Rest()
	if !ok || err != nil || !mark.Holds(durable.OS, p.dir) || mark.Last != 3 {
		t.Fatalf("mark %+v, %v, %v", mark, ok, err)
	}
	read, ok := ship.ReadMark(durable.OS, p.dir, "the archive")
	if !ok || read != mark {
		t.Errorf("read %+v, %v", read, ok)
	}
	if _, ok := ship.ReadMark(durable.OS, p.dir, "another"); ok {
		t.Error("the mark is for another archive")
	}
	b, err := ship.Open(p.dir, &o) // nobody holds the lock
	p.check(err)
	p.check(b.Close())

	for name, change := range map[string]func(){
		"commit": func() { p.commit(1) }, "point": func() { p.point("here") }, "rotation": func() { p.rotate(false) },
	} {
		if name == "rotation" { // of a tail that has something
			p.commit(1)
			p.check(a.Drain(t.Context()))
			mark, _, err = a.Rest()
			p.check(err)
		}
		change()
		if mark.Holds(durable.OS, p.dir) {
			t.Errorf("%s was not seen", name)
		}
		before := m.Requests()
		p.check(a.Drain(t.Context()))
		if n := m.Requests() - before; n > 2 { // the batch and the hint: no looking around
			t.Errorf("%s: %d requests after a rest", name, n)
		}
		if mark, ok, err = a.Rest(); !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
	}
	// A crash may come between the end of a segment and the beginning of the next one.
	p.commit(1)
	p.rotate(false)
	p.check(p.w.Close())
	all := segments(t, p.dir)
	p.check(os.Remove(all[len(all)-1]))
	p.check(a.Drain(t.Context()))
	mark, ok, err = a.Rest()
	p.check(err)
	p.open()
	p.commit(1)
	if ok && mark.Holds(durable.OS, p.dir) {
		t.Error("the next segment was not seen")
	}
	p.check(a.Drain(t.Context()))
	p.check(os.WriteFile(filepath.Join(p.dir, "shipped"), []byte(`{"format":`), 0o644))
	if _, ok := ship.ReadMark(durable.OS, p.dir, "the archive"); ok {
		t.Error("a torn mark was believed")
	}
	p.check(a.Close())
	p.checkArchive(s, p.last(), 3)
}
