package ship_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// once ships what there is.
func once(t testing.TB, p *primary, s objstore.Store, o ship.Options) ship.Result {
	t.Helper()
	o.Store, o.Once, o.TempDir = s, true, t.TempDir()
	r, err := ship.Run(t.Context(), p.dir, &o)
	if err != nil {
		t.Fatal(err)
	}
	if r.Last != p.last() {
		t.Fatalf("shipped up to %d of %d", r.Last, p.last())
	}
	return r
}

// Whatever the trail goes through between two runs, the archive is the trail.
func TestArchiveIsTheTrail(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) objstore.Store{
		"mem":  func(*testing.T) objstore.Store { return new(mem.Store) },
		"file": func(t *testing.T) objstore.Store { return file.Open(t.TempDir()+"/store", nil) },
	} {
		for _, adopted := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				p, s := newPrimary(t, 1), open(t)
				if adopted {
					p.base(true)
				}
				transactions, first := uint64(0), journal.TXID(0)
				for i := range 8 {
					p.live(10)
					if i == 4 {
						p.base(false)
					}
					if i == 6 { // the database was replaced
						p.base(true)
						first = p.last()
					}
					r := once(t, p, s, ship.Options{BatchBytes: int64(1 + p.rnd.IntN(3000))})
					transactions += r.Transactions
				}
				if transactions != uint64(p.last()) {
					t.Errorf("%d transactions were shipped, there are %d", transactions, p.last())
				}
				checkReplaced(t, p, s, first)
			})
		}
	}
}

// checkReplaced compares an archive in which a Base record cut the history in two.
func checkReplaced(t *testing.T, p *primary, s objstore.Store, cut journal.TXID) {
	t.Helper()
	r, trail := openArchive(t, s), p.trail()
	if _, err := apply.Verify(t.Context(), r.Trail, nil); err != nil {
		t.Fatal(err)
	}
	want, err := trail.Window(t.Context())
	p.check(err)
	got, err := r.Window(t.Context())
	p.check(err)
	same := func(a, b journal.Span) bool { return a.First == b.First && a.Last == b.Last } // times are known better or worse
	if !slices.EqualFunc(want.Spans, got.Spans, same) {
		t.Errorf("the trail can restore %+v, the archive %+v", want.Spans, got.Spans)
	}
	points, err := trail.Points()
	p.check(err)
	shipped, err := r.Points()
	p.check(err)
	if len(points) == 0 || !slices.Equal(points[:len(shipped)], shipped) || len(points) > len(shipped) && points[len(shipped)].TXID < p.last() {
		t.Errorf("points %v, shipped %v", points, shipped)
	}
	for id := range p.images {
		if id == 0 || p.rnd.IntN(100) >= sample(25) && id != cut {
			continue
		}
		var a, b bytes.Buffer
		_, errA := apply.HydrateTo(t.Context(), r.Trail, &a, apply.AtTXID(id), nil)
		_, errB := apply.HydrateTo(t.Context(), trail, &b, apply.AtTXID(id), nil)
		if errA != nil || errB != nil || !bytes.Equal(a.Bytes(), b.Bytes()) || !bytes.Equal(a.Bytes(), p.images[id]) {
			t.Fatalf("transaction %d differs (%v, %v)", id, errA, errB)
		}
	}
}

// basesFS counts how often a base is opened.
type basesFS struct {
	durable.FS
	opened int
}

func (f *basesFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if filepath.Ext(name) == ".base" {
		f.opened++
	}
	return f.FS.OpenFile(name, flag, perm)
}

// A base that the archive has is not looked at with each batch.
func TestBasesOnce(t *testing.T) {
	p, s, fsys := newPrimary(t, 3), new(mem.Store), &basesFS{FS: durable.OS}
	p.base(true)
	p.live(5)
	sh, err := ship.Open(p.dir, &ship.Options{Store: s, FS: fsys, TempDir: t.TempDir()})
	p.check(err)
	defer sh.Close()
	p.check(sh.Drain(t.Context()))
	before := fsys.opened
	if before == 0 || sh.Progress().Bases == 0 {
		t.Fatal("the base was not shipped")
	}
	for range 5 {
		p.live(5)
		p.check(sh.Drain(t.Context()))
	}
	if fsys.opened != before {
		t.Errorf("bases were opened %d times to ship five batches without one", fsys.opened-before)
	}
	p.base(false)
	p.live(1)
	p.check(sh.Drain(t.Context()))
	if r := sh.Progress(); r.Bases != 2 || r.Shipped != p.last() {
		t.Errorf("shipped %d bases, up to %d of %d", r.Bases, r.Shipped, p.last())
	}
}

// With nothing new, a run writes nothing but its claim, and one after it finds the end again.
func TestNothingTwice(t *testing.T) {
	p, s := newPrimary(t, 2), new(mem.Store)
	p.live(30)
	once(t, p, s, ship.Options{BatchBytes: 500})
	before := batches(t, s)
	if r := once(t, p, s, ship.Options{}); r.Batches != 0 || r.Bytes != 0 || r.Transactions != 0 {
		t.Errorf("shipped again: %+v", r)
	}
	if after := batches(t, s); !slices.Equal(before, after) || len(after) < 5 {
		t.Errorf("batches %v became %v", before, after)
	}
	p.checkArchive(s, p.last(), 5)
}

// A trail whose beginning was pruned ships from its oldest base on.
func TestPrunedTrail(t *testing.T) {
	for _, more := range []int{0, 3} {
		p, s := newPrimary(t, 3), new(mem.Store)
		p.live(5)
		p.rotate(true)
		p.base(false)
		p.commit(more)
		p.rotate(true)
		p.commit(2)
		base := p.last() - 2 - journal.TXID(more)
		if _, err := journal.Prune(t.Context(), p.dir, base, nil); err != nil {
			t.Fatal(err)
		}
		once(t, p, s, ship.Options{})
		p.checkArchive(s, p.last(), 4)
		r := openArchive(t, s)
		if w, err := r.Window(t.Context()); err != nil || w.Spans[0].First != base {
			t.Errorf("window %+v, %v; the base is %d", w, err, base)
		}
	}
}

// An archive that was left behind by pruning, or has what the trail has not, is not continued.
func TestTrailAndArchiveApart(t *testing.T) {
	p, s := newPrimary(t, 4), new(mem.Store)
	p.live(5)
	once(t, p, s, ship.Options{})
	shipped := p.last()
	p.live(5)
	p.rotate(true)
	p.commit(2)
	p.base(false)
	p.rotate(true)
	p.commit(2)
	if removed, err := journal.Prune(t.Context(), p.dir, p.last(), nil); err != nil || len(removed) == 0 {
		t.Fatal(removed, err)
	}
	_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true})
	if !errors.Is(err, journal.ErrGap) {
		t.Errorf("a gap: %v", err)
	}
	p.checkArchive(s, shipped, 3)

	q := newPrimary(t, 5)
	if _, err := ship.Run(t.Context(), q.dir, &ship.Options{Store: s, Once: true}); !errors.Is(err, journal.ErrForeign) {
		t.Errorf("another database's archive: %v", err)
	}
	other := new(mem.Store)
	p.check(other.Put(t.Context(), "something/else", bytes.NewReader(nil), 0))
	if _, err := ship.Run(t.Context(), q.dir, &ship.Options{Store: other, Once: true}); !errors.Is(err, journal.ErrForeign) {
		t.Errorf("a prefix in use: %v", err)
	}
	if _, err := archive.Open(t.Context(), other, nil); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("no archive: %v", err)
	}

	q.commit(5)
	own := new(mem.Store)
	once(t, q, own, ship.Options{})
	q.check(q.w.CutAfter(3)) // a power cut took two, without Options.Sync
	_, err = ship.Run(t.Context(), q.dir, &ship.Options{Store: own, Once: true})
	if !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("the archive is ahead: %v", err)
	}
	q.commit(3)
	_, err = ship.Run(t.Context(), q.dir, &ship.Options{Store: own, Once: true})
	if !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("another history: %v", err)
	}
}

// The primary is synced before each batch, and a batch does not leave when that failed.
func TestSyncComesFirst(t *testing.T) {
	p, s := newPrimary(t, 6), new(mem.Store)
	p.live(10)
	synced, fail := 0, errors.New("disk")
	_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, Tries: 1, Sync: func(context.Context) error { return fail }})
	if !errors.Is(err, fail) || len(batches(t, s)) != 0 {
		t.Errorf("error %v, batches %v", err, batches(t, s))
	}
	r := once(t, p, s, ship.Options{BatchBytes: 300, Sync: func(context.Context) error {
		if n := len(batches(t, s)); n != synced {
			t.Errorf("%d batches left after %d syncs", n, synced)
		}
		synced++
		return nil
	}})
	if synced != r.Batches || synced < 3 {
		t.Errorf("%d syncs, %d batches", synced, r.Batches)
	}
}
