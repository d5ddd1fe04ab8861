package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// newWriter makes a trail in a temporary directory and takes its lock.
func newWriter(t testing.TB) (*journal.Writer, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "db-pagetrail")
	return lockedWriter(t, dir), dir
}

// lockedWriter opens the trail in dir, making it when there is none, and takes its lock.
func lockedWriter(t testing.TB, dir string) *journal.Writer {
	t.Helper()
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	return w
}

// patch is a body that fills page no with a byte.
func patch(no uint32, fill byte) diff.Body {
	var e diff.Encoder
	b, _ := e.Encode(diff.Body{}, 512, []diff.Page{{No: no, New: bytes.Repeat([]byte{fill}, 512)}})
	return b
}

// add adds n transactions, each of one page, whose sums and notes follow from their TXIDs.
func add(t testing.TB, w *journal.Writer, n int) {
	t.Helper()
	for range n {
		id := w.Last().TXID + 1
		tx := journal.Tx{PageSize: 512, PageCount: uint32(id%7) + 1, Sum: sumOf(id), Time: journal.Time(1000 * id)}
		if id%3 == 0 {
			tx.Note = fmt.Sprint("note ", id)
		}
		if _, err := w.Add(tx, patch(uint32(id%7)+1, byte(id)), 1, false); err != nil {
			t.Fatal(err)
		}
	}
}

func sumOf(id journal.TXID) diff.Sum {
	return diff.Sum{Hi: uint64(id) << 32, Lo: uint64(id) * 0x9e3779b97f4a7c15}
}

func flush(t testing.TB, w *journal.Writer) {
	t.Helper()
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
}

// wantRecords reads the trail from a TXID on and compares what add added.
func wantRecords(t testing.TB, tr *journal.Trail, from, to journal.TXID) {
	t.Helper()
	next := from
	for r, err := range tr.Records(t.Context(), from) {
		if err != nil {
			t.Fatalf("record %d: %v", next, err)
		}
		if r.TXID != next || r.SumCut != sumOf(next).Cut() || r.SumKnown && r.Sum != sumOf(next) {
			t.Fatalf("got record %+v, want %d", r.Tx, next)
		}
		want := patch(uint32(next%7)+1, byte(next))
		for b, err := range r.Groups() {
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Pages, want.Pages) || !bytes.Equal(b.Tokens, want.Tokens) || !bytes.Equal(b.Literals, want.Literals) {
				t.Fatalf("record %d: body %v, want %v", next, b, want)
			}
		}
		next++
	}
	if next != to+1 {
		t.Fatalf("records %d to %d, want to %d", from, next-1, to)
	}
}

func TestAppendAndRead(t *testing.T) {
	w, dir := newWriter(t)
	tr, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	for i := range 50 {
		add(t, w, i)
		flush(t, w)
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		last := w.Last().TXID
		for _, from := range []journal.TXID{0, 1, last / 2, last, last + 1} {
			wantRecords(t, tr, max(from, 1), last)
		}
		if i%10 == 9 {
			if err := w.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, err := range tr.Records(t.Context(), w.Last().TXID+2) {
		if !errors.Is(err, journal.ErrRange) {
			t.Fatal(err)
		}
	}
}
