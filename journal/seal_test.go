package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// rotated makes a trail of segments of n records each, none of them sealed.
func rotated(t testing.TB, segments, n int) (*journal.Writer, string) {
	t.Helper()
	w, dir := newWriter(t)
	for range segments {
		for range n {
			add(t, w, 1)
			flush(t, w)
		}
		if _, err := w.AddPoint("p"+w.Last().TXID.String(), 5); err != nil {
			t.Fatal(err)
		}
		if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	return w, dir
}

func seal(t testing.TB, dir string, want int) {
	t.Helper()
	n, err := journal.Seal(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n != want {
		t.Fatalf("sealed %d segments, want %d", n, want)
	}
}

func verify(t testing.TB, tr *journal.Trail) journal.Summary {
	t.Helper()
	sum, err := tr.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestSeal(t *testing.T) {
	for _, n := range []int{1, 2, 99, 100, 101, 250} {
		w, dir := rotated(t, 3, n)
		before := openTrail(t, dir)
		points, err := before.Points()
		if err != nil || len(points) != 3 {
			t.Fatal(points, err)
		}
		verify(t, before)
		seal(t, dir, 3)
		seal(t, dir, 0)
		tr := openTrail(t, dir)
		wantLast(t, tr, journal.TXID(3*n))
		sum := verify(t, tr)
		if sum.Transactions != uint64(3*n) || sum.Segments != 4 {
			t.Fatal(sum)
		}
		for id := journal.TXID(1); id <= journal.TXID(3*n); id++ {
			tx, err := tr.Find(t.Context(), id)
			if err != nil || tx.TXID != id {
				t.Fatal(tx, err)
			}
		}
		after, err := tr.Points()
		if err != nil || len(after) != 3 || after[2] != points[2] {
			t.Fatal(after, err)
		}
		add(t, w, 5)
		flush(t, w)
		for _, tr := range []*journal.Trail{tr, before} {
			wantLast(t, tr, journal.TXID(3*n+5))
		}
	}
}

// TestSealWhileVerifying seals all segments while the first is verified: the second then names the footer of a file that
// was read before it had one, and that is no damage.
func TestSealWhileVerifying(t *testing.T) {
	_, dir := rotated(t, 3, 10)
	sealed := false
	sum, err := openTrail(t, dir).Verify(t.Context(), func(done, _ int64) {
		if !sealed && done > 0 {
			sealed = true
			seal(t, dir, 3)
		}
	})
	if err != nil || sum.Transactions != 30 || sum.Segments != 4 {
		t.Fatal(sum, err)
	}
}

// TestPruneWhileVerifying has the segment that was read last sealed like the next, and then pruned: it cannot be asked
// any more how it leads on.
func TestPruneWhileVerifying(t *testing.T) {
	_, dir := rotated(t, 3, 10)
	pruned := false
	sum, err := openTrail(t, dir).Verify(t.Context(), func(done, _ int64) {
		if pruned || done == 0 {
			return
		}
		pruned = true
		seal(t, dir, 3)
		if err := os.Remove(filepath.Join(dir, "0000000000000001.seg")); err != nil {
			t.Error(err)
		}
	})
	if err != nil || sum.Transactions != 30 || sum.Segments != 4 {
		t.Fatal(sum, err)
	}
}

// TestSealedIsLast: a rotation that a crash cut short leaves no tail behind the segment that has ended, sealed or
// not. Readers read what is there, and the next writer makes the tail.
func TestSealedIsLast(t *testing.T) {
	for _, sealed := range []bool{false, true} {
		w, dir := rotated(t, 1, 10)
		w.Close()
		if sealed {
			seal(t, dir, 1)
		}
		if err := os.Remove(filepath.Join(dir, "000000000000000b.seg")); err != nil {
			t.Fatal(err)
		}
		tr := openTrail(t, dir)
		for range 2 {
			wantLast(t, tr, 10)
		}
		verify(t, tr)
		w = lockedWriter(t, dir)
		if w.Last().TXID != 10 {
			t.Fatal(w.Last())
		}
		add(t, w, 1)
		flush(t, w)
		wantLast(t, tr, 11)
	}
}
