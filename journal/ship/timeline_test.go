package ship_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// restored is a primary that was restored in place at a transaction of p, and begins the next timeline there.
func (p *primary) restored(at journal.TXID, timeline journal.Timeline, seed uint64) *primary {
	p.t.Helper()
	q := p.twin()
	parent := q.w.Identity()
	tx, err := p.trail().Find(p.t.Context(), at)
	p.check(err)
	q.check(q.w.CutAfter(at))
	q.check(q.w.Close())
	id, err := journal.Identity{
		Format: 1, Database: parent.Database, Timeline: timeline,
		Parent: &journal.Position{Database: parent.Database, Timeline: parent.Timeline, TXID: at, Sum: tx.Sum},
	}.Encode()
	q.check(err)
	q.check(os.WriteFile(filepath.Join(q.dir, "identity"), id, 0o644))
	q.rnd = newPrimary(p.t, seed).rnd
	q.pages = nil
	for image := p.images[at]; len(image) > 0; image = image[pageSize:] {
		q.pages = append(q.pages, bytes.Clone(image[:pageSize]))
	}
	for id := range q.images {
		if id > at {
			delete(q.images, id)
		}
	}
	q.open()
	return q
}

// A primary that was restored to an earlier transaction, whatever that was in the archive, continues its history on
// a timeline of its own: the old objects are shared, the transactions given up are not part of it, and the primary
// before cannot add to it any more.
func TestRestoredInPlace(t *testing.T) {
	for name, c := range map[string]struct{ at, shipped journal.TXID }{
		"middle of a batch":      {17, 0},
		"end of a batch":         {20, 0},
		"the first":              {1, 0},
		"the last":               {40, 0},
		"after what was shipped": {45, 40},
		"early":                  {3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := newPrimary(t, 40), new(mem.Store)
			for range 4 {
				p.commit(4)
				p.point("four more") // of which the middle of a batch has one before it
				p.commit(6)
				p.point("ten more")
				once(t, p, s, ship.Options{Name: "the first"})
			}
			p.base(false)
			p.commit(5)
			before := keys(t, s)
			q := p.restored(c.at, 2, 41)
			q.commit(12)
			q.base(false)
			q.commit(1)
			r := once(t, q, s, ship.Options{Name: "the second", BatchBytes: 600})
			want := q.last() - c.at
			if c.shipped > 0 {
				want = q.last() - c.shipped
			}
			if r.Transactions != uint64(want) || r.Batches < 2 {
				t.Errorf("%d transactions shipped in %d batches, want %d", r.Transactions, r.Batches, want)
			}
			q.checkArchive(s, q.last(), sample(25))
			checkShared(t, s, before)

			_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, Archive: "s3://b/app"})
			held, ok := errors.AsType[*archive.HeldError](err)
			if !ok || held.Holder.Name != "the second" || held.Timeline != 2 || !strings.Contains(err.Error(), "the second") {
				t.Errorf("the first, again: %v", err)
			}
			q.commit(3)
			once(t, q, s, ship.Options{})
			q.checkArchive(s, q.last(), 5)
		})
	}
}

// checkShared looks for objects that a new timeline wrote and need not have, and for changed ones.
func checkShared(t *testing.T, s objstore.Store, before map[string]int64) {
	t.Helper()
	cut := 0
	for key, size := range keys(t, s) {
		old, there := before[key]
		switch {
		case key == "head", there && old == size:
		case there:
			t.Errorf("%s had %d bytes and has %d", key, old, size)
		case strings.HasPrefix(key, "00000001/0/") && bytes.HasPrefix(content(t, s, key), []byte(`{"fence"`)):
		case strings.HasPrefix(key, "00000002/1/"):
			cut++
		case !strings.HasPrefix(key, "00000002/"):
			t.Errorf("%s was written", key)
		}
	}
	if cut > 1 {
		t.Errorf("%d segments were written anew", cut)
	}
	for key := range before {
		if _, ok := keys(t, s)[key]; !ok {
			t.Errorf("%s is gone", key)
		}
	}
}

// Restored again and again, to transactions of this timeline and of earlier ones: one history comes out.
func TestTimelineAfterTimeline(t *testing.T) {
	p, s := newPrimary(t, 42), new(mem.Store)
	p.commit(25)
	once(t, p, s, ship.Options{BatchBytes: 900})
	for i, at := range []journal.TXID{20, 31, 12, 18, 18} {
		q := p.restored(at, journal.Timeline(i+2), uint64(50+i))
		q.commit(14)
		once(t, q, s, ship.Options{BatchBytes: 900})
		q.checkArchive(s, q.last(), 12)
		p = q
	}
	r := openArchive(t, s)
	if lines := r.Head().Lines; len(lines) != 6 || lines[5].Parent.TXID != 18 || lines[3].Ended != 45 {
		t.Errorf("timelines %+v", lines)
	}
}

// A writer whose archive went on to another timeline while it was shipping cannot add a batch any more, and its
// reader is told.
func TestFencedWhileShipping(t *testing.T) {
	p, s, c := newPrimary(t, 43), new(mem.Store), new(clock)
	p.commit(20)
	late, before := false, 0
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var r *archive.Reader
	c.at(time.Minute, func() {
		q := p.restored(15, 2, 44)
		r = openArchive(t, s)
		q.commit(1)
		once(t, q, s, ship.Options{Name: "the second"})
		before = len(keys(t, s))
		p.commit(1)
		c.at(time.Minute+time.Hour, func() { late = true; stop() })
	})
	_, err := ship.Run(ctx, p.dir, &ship.Options{Store: s, Clock: c})
	if held, ok := errors.AsType[*archive.HeldError](err); !ok || held.Holder.Name != "the second" || held.After != 15 || late {
		t.Errorf("the first ends with %v", err)
	}
	if n := len(keys(t, s)); n != before {
		t.Errorf("%d objects became %d", before, n)
	}
	if err := r.Refresh(); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("a reader of the first timeline: %v", err)
	}
}

// A trail that says it left the history where the history is another is refused, and so is a second trail of the same
// timeline.
func TestTimelineOfAnotherHistory(t *testing.T) {
	p, s := newPrimary(t, 45), new(mem.Store)
	p.commit(20)
	once(t, p, s, ship.Options{})
	other := newPrimary(t, 46)
	other.commit(20)
	q := other.restored(12, 2, 47)
	q.commit(1)
	if _, err := ship.Run(t.Context(), q.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrForeign) {
		t.Errorf("another database: %v", err)
	}
	twin := p.twin() // went on from 15 on its own before it was restored to 18
	twin.check(twin.w.CutAfter(15))
	twin.commit(5)
	q = twin.restored(18, 2, 48)
	q.commit(1)
	if _, err := ship.Run(t.Context(), q.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("another transaction 18: %v", err)
	}
	p.checkArchive(s, 20, 3)

	q = p.restored(10, 2, 49)
	q.commit(1)
	once(t, q, s, ship.Options{})
	q2 := p.restored(12, 2, 49)
	q2.commit(1)
	if _, err := ship.Run(t.Context(), q2.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("another timeline 2: %v", err)
	}
	q.checkArchive(s, q.last(), 3)
}

// Every call that beginning a timeline takes fails once, in each of the two ways.
func TestEveryCallOfAForkFails(t *testing.T) {
	p, from := newPrimary(t, 60), new(mem.Store)
	p.commit(30)
	once(t, p, from, ship.Options{BatchBytes: 900})
	q := p.restored(17, 2, 61)
	q.commit(5)
	run := func(s objstore.Store) error {
		_, err := ship.Run(context.Background(), q.dir, &ship.Options{Store: s, Once: true, Clock: new(clock)})
		return err
	}
	copied := func() *mem.Store {
		s := new(mem.Store)
		for key := range keys(t, from) {
			put(t, s, key, content(t, from, key))
		}
		return s
	}
	count, clean := new(calls), copied()
	if err := run(count.of(clean)); err != nil {
		t.Fatal(err)
	}
	want := keys(t, clean)
	for _, i := range count.chosen() {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			s := copied()
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			if err := run(objstore.Faulty(s, f)); err != nil || f.Fired() != 1 {
				t.Fatalf("call %d, outcome %d: %v, fired %d", i, out, err, f.Fired())
			}
			compareKeys(t, i, want, keys(t, s))
			if i%4 == 0 {
				q.checkArchive(s, q.last(), 3)
			}
		}
	}
}
