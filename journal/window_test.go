package journal_test

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// adoptBase makes a base of one page, and with adopt its record.
func adoptBase(t testing.TB, w *journal.Writer) journal.TXID {
	t.Helper()
	page := make([]byte, 512)
	page[0], page[1] = byte(w.Last().TXID), byte(w.Last().Sum.Lo)
	b, err := w.CreateBase(512, 1, w.Last().Time+1, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WritePages(1, page); err != nil {
		t.Fatal(err)
	}
	info, err := b.Commit()
	if err != nil {
		t.Fatal(err)
	}
	tx, err := w.Add(journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: 1, Sum: info.Sum, Time: info.Time}, diff.Body{}, 0, false)
	if err != nil || tx.TXID != info.TXID {
		t.Fatal(tx, err)
	}
	flush(t, w)
	return tx.TXID
}

// spans are the ends of a window's spans and gaps.
func spans(w journal.Window) (s, gaps [][2]journal.TXID) {
	for _, x := range w.Spans {
		s = append(s, [2]journal.TXID{x.First, x.Last})
	}
	for _, x := range w.Gaps {
		gaps = append(gaps, [2]journal.TXID{x.First, x.Last})
	}
	return s, gaps
}

func rotate(t testing.TB, w *journal.Writer) {
	t.Helper()
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
}

func TestWindowAndPrune(t *testing.T) {
	w, dir := newWriter(t)
	window := func(want, wantGaps [][2]journal.TXID) {
		t.Helper()
		got, err := openTrail(t, dir).Window(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if s, g := spans(got); !reflect.DeepEqual(s, want) || !reflect.DeepEqual(g, wantGaps) {
			t.Fatalf("window %v gaps %v, want %v, %v", s, g, want, wantGaps)
		}
	}
	type span = [][2]journal.TXID
	window(span{{0, 0}}, nil)
	add(t, w, 3)
	rotate(t, w) // 1
	window(span{{0, 3}}, nil)
	add(t, w, 3)
	rotate(t, w) // 4
	adoptBase(t, w)
	add(t, w, 2)
	rotate(t, w) // 7
	add(t, w, 2)
	adoptBase(t, w)
	add(t, w, 2)
	rotate(t, w) // 10: base at 12
	add(t, w, 1) // 15
	flush(t, w)
	want := span{{0, 6}, {7, 11}, {12, 15}}
	window(want, nil)
	seal(t, dir, 4)
	window(want, nil)
	for _, keep := range []journal.TXID{0, 6} {
		if removed, err := journal.Prune(t.Context(), dir, keep, nil); err != nil || removed != nil {
			t.Fatal(removed, err)
		}
	}
	removed, err := journal.Prune(t.Context(), dir, 11, nil)
	if err != nil || !reflect.DeepEqual(removed, []string{"0000000000000001.seg", "0000000000000004.seg"}) {
		t.Fatal(removed, err)
	}
	window(span{{7, 11}, {12, 15}}, nil)
	if err := os.Remove(filepath.Join(dir, "000000000000000a.seg")); err != nil {
		t.Fatal(err)
	}
	window(span{{7, 9}, {12, 12}}, span{{10, 14}})
	removed, err = journal.Prune(t.Context(), dir, 100, nil)
	if err != nil || !reflect.DeepEqual(removed, []string{"0000000000000007.base"}) {
		t.Fatal(removed, err)
	}
	window(span{{12, 12}}, span{{10, 14}})
}
