package upkeep_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// What the head says of merged objects need not be asked for: the window and a restore take few requests, however
// many objects there are.
func TestRequestsAfterMerging(t *testing.T) {
	p := newPrimary(t, 20)
	for range 12 {
		p.live(20, 20*time.Second)
		p.now = p.now.Add(5 * time.Hour)
	}
	p.run(archive.Retention{})
	m := new(objstore.Meter)
	r, err := archive.Open(t.Context(), objstore.Metered(p.store, m), nil)
	p.check(err)
	defer r.Close()
	if w, err := r.Window(t.Context()); err != nil || len(w.Spans) != 1 || w.Spans[0].Last != p.last() {
		t.Fatal(w, err)
	}
	if n := m.Requests(); n > 8 { // the head, a list, the end of the history
		t.Errorf("%d requests for the window", n)
	}
	var out bytes.Buffer
	if _, err := apply.HydrateTo(t.Context(), r.Trail, &out, apply.AtTXID(100), nil); err != nil || !bytes.Equal(out.Bytes(), p.images[100]) {
		t.Errorf("another database, %v", err)
	}
	if n := m.Requests(); n > 20 {
		t.Errorf("%d requests for a restore", n)
	}
}

// A large base is read with few requests, and none of it twice; as many as are announced.
func TestRequestsForALargeBase(t *testing.T) {
	if testing.Short() {
		t.Skip("15 MB of pages take long under the race detector")
	}
	p := newPrimary(t, 22)
	for i := range 30000 {
		page := make([]byte, pageSize)
		for at := 0; at < len(page); at += 8 {
			binary.LittleEndian.PutUint64(page[at:], p.rnd.Uint64())
		}
		if p.pages = append(p.pages, page); i%5000 == 4999 { // no group has more than 8192 pages
			p.record(p.pages[:len(p.pages)-5000])
		}
	}
	p.base()
	p.ship()
	p.live(2, 20*time.Second)
	m := new(objstore.Meter)
	r, err := archive.Open(t.Context(), objstore.Metered(p.store, m), nil)
	p.check(err)
	defer r.Close()
	plan, err := apply.Resolve(t.Context(), r.Trail, apply.Latest())
	if err != nil || plan.Base == nil || plan.Base.Size < 14<<20 {
		t.Fatal(plan.Base, err)
	}
	requests, read := m.Requests(), bytesRead(m)
	var out bytes.Buffer
	if _, err := apply.HydrateTo(t.Context(), r.Trail, &out, apply.Latest(), &apply.Options{TempDir: t.TempDir()}); err != nil || !bytes.Equal(out.Bytes(), p.images[p.last()]) {
		t.Errorf("another database, %v", err)
	}
	want, _ := archive.RequestsFor(plan.Base.Size)
	if n := int64(m.Requests() - requests); n > want+3 || want > 5 { // the batch after it; and workers may come before their turn
		t.Errorf("%d requests for a base of %d bytes, announced were %d", n, plan.Base.Size, want)
	}
	if n := bytesRead(m) - read; n > plan.Base.Size+1<<20 {
		t.Errorf("%d bytes were read for a base of %d", n, plan.Base.Size)
	}
}

func bytesRead(m *objstore.Meter) int64 {
	_, n := m.Counts()
	return n
}

// Batches of the hour that runs are left alone, and merged when it is over.
func TestTheHourThatRuns(t *testing.T) {
	p := newPrimary(t, 23)
	p.now = p.now.Truncate(time.Hour).Add(time.Hour)
	p.live(100, 20*time.Second)
	before, _ := objects(t, p.store)
	p.now = p.now.Truncate(time.Hour).Add(time.Hour - time.Second)
	p.run(archive.Retention{})
	if after, _ := objects(t, p.store); !slices.Equal(after, before) {
		t.Errorf("within the hour: %v became %v", before, after)
	}
	p.now = p.now.Add(time.Second)
	p.run(archive.Retention{})
	p.run(archive.Retention{}) // what was replaced goes with the next run
	after, _ := objects(t, p.store)
	if len(after) > len(before)/2 {
		t.Errorf("after it: %v became %v", before, after)
	}
}

// Many batches of the hour that runs are merged before it is over, and with what came later when it is: so a restore
// takes few requests at any time, and every state is there all along.
func TestManyInTheHourThatRuns(t *testing.T) {
	p := newPrimary(t, 24)
	p.now = p.now.Truncate(time.Hour).Add(time.Hour)
	level := func(prefix string) (n int) {
		keys, _ := objects(t, p.store)
		for _, key := range keys {
			if strings.HasPrefix(key, "00000001/"+prefix) {
				n++
			}
		}
		return n
	}
	merged := func(what string, batches, segments int) {
		t.Helper()
		p.run(archive.Retention{})
		p.run(archive.Retention{}) // what was replaced goes with the next run
		if a, b := level("0/"), level("1/"); a != batches || b != segments {
			t.Errorf("%s: %d batches and %d segments, want %d and %d", what, a, b, batches, segments)
		}
	}
	p.live(640, time.Second)
	merged("64 batches", 0, 1)
	p.live(630, time.Second)
	merged("63 more", 63, 1)
	p.live(10, time.Second)
	merged("64 more", 0, 2)
	m := new(objstore.Meter)
	r, err := archive.Open(t.Context(), objstore.Metered(p.store, m), nil)
	p.check(err)
	if _, err := apply.HydrateTo(t.Context(), r.Trail, new(bytes.Buffer), apply.AtTXID(p.last()-5), nil); err != nil || m.Requests() > 8 {
		t.Errorf("%d requests for a restore, %v", m.Requests(), err)
	}
	p.check(r.Close())
	p.live(5, time.Second)
	p.now = p.now.Truncate(time.Hour).Add(time.Hour)
	merged("the hour is over", 0, 1)
	merged("nothing to do", 0, 1)
	if got := p.restorable(); len(got) != int(p.last()) {
		t.Errorf("%d states of %d", len(got), p.last())
	}
}

// A merged object that is gone is a gap, although the head names it; one that was cut is found out as well. Nothing is
// planned there, until it is shipped again.
func TestMergedObjectIsGone(t *testing.T) {
	p := newPrimary(t, 21)
	for range 4 {
		p.live(20, 20*time.Second)
		p.now = p.now.Add(5 * time.Hour)
	}
	p.run(archive.Retention{})
	keys, _ := objects(t, p.store)
	var merged []string
	for _, key := range keys {
		if strings.HasPrefix(key, "00000001/1/") {
			merged = append(merged, key)
		}
	}
	for _, c := range []struct {
		is    string
		spoil func() error
	}{ // the one that is gone is last: it is sent again, and one that was cut is not
		{"cut", func() error { return p.store.Put(t.Context(), merged[2], strings.NewReader("cut"), 3) }},
		{"gone", func() error { return p.store.Delete(t.Context(), merged[2]) }},
	} {
		p.check(c.spoil())
		r, err := archive.Open(t.Context(), p.store, nil)
		p.check(err)
		w, err := r.Window(t.Context())
		if err != nil || len(w.Gaps) != 1 || w.Spans[0].Last+1 != w.Gaps[0].First {
			t.Errorf("an object that is %s: %+v, %v", c.is, w, err)
		}
		p.check(r.Close())
		if _, err := upkeep.Run(t.Context(), p.store, p.options(archive.Retention{All: time.Hour})); !errors.Is(err, journal.ErrGap) {
			t.Errorf("planned with an object that is %s: %v", c.is, err)
		}
	}
	p.ship()
	if n := len(p.restorable()); n != int(p.last()) {
		t.Errorf("shipped again: %d states of %d", n, p.last())
	}
}

// The object with which the history begins is sent again like others: a merged one, and where it was made to begin
// later, at the beginning of an object or within one.
func TestFirstObjectIsGone(t *testing.T) {
	for name, keep := range map[string]archive.Retention{"merged": {}, "forgotten": {All: day}} {
		for _, within := range []bool{false, true} {
			p := newPrimary(t, 23)
			p.live(10, 20*time.Second)
			p.now = p.now.Truncate(time.Hour).Add(time.Hour)
			if !within {
				p.base()
			}
			p.live(30, 20*time.Second)
			if within {
				p.base()
			}
			p.live(30, 20*time.Second)
			p.now = p.now.Add(2 * time.Hour)
			p.run(archive.Retention{}) // merged into one for each of the hours
			p.now = p.now.Add(10 * day)
			p.live(2, time.Second)
			if keep.All > 0 {
				p.now = p.now.Add(300 * day)
			}
			for range 2 {
				p.run(keep)
			}
			p.live(25, 20*time.Second)
			want := p.restorable()
			r, err := archive.Open(t.Context(), p.store, nil)
			p.check(err)
			segments, err := r.Segments()
			p.check(err)
			p.check(r.Close())
			keys, _ := objects(t, p.store)
			gone := 0
			for _, key := range keys {
				if strings.Contains(key, segments[0].Name[:16]) && strings.HasSuffix(key, ".seg") {
					p.check(p.store.Delete(t.Context(), key))
					gone++
				}
			}
			if gone == 0 || segments[0].First > 1 != (keep.All > 0) {
				t.Fatalf("%s, within %v: %d objects deleted, of %+v", name, within, gone, segments)
			}
			p.ship()
			if got := p.restorable(); !maps.Equal(got, want) {
				t.Errorf("%s, within %v: %d states can be restored, want %d", name, within, len(got), len(want))
			}
		}
	}
}
