package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// wantCuts checks how far the cuts of a trail go, and after what they part from it now.
func wantCuts(t testing.TB, dir string, want ...[2]journal.TXID) []journal.Cut {
	t.Helper()
	cuts, err := openTrail(t, dir).Cuts()
	if err != nil || len(cuts) != len(want) {
		t.Fatalf("%d cuts, want %d: %+v, %v", len(cuts), len(want), cuts, err)
	}
	for i, c := range cuts {
		if got := [2]journal.TXID{c.After, c.Last.TXID}; got != want[i] || c.Err != nil || i > 0 && c.At <= cuts[i-1].At {
			t.Errorf("cut %d: %+v, want it to part after %d and end with %d", i, c, want[i][0], want[i][1])
		}
	}
	return cuts
}

// wantWhole checks a cut of forkTrail, in which nothing is missing.
func wantWhole(t testing.TB, dir string) {
	t.Helper()
	cut := openTrail(t, dir)
	defer cut.Close()
	wantRecords(t, cut, 1, 12)
	w, err := cut.Window(t.Context())
	if err != nil || len(w.Gaps) != 0 || len(w.Spans) != 1 || w.Spans[0].Last != 12 {
		t.Errorf("window of the cut: %+v, %v", w, err)
	}
	verify(t, cut)
}

// TestCutIsKept cuts at every place of the tail, goes on, and finds what there was and what there is.
func TestCutIsKept(t *testing.T) {
	for id := journal.TXID(5); id < 12; id++ {
		w, dir := forkTrail(t)
		if _, err := w.AddPoint("gone", 12); err != nil {
			t.Fatal(err)
		}
		before := journal.TimeOf(time.Now())
		if err := w.CutAfter(id); err != nil {
			t.Fatalf("cut after %d: %v", id, err)
		}
		wantRecords(t, openTrail(t, dir), 1, id)
		if tx := addOther(t, w); tx.TXID != id+1 {
			t.Errorf("transaction %d follows %d", tx.TXID, id)
		}
		c := wantCuts(t, dir, [2]journal.TXID{id, 12})[0]
		if c.Common.TXID != id || c.Common.Timeline != 1 || id > 5 && c.Common.Sum != sumOf(id) || c.Last.Sum != sumOf(12) || c.At < before {
			t.Errorf("cut %+v", c)
		}
		wantWhole(t, c.Dir)
		if p, err := openTrail(t, c.Dir).FindPoint("gone"); err != nil || p.TXID != 12 {
			t.Errorf("point of the cut: %+v, %v", p, err)
		}
		if _, err := openTrail(t, dir).FindPoint("gone"); !errors.Is(err, journal.ErrNotFound) {
			t.Errorf("the trail has the point still: %v", err)
		}
		if _, err := journal.OpenWriter(c.Dir, nil); err == nil {
			t.Error("a cut can be written to")
		}
		verify(t, openTrail(t, dir))
	}
}

// TestNothingToKeep takes off what is no history, and what others have.
func TestNothingToKeep(t *testing.T) {
	w, dir := forkTrail(t)
	prepare(t, w)
	flush(t, w)
	if err := w.CutAfter(12); err != nil {
		t.Fatal(err)
	}
	wantCuts(t, dir)
	if err := w.Retract(7); err != nil {
		t.Fatal(err)
	}
	wantCuts(t, dir)
	wantRecords(t, openTrail(t, dir), 1, 7)
	if err := w.Retract(4); !errors.Is(err, journal.ErrRange) {
		t.Errorf("retracted into the segment before: %v", err)
	}
}

// TestCutsInSuccession cuts again and again, and forks: every end that the trail had is there. The base of transaction
// 13 goes with the second cut, and the first, which has it in the middle, finds it there though the trail has another of
// that number by then.
func TestCutsInSuccession(t *testing.T) {
	w, dir := forkTrail(t)
	if id := adoptBase(t, w); id != 13 {
		t.Fatal(id)
	}
	addOther(t, w) // 14
	addOther(t, w)
	cut := func(id journal.TXID) {
		t.Helper()
		if err := w.CutAfter(id); err != nil {
			t.Fatal(err)
		}
	}
	bases := func(dir string, want ...journal.TXID) {
		t.Helper()
		tr := openTrail(t, dir)
		all, err := tr.Bases()
		var got []journal.TXID
		for _, b := range all {
			got = append(got, b.TXID)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%s has the bases %v, %v, want %v", filepath.Base(dir), got, err, want)
		}
		verify(t, tr)
	}
	cut(14)
	bases(wantCuts(t, dir, [2]journal.TXID{14, 15})[0].Dir, 13)
	addOther(t, w) // 15, another
	cut(10)
	two := wantCuts(t, dir, [2]journal.TXID{10, 15}, [2]journal.TXID{10, 15})
	bases(dir)
	bases(two[0].Dir, 13)
	bases(two[1].Dir, 13)
	addOther(t, w) // 11
	addOther(t, w)
	if id := adoptBase(t, w); id != 13 {
		t.Fatal(id)
	}
	bases(dir, 13)
	bases(two[0].Dir, 13)
	addOther(t, w) // 14
	cut(13)
	bases(wantCuts(t, dir, [2]journal.TXID{10, 15}, [2]journal.TXID{10, 15}, [2]journal.TXID{13, 14})[2].Dir, 13)
	if err := w.Fork(12); err != nil {
		t.Fatal(err)
	}
	if id := adoptBase(t, w); id != 13 {
		t.Fatal(id)
	}
	all := wantCuts(t, dir, [2]journal.TXID{10, 15}, [2]journal.TXID{10, 15}, [2]journal.TXID{12, 14})
	bases(dir, 13)
	for _, c := range all {
		bases(c.Dir, 13)
	}
	branches, err := openTrail(t, dir).Branches()
	if err != nil || len(branches) != 1 || branches[0].Last != 13 {
		t.Fatalf("branches %+v, %v", branches, err)
	}
	bases(branches[0].Dir, 13)
	if a, err := openTrail(t, all[0].Dir).Find(t.Context(), 15); err != nil || a.Sum != all[0].Last.Sum {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestCutStopped dies before every call of a cut that takes a base with it. The next writer finds all records, or none
// of those that were to go; and cuts again, as who recovers a database does: then there is one cut, and it is whole.
func TestCutStopped(t *testing.T) {
	for _, id := range []journal.TXID{5, 7, 10} {
		uncut, cut := 0, 0
		for at := 1; ; at++ {
			made, dir := forkTrail(t)
			base := adoptBase(t, made)
			addOther(t, made)
			made.Close()
			dead := &deadFS{FS: durable.OS, at: at}
			w, err := journal.OpenWriter(dir, &journal.WriterOptions{FS: dead})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Lock(); err != nil {
				t.Fatal(err)
			}
			err = w.CutAfter(id)
			last := dead.calls < at
			if (err == nil) != last {
				t.Fatalf("call %d of %d: %v", at, dead.calls, err)
			}
			w.Close()
			openTrail(t, dir) // readers can read what is there
			next := lockedWriter(t, dir)
			switch next.Last().TXID {
			case id:
				cut++
			case base + 1:
				uncut++
			case 12: // what comes after the block that the cut is in goes first
				if id == 10 {
					break
				}
				fallthrough
			default:
				t.Fatalf("stopped at call %d: the trail ends with %d", at, next.Last().TXID)
			}
			if err := next.CutAfter(id); err != nil {
				t.Fatal(err)
			}
			for next.Last().TXID < base {
				addOther(t, next)
			}
			c := wantCuts(t, dir, [2]journal.TXID{id, base + 1})[0]
			tr := openTrail(t, c.Dir)
			bases, err := tr.Bases()
			if err != nil || len(bases) != 1 || bases[0].TXID != base {
				t.Fatalf("stopped at call %d: bases of the cut %+v, %v", at, bases, err)
			}
			verify(t, tr)
			verify(t, openTrail(t, dir))
			next.Close()
			if last {
				break
			}
		}
		if uncut < 5 || cut < 3 {
			t.Errorf("cut after %d: stopped %d times before it was done, %d times after", id, uncut, cut)
		}
	}
}

// TestDamagedCut flips every byte that a cut is made of. What is read of it is what there was, up to the damage, and the
// trail, and how it is asked for its cuts, do not suffer.
func TestDamagedCut(t *testing.T) {
	w, dir := forkTrail(t)
	if err := w.CutAfter(8); err != nil {
		t.Fatal(err)
	}
	addOther(t, w)
	c := wantCuts(t, dir, [2]journal.TXID{8, 12})[0]
	for _, name := range []string{"identity", "0000000000000006.seg"} {
		path := filepath.Join(c.Dir, name)
		whole := readFile(t, path)
		for i := range whole {
			data := bytes.Clone(whole)
			data[i] ^= 0x10
			writeFile(t, path, data)
			cuts, err := openTrail(t, dir).Cuts()
			if err != nil || len(cuts) != 1 || cuts[0].Dir != c.Dir || cuts[0].At != c.At {
				t.Fatalf("%s, byte %d: %+v, %v", name, i, cuts, err)
			}
			tr, err := journal.Open(c.Dir, &journal.ReadOptions{Damaged: true})
			if (err == nil) != (cuts[0].Err == nil) {
				t.Fatalf("%s, byte %d: listed with %v, opened with %v", name, i, cuts[0].Err, err)
			}
			if err != nil {
				continue
			}
			last, _ := tr.Last()
			if name != "identity" {
				wantRecords(t, tr, 1, last.TXID)
				if last.TXID == 12 && tr.Torn() == nil && tr.Damage() == nil {
					t.Fatalf("byte %d: not found", i)
				}
			}
			tr.Close()
		}
		writeFile(t, path, whole)
	}
	if err := os.Remove(filepath.Join(c.Dir, "0000000000000006.seg")); err != nil {
		t.Fatal(err)
	}
	if cuts, err := openTrail(t, dir).Cuts(); err != nil || len(cuts) != 1 || cuts[0].Err == nil {
		t.Errorf("without its segment: %+v, %v", cuts, err)
	}
	w.Close()
	lockedWriter(t, dir) // and writers do not need it
}

// TestCutOverPruned prunes what a cut builds on: it is listed, its own records can be read, and nothing is taken for
// what it was.
func TestCutOverPruned(t *testing.T) {
	w, dir := forkTrail(t)
	if err := w.CutAfter(8); err != nil {
		t.Fatal(err)
	}
	base := adoptBase(t, w)
	rotate(t, w)
	seal(t, dir, 1)
	removed, err := journal.Prune(t.Context(), dir, base, nil)
	if err != nil || len(removed) == 0 {
		t.Fatalf("pruned %v, %v", removed, err)
	}
	c := wantCuts(t, dir, [2]journal.TXID{8, 12})[0]
	cut := openTrail(t, c.Dir)
	wantRecords(t, cut, 6, 12)
	win, err := cut.Window(t.Context())
	if err != nil || len(win.Spans) != 0 || len(win.Gaps) != 0 {
		t.Errorf("window of the cut: %+v, %v", win, err)
	}
}

// TestNoCuts has names beside cuts that are none: a file, a directory that a crash left, and others'.
func TestNoCuts(t *testing.T) {
	w, dir := forkTrail(t)
	writeFile(t, filepath.Join(dir, "cut-1700000000000000"), []byte("a file"))
	for _, name := range []string{"cut-1700000000000001", "cut-", "cut-0", "cut-01", "cut-x", "cut-99999999999999999999"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "cut-1700000000000001" {
			continue
		}
		writeFile(t, filepath.Join(dir, name, "identity"), []byte("not ours"))
	}
	wantCuts(t, dir)
	if err := w.CutAfter(8); err != nil {
		t.Fatal(err)
	}
	wantCuts(t, dir, [2]journal.TXID{8, 12})
}
