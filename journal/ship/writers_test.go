package ship_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// twin copies a trail, as somebody does who starts a second primary from a copy.
func (p *primary) twin() *primary {
	p.t.Helper()
	dir := filepath.Join(p.t.TempDir(), "app.db-pagetrail")
	p.check(os.CopyFS(dir, os.DirFS(p.dir)))
	q := newPrimary(p.t, 99)
	q.dir, q.clock, q.pages = dir, p.clock, append([][]byte(nil), p.pages...)
	for id, image := range p.images {
		q.images[id] = bytes.Clone(image)
	}
	q.open()
	return q
}

// While one ships, another process on the same trail is refused, and told so.
func TestOneShipperATrail(t *testing.T) {
	p := newPrimary(t, 20)
	p.commit(3)
	s := new(mem.Store)
	c := new(clock)
	ctx, stop := context.WithCancel(t.Context())
	c.at(time.Minute, func() {
		if _, err := ship.Run(ctx, p.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrLocked) {
			t.Errorf("the second: %v", err)
		}
		stop()
	})
	if _, err := ship.Run(ctx, p.dir, &ship.Options{Store: s, Clock: c}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	p.checkArchive(s, 3, 2)
}

// Two primaries from one copy, both sure to be the writer: the one that claimed last and shipped holds the archive,
// the other stops and names it; its own transactions stay in its trail, and the archive is one history.
func TestTwoPrimaries(t *testing.T) {
	p := newPrimary(t, 21)
	p.live(6)
	s := new(mem.Store)
	c := new(clock)
	fork := p.last()
	var q *primary
	c.at(time.Minute, func() {
		q = p.twin()
		q.commit(4)
		once(t, q, s, ship.Options{Name: "the twin"})
		p.commit(2)
	})
	r, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Clock: c, Name: "the first", Archive: "s3://b/app"})
	held, ok := errors.AsType[*archive.HeldError](err)
	if !ok || held.Holder.Name != "the twin" || !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), "the twin") {
		t.Fatalf("the first ends with %v", err)
	}
	if r.Last != fork || p.last() != fork+2 {
		t.Errorf("shipped up to %d, the trail ends with %d", r.Last, p.last())
	}
	q.checkArchive(s, q.last(), 6)

	// Started again it finds another history, does not claim, and the holder is not disturbed.
	_, err = ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true})
	if !errors.Is(err, journal.ErrDiverged) || !strings.Contains(err.Error(), "the twin") {
		t.Errorf("the first, again: %v", err)
	}
	q.commit(1)
	once(t, q, s, ship.Options{})
	q.checkArchive(s, q.last(), 3)
}

// Two shippers of the same history: the one before learns that it lost at its next batch or, when it is faster, with
// the next hint. Nothing is twice.
func TestTakenOver(t *testing.T) {
	p := newPrimary(t, 22)
	p.live(3)
	s := new(mem.Store)
	c := new(clock)
	same := p.twin()
	for i := range 200 {
		c.at(time.Duration(10+3*i)*time.Second, func() { p.commit(1) })
	}
	taken := false
	c.at(time.Hour, func() { t.Error("still shipping") })
	o := ship.Options{Store: s, Clock: c, Events: ship.Events{Batch: func(b journal.Batch) {
		if !taken && b.Last > 50 {
			taken = true
			w, err := archive.OpenWriter(t.Context(), s, archive.WriterOptions{Identity: p.trail().Identity(), Name: "thief"})
			same.check(err)
			same.check(w.Claim(t.Context()))
		}
	}}}
	_, err := ship.Run(t.Context(), p.dir, &o)
	if held, ok := errors.AsType[*archive.HeldError](err); !ok || held.Holder.Name != "thief" || !taken {
		t.Fatalf("ends with %v", err)
	}
	last := openArchive(t, s)
	tx, err := last.Last()
	p.check(err)
	p.checkArchive(s, tx.TXID, 4)
	if _, err := ship.Run(t.Context(), same.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("the copy that is behind: %v", err)
	}
	once(t, p, s, ship.Options{})
	p.checkArchive(s, p.last(), 4)
}

// While nothing changes nothing is requested; what is committed within an interval shares a batch, and a lot of it
// does not wait.
func TestRequests(t *testing.T) {
	p := newPrimary(t, 23)
	p.commit(1)
	s, c, m := new(mem.Store), new(clock), new(objstore.Meter)
	ctx, stop := context.WithCancel(t.Context())
	var idle int64
	var at []time.Duration
	c.at(time.Minute, func() { idle = m.Requests() })
	c.at(time.Hour, func() {
		if n := m.Requests(); n != idle || n > 20 {
			t.Errorf("%d requests in an hour without a commit, %d before", n-idle, idle)
		}
		p.commit(10)
	})
	c.at(time.Hour+500*time.Millisecond, func() { p.commit(10) })
	c.at(2*time.Hour, func() {
		if n := m.Requests(); n != idle+1 {
			t.Errorf("%d requests for 20 commits within an interval", n-idle)
		}
		p.commit(400)
	})
	c.at(3*time.Hour, stop)
	_, err := ship.Run(ctx, p.dir, &ship.Options{
		Store: objstore.Metered(s, m), Clock: c, BatchBytes: 8 << 10,
		Events: ship.Events{Batch: func(journal.Batch) { at = append(at, c.now) }},
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(at) < 5 || at[1] < time.Hour+900*time.Millisecond || at[1] > time.Hour+1200*time.Millisecond ||
		at[2] > 2*time.Hour+100*time.Millisecond || at[len(at)-1] > 2*time.Hour+1200*time.Millisecond {
		t.Errorf("batches left at %v", at)
	}
	p.checkArchive(s, p.last(), 3)
}

// Batches are as large as they may be as they are stored, however much of the trail that is; and what waits is judged in
// the same way.
func TestBatchesAreFilled(t *testing.T) {
	p := newPrimary(t, 25)
	p.commit(1)
	text := func(n int) { // of words, which compress well
		for range n {
			old, page := p.pages[0], make([]byte, 0, pageSize+20)
			for len(page) < pageSize {
				page = fmt.Appendf(page, "word%d ", p.rnd.IntN(500))
			}
			p.pages[0] = page[:pageSize]
			body, kept := p.enc.Encode(diff.Body{}, pageSize, []diff.Page{{No: 1, Old: old, New: p.pages[0]}})
			p.add(body, kept, journal.Ordinary)
		}
	}
	const size = 64 << 10
	s, c := new(mem.Store), new(clock)
	ctx, stop := context.WithCancel(t.Context())
	var batches []journal.Batch
	var at []time.Duration
	c.at(time.Minute, func() { text(100) })
	c.at(time.Hour, func() { text(200) })    // more than a batch may have, and less when it is compressed: it waits
	c.at(2*time.Hour, func() { text(2000) }) // several batches, which do not
	c.at(3*time.Hour, stop)
	_, err := ship.Run(ctx, p.dir, &ship.Options{Store: s, Clock: c, BatchBytes: size, Events: ship.Events{Batch: func(b journal.Batch) {
		batches, at = append(batches, b), append(at, c.now)
	}}})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if len(batches) < 6 || at[2] < time.Hour+900*time.Millisecond || at[3] > 2*time.Hour+100*time.Millisecond {
		t.Fatalf("%d batches left at %v", len(batches), at)
	}
	for i, b := range batches[2:] {
		if b.Size > size || i > 0 && i < len(batches)-3 && (b.Size < size/2 || b.RawBytes < size*3/2) {
			t.Errorf("batch of %d bytes, %d of patches", b.Size, b.RawBytes)
		}
	}
	p.checkArchive(s, p.last(), 3)
}

// Following an archive costs one request a look, and no list.
func TestFollowingAnArchive(t *testing.T) {
	p, s, m := newPrimary(t, 24), new(mem.Store), new(objstore.Meter)
	p.commit(5)
	once(t, p, s, ship.Options{})
	r := openArchive(t, objstore.Metered(s, m))
	lists := func() int64 { calls, _ := m.Counts(); return calls[objstore.OpList].Requests }
	before := lists()
	for range 5 {
		p.commit(2)
		once(t, p, s, ship.Options{})
		n := m.Requests()
		for range 2 {
			p.check(r.Refresh())
		}
		if tx, err := r.Last(); err != nil || tx.TXID != p.last() {
			t.Fatalf("at %d of %d, %v", tx.TXID, p.last(), err)
		}
		if n := m.Requests() - n; n > 3 {
			t.Errorf("%d requests for a new batch and two looks", n)
		}
	}
	if lists() != before {
		t.Errorf("%d lists", lists()-before)
	}
}

// A writer that lost the archive without knowing may still be the first at the next name. Then the one that holds it
// finds another history there, and stops: the archive is one history all the same.
func TestLateBatchOfTheLoser(t *testing.T) {
	p := newPrimary(t, 25)
	p.live(6)
	s := new(mem.Store)
	once(t, p, s, ship.Options{})
	q := p.twin()
	late := new(mem.Store)
	for key := range keys(t, s) {
		put(t, late, key, content(t, s, key))
	}
	p.commit(2)
	q.commit(2) // as many, so that only their content tells them apart
	once(t, p, late, ship.Options{})
	f := &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
		if c.Op == objstore.OpCreate && strings.HasSuffix(c.Key, ".seg") {
			put(t, s, c.Key, content(t, late, c.Key)) // in the last moment
		}
		return objstore.Pass
	}}
	_, err := ship.Run(t.Context(), q.dir, &ship.Options{Store: objstore.Faulty(s, f), Once: true})
	if !errors.Is(err, journal.ErrDiverged) {
		t.Fatalf("the holder ends with %v", err)
	}
	p.checkArchive(s, p.last(), 4)
}
