package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// shipTo writes the next batch of a trail as a segment of the trail in the directory to. nil: there was nothing.
func shipTo(t testing.TB, tr *journal.Trail, to string, prev *journal.Batch, o *journal.BatchOptions) *journal.Batch {
	t.Helper()
	temp := filepath.Join(to, "next.tmp")
	f, err := durable.OS.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	b, err := tr.WriteBatch(t.Context(), f, prev, 1, o)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
	data := readFile(t, temp)
	if b.Last < b.First {
		if len(data) != 0 {
			t.Fatalf("%d bytes of no transactions", len(data))
		}
		return prev
	}
	if int64(len(data)) != b.Size {
		t.Fatalf("batch of %d bytes says %d", len(data), b.Size)
	}
	name := fmt.Sprintf("%016x.seg", uint64(b.First))
	writeFile(t, filepath.Join(to, name), data)
	s, err := journal.NewSegmentReader(bytes.NewReader(data), b.Size, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What is known of a batch after a restart is what was known when it was written.
	again, err := s.Batch()
	if err != nil || !again.Same(&b) || again.First != b.First || again.Last != b.Last || again.LastTime != b.LastTime || !slices.Equal(again.Points, b.Points) {
		t.Fatalf("batch is %+v, read again %+v, %v", b, again, err)
	}
	return &again
}

// sameTrail compares records, groups and points of two trails; sums as far as both know them.
func sameTrail(t testing.TB, a, b *journal.Trail) {
	t.Helper()
	next := map[journal.TXID]string{}
	describe := func(r *journal.Record) string {
		tx := r.Tx
		tx.Origin, tx.Sum, tx.SumKnown = journal.Origin{}, diff.Sum{}, false
		text := fmt.Sprintf("%+v", tx)
		for g, err := range r.Groups() {
			if err != nil {
				t.Fatal(err)
			}
			text += fmt.Sprintf(" %x/%x/%x", g.Pages, g.Tokens, g.Literals)
		}
		return text
	}
	for r, err := range a.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		next[r.TXID] = describe(r)
	}
	n := 0
	for r, err := range b.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if got := describe(r); got != next[r.TXID] {
			t.Fatalf("transaction %d is\n%s, want\n%s", r.TXID, got, next[r.TXID])
		}
		n++
	}
	if n != len(next) {
		t.Fatalf("%d transactions of %d", n, len(next))
	}
	pa, errA := a.Points()
	pb, errB := b.Points()
	if errA != nil || errB != nil || !slices.Equal(pa, pb) {
		t.Fatalf("points are %v %v, want %v %v", pb, errB, pa, errA)
	}
}

// Batches are cut anywhere, of trails that are rotated, sealed and pruned of nothing at any time; put side by side
// they are the same trail, chain included.
func TestBatchesAreTheTrail(t *testing.T) {
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 4))
		w, dir := newWriter(t)
		to := t.TempDir()
		writeFile(t, filepath.Join(to, "identity"), readFile(t, filepath.Join(dir, "identity")))
		tr := openTrail(t, dir)
		var prev *journal.Batch
		for range 40 {
			step(t, rnd, w, dir)
			if rnd.IntN(3) > 0 {
				continue
			}
			if err := tr.Refresh(); err != nil {
				t.Fatal(err)
			}
			o := &journal.BatchOptions{Bytes: int64(rnd.IntN(3) * rnd.IntN(2000)), Size: int64(rnd.IntN(3) * rnd.IntN(2000))}
			if last := w.Committed().TXID; prev != nil && rnd.IntN(4) == 0 && last > 0 {
				o.To = prev.Last + journal.TXID(rnd.IntN(3))
			}
			prev = shipTo(t, tr, to, prev, o)
		}
		add(t, w, 1) // a point is shipped with the transaction after it
		flush(t, w)
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		for prev == nil || prev.Last < w.Committed().TXID {
			prev = shipTo(t, tr, to, prev, &journal.BatchOptions{Bytes: 1000})
		}
		shipped := openTrail(t, to)
		verify(t, shipped)
		sameTrail(t, tr, shipped)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

// step does something to a trail.
func step(t testing.TB, rnd *rand.Rand, w *journal.Writer, dir string) {
	t.Helper()
	switch rnd.IntN(9) {
	case 0: // a large transaction
		for i := range 1 + rnd.IntN(3) {
			if err := w.AddPart(patch(uint32(10+i), 1), 1); err != nil {
				t.Fatal(err)
			}
		}
		add(t, w, 1)
		flush(t, w)
	case 1, 2: // a group of commits in one block
		for range rnd.IntN(130) {
			add(t, w, 1)
		}
		flush(t, w)
	case 3:
		prepare(t, w)
		flush(t, w)
		if err := w.Confirm(); err != nil {
			t.Fatal(err)
		}
	case 4:
		if w.Committed().TXID > 0 {
			if _, err := w.AddPoint(fmt.Sprintf("p%d", rnd.IntN(5)), journal.Time(1000+rnd.IntN(1000))); err != nil {
				t.Fatal(err)
			}
		}
	case 5:
		if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
		if rnd.IntN(2) == 0 {
			if _, err := journal.Seal(t.Context(), dir, nil); err != nil {
				t.Fatal(err)
			}
		}
	default:
		add(t, w, 1)
		flush(t, w)
	}
}

// A batch goes on only from the history that it is part of.
func TestBatchOfAnotherHistory(t *testing.T) {
	w, dir := newWriter(t)
	for range 5 {
		add(t, w, 1)
		flush(t, w)
	}
	to := t.TempDir()
	prev := shipTo(t, openTrail(t, dir), to, nil, nil)
	if prev.First != 1 || prev.Last != 5 {
		t.Fatalf("batch %+v", prev)
	}
	if err := w.CutAfter(3); err != nil { // a power cut took two, and other two came
		t.Fatal(err)
	}
	if err := openTrail(t, dir).Continues(t.Context(), prev); !errors.Is(err, journal.ErrRange) {
		t.Errorf("a trail that is behind: %v", err)
	}
	for range 3 {
		if _, err := w.Add(journal.Tx{Time: 1 << 50, PageSize: 512, PageCount: 6}, patch(3, 9), 1, false); err != nil {
			t.Fatal(err)
		}
		flush(t, w)
	}
	tr := openTrail(t, dir)
	if err := tr.Continues(t.Context(), prev); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("another history: %v", err)
	}
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	seal(t, dir, 1) // now the sum of transaction 5 is known in part only
	if err := openTrail(t, dir).Continues(t.Context(), prev); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("another history, sealed: %v", err)
	}
	if _, err := tr.WriteBatch(t.Context(), nil, prev, 0, nil); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("writing on from another history: %v", err)
	}
}

// The last segment of a directory of batches is sealed, and the next appears under the name that is expected.
func TestFollowingBatches(t *testing.T) {
	w, dir := newWriter(t)
	to := t.TempDir()
	writeFile(t, filepath.Join(to, "identity"), readFile(t, filepath.Join(dir, "identity")))
	tr := openTrail(t, dir)
	var prev *journal.Batch
	var shipped *journal.Trail
	for i := range journal.TXID(5) {
		add(t, w, 1)
		flush(t, w)
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		prev = shipTo(t, tr, to, prev, nil)
		if shipped == nil {
			shipped = openTrail(t, to)
		}
		for range 2 { // the second time there is nothing new
			if err := shipped.Refresh(); err != nil {
				t.Fatal(err)
			}
			wantLast(t, shipped, i+1)
		}
	}
	sameTrail(t, tr, shipped)
}

// A batch that begins in the middle of a sealed block ends its own blocks only where a sum is known in full.
func TestBatchFromTheMiddleOfABlock(t *testing.T) {
	for _, n := range []int{1, 50, 99, 100, 101} {
		w, dir := newWriter(t)
		to := t.TempDir()
		writeFile(t, filepath.Join(to, "identity"), readFile(t, filepath.Join(dir, "identity")))
		add(t, w, n)
		flush(t, w)
		prev := shipTo(t, openTrail(t, dir), to, nil, nil)
		add(t, w, 330)
		flush(t, w)
		if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
		seal(t, dir, 1)
		tr := openTrail(t, dir)
		for prev.Last < w.Committed().TXID {
			prev = shipTo(t, tr, to, prev, &journal.BatchOptions{Bytes: 3000})
		}
		shipped := openTrail(t, to)
		verify(t, shipped)
		sameTrail(t, tr, shipped)
	}
}

// brokenOff does something before a write, which may refuse it.
type brokenOff struct {
	durable.File
	left int // writes before that
	stop func() error
}

func (f *brokenOff) WriteAt(p []byte, off int64) (int, error) {
	if f.left--; f.left == -1 {
		if err := f.stop(); err != nil {
			return 0, err
		}
	}
	return f.File.WriteAt(p, off)
}

// A batch is made in the memory of one before, which may have been of another trail and have broken off anywhere.
func TestBatchAfterOneThatBrokeOff(t *testing.T) {
	w, dir := newWriter(t)
	other, otherDir := newWriter(t)
	add(t, w, 250)
	flush(t, w)
	for range 8 { // so many blocks, which the segment's hold otherwise: there are records in memory whenever it is stopped
		add(t, other, 70)
		flush(t, other)
	}
	tr, from := openTrail(t, dir), openTrail(t, otherDir)
	broken := 0
	for i := range 16 {
		ctx, cancel := context.WithCancel(t.Context())
		stop := func() error { cancel(); return nil }
		if i%2 == 0 {
			stop = func() error { return errors.New("no space left") }
		}
		f, err := durable.OS.OpenFile(filepath.Join(t.TempDir(), "broken.tmp"), os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err = from.WriteBatch(ctx, &brokenOff{f, i / 2, stop}, nil, 1, nil); err != nil {
			broken++
		}
		cancel()
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		writeFile(t, filepath.Join(to, "identity"), readFile(t, filepath.Join(dir, "identity")))
		shipTo(t, tr, to, nil, nil)
		sameTrail(t, tr, openTrail(t, to))
	}
	if broken < 12 {
		t.Fatalf("%d batches broke off", broken)
	}
}
