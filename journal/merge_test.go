package journal_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// merge writes the segments that begin with firsts into one, keeping the records that keep wants, and puts it in their
// place.
func merge(t *testing.T, dir string, keep func(r *journal.Record) bool, firsts ...journal.TXID) {
	t.Helper()
	tr := openTrail(t, dir)
	var sources []*journal.SegmentReader
	for _, first := range firsts {
		s, err := tr.OpenSegment(first)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		sources = append(sources, s)
	}
	name := filepath.Join(t.TempDir(), "merged")
	f, err := durable.OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	w := journal.NewSegmentWriter(f, sources[0], tr.Identity().Timeline)
	folded := uint64(0)
	for _, s := range sources {
		for r, err := range s.Records(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case !keep(r):
				folded += r.Folded + 1
				continue
			case folded > 0: // what it patches is beside the point here
				tx := r.Tx
				tx.Folded += folded
				folded = 0
				for b, err := range r.Groups() {
					if err != nil {
						t.Fatal(err)
					}
					if err = w.Add(tx, b, int(tx.Pages)); err != nil {
						t.Fatal(err)
					}
				}
			default:
				if err := w.Copy(r); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, p := range s.Points() {
			if err := w.Point(p); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := sources[len(sources)-1]
	b, err := w.Close(last, last.After().Sum)
	if err != nil {
		t.Fatal(err)
	}
	if b.First != firsts[0] || b.Last != last.Info().Last || b.Size == 0 {
		t.Fatalf("%+v", b)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, first := range firsts {
		if err := os.Remove(filepath.Join(dir, segment(first))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(name, filepath.Join(dir, segment(firsts[0]))); err != nil {
		t.Fatal(err)
	}
}

func segment(first journal.TXID) string { return fmt.Sprintf("%016x.seg", uint64(first)) }

// A merged segment takes the place of those that it was made of: what comes after it still continues it.
func TestMergedSegmentIsWhatItWasMadeOf(t *testing.T) {
	_, dir := rotated(t, 5, 30)
	seal(t, dir, 5)
	points, err := openTrail(t, dir).Points()
	if err != nil {
		t.Fatal(err)
	}
	all := func(*journal.Record) bool { return true }
	merge(t, dir, all, 31, 61, 91)
	tr := openTrail(t, dir)
	if sum := verify(t, tr); sum.Transactions != 150 || sum.Segments != 4 {
		t.Fatal(sum)
	}
	merge(t, dir, all, 1, 31) // one of which is merged itself
	tr = openTrail(t, dir)
	if sum := verify(t, tr); sum.Transactions != 150 || sum.Segments != 3 {
		t.Fatal(sum)
	}
	for id := journal.TXID(1); id <= 150; id++ {
		if tx, err := tr.Find(t.Context(), id); err != nil || tx.TXID != id {
			t.Fatal(tx, err)
		}
	}
	if got, err := tr.Points(); err != nil || len(got) != len(points) || got[0] != points[0] || got[4] != points[4] {
		t.Fatal(got, err)
	}
}

// What was folded is not found any more, and the trail says what is there instead; the window knows how many states
// are left.
func TestFoldedTransactions(t *testing.T) {
	_, dir := rotated(t, 4, 30)
	seal(t, dir, 4)
	merge(t, dir, func(r *journal.Record) bool { return r.TXID%10 == 0 }, 1, 31)
	tr := openTrail(t, dir)
	verify(t, tr)
	for id := journal.TXID(1); id <= 120; id++ {
		tx, err := tr.Find(t.Context(), id)
		if id > 60 || id%10 == 0 {
			if err != nil || tx.TXID != id || id <= 60 && (tx.Folded != 9 || tx.First() != id-9) {
				t.Fatalf("transaction %d: %+v, %v", id, tx, err)
			}
			continue
		}
		folded, ok := errors.AsType[*journal.FoldedError](err)
		if !ok || !errors.Is(err, journal.ErrRange) || folded.Before != (id-1)/10*10 || folded.After != folded.Before+10 {
			t.Fatalf("transaction %d: %v", id, err)
		}
	}
	w, err := tr.Window(t.Context())
	if err != nil || len(w.Spans) != 1 || w.Spans[0].Folded != 54 || w.Spans[0].Moments() != 121-54 {
		t.Fatalf("%+v, %v", w, err)
	}
	n := 0
	for r, err := range tr.Records(t.Context(), 15) { // in the middle of what one stands for
		if n++; err != nil || n == 1 && (r.TXID != 20 || r.First() != 11) {
			t.Fatal(r, err)
		}
	}
	if n != 5+60 {
		t.Errorf("%d records", n)
	}
	at, err := tr.Find(t.Context(), 40)
	if err != nil {
		t.Fatal(err)
	}
	tx, next, err := tr.FindTime(t.Context(), at.Time+1)
	if err != nil || tx.TXID != 40 || next == nil || next.TXID != 50 {
		t.Errorf("after the time of 40: %v, %v, %v", tx, next, err)
	}
	merge(t, dir, func(r *journal.Record) bool { return r.TXID%30 == 0 }, 1, 61) // once more
	tr = openTrail(t, dir)
	verify(t, tr)
	if w, err = tr.Window(t.Context()); err != nil || w.Spans[0].Folded != 90-3 {
		t.Errorf("%+v, %v", w, err)
	}
}
