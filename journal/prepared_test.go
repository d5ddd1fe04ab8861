package journal_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

func prepare(t testing.TB, w *journal.Writer) {
	t.Helper()
	id := w.Last().TXID + 1
	tx := journal.Tx{PageSize: 512, PageCount: uint32(id%7) + 1, Sum: sumOf(id), Time: journal.Time(1000 * id)}
	if _, err := w.Add(tx, patch(uint32(id%7)+1, byte(id)), 1, true); err != nil {
		t.Fatal(err)
	}
}

func openTrail(t testing.TB, dir string) *journal.Trail {
	t.Helper()
	tr, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return tr
}

func wantLast(t testing.TB, tr *journal.Trail, id journal.TXID) {
	t.Helper()
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	last, err := tr.Last()
	if err != nil {
		t.Fatal(err)
	}
	if last.TXID != id {
		t.Fatalf("last is %d, want %d", last.TXID, id)
	}
	wantRecords(t, tr, 1, id)
	fresh := openTrail(t, tr.Dir())
	if last, _ := fresh.Last(); last.TXID != id {
		t.Fatalf("opened anew, last is %d, want %d", last.TXID, id)
	}
	if e := fresh.Torn(); e != nil {
		t.Fatal(e)
	}
}

func TestPrepared(t *testing.T) {
	w, dir := newWriter(t)
	tr := openTrail(t, dir)
	add(t, w, 3)
	prepare(t, w)
	flush(t, w)
	wantLast(t, tr, 3)
	if u := tr.Undecided(); u == nil || u.TXID != 4 {
		t.Fatalf("undecided: %v", u)
	}
	if err := w.Confirm(); err != nil {
		t.Fatal(err)
	}
	wantLast(t, tr, 4)
	prepare(t, w)
	flush(t, w)
	w.Unlock()
	w2 := lockedWriter(t, dir)
	if !w2.Prepared() || w2.Last().TXID != 5 {
		t.Fatalf("another writer sees prepared %v, last %d", w2.Prepared(), w2.Last().TXID)
	}
	if err := w2.Drop(); err != nil {
		t.Fatal(err)
	}
	wantLast(t, tr, 4)
	add(t, w2, 2)
	flush(t, w2)
	w2.Unlock()
	if moved, err := w.Lock(); err != nil || !moved {
		t.Fatal(moved, err)
	}
	if w.Prepared() || w.Last().TXID != 6 {
		t.Fatalf("prepared %v, last %d", w.Prepared(), w.Last().TXID)
	}
	prepare(t, w)
	if err := w.Confirm(); err != nil { // not yet flushed
		t.Fatal(err)
	}
	add(t, w, 2)
	prepare(t, w)
	if err := w.Drop(); err != nil {
		t.Fatal(err)
	}
	wantLast(t, tr, 9)
	w.Unlock()
	if moved, err := w.Lock(); err != nil || moved {
		t.Fatal(moved, err)
	}
}

func TestParts(t *testing.T) {
	w, dir := newWriter(t)
	tr := openTrail(t, dir)
	add(t, w, 2)
	for _, prepared := range []bool{false, true} {
		for i := range 3 {
			if err := w.AddPart(patch(uint32(i+1), byte(i)), 1); err != nil {
				t.Fatal(err)
			}
		}
		id := w.Last().TXID + 1
		tx, err := w.Add(journal.Tx{PageSize: 512, PageCount: 4, Sum: sumOf(id)}, patch(4, 3), 1, prepared)
		if err != nil || tx.Pages != 4 {
			t.Fatal(tx, err)
		}
		if prepared {
			if err := w.Confirm(); err != nil {
				t.Fatal(err)
			}
		} else {
			flush(t, w)
		}
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		for r, err := range tr.Records(t.Context(), id) {
			if err != nil || r.Pages != 4 {
				t.Fatal(r, err)
			}
			i := 0
			for b, err := range r.Groups() {
				want := patch(uint32(i+1), byte(i))
				if err != nil || !bytes.Equal(b.Pages, want.Pages) || !bytes.Equal(b.Literals, want.Literals) {
					t.Fatal(i, b, err)
				}
				i++
			}
			if i != 4 {
				t.Fatal(i)
			}
		}
	}
	size := w.Size()
	if err := w.AddPart(patch(1, 1), 1); err != nil {
		t.Fatal(err)
	}
	if err := w.Reset(); err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(filepath.Join(dir, "0000000000000001.seg")); fi.Size() != size {
		t.Fatal(fi.Size(), size)
	}
	if err := w.AddPart(patch(1, 1), 1); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Add(journal.Tx{PageSize: 512, PageCount: 4}, patch(4, 3), 1, true); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	if err := w.Drop(); err != nil {
		t.Fatal(err)
	}
	if fi, _ := os.Stat(filepath.Join(dir, "0000000000000001.seg")); fi.Size() != size {
		t.Fatal(fi.Size(), size)
	}
}

func TestCutAfter(t *testing.T) {
	for group := 1; group < 5; group++ {
		for id := journal.TXID(0); id <= 20; id++ {
			w, dir := newWriter(t)
			for range 20 / group {
				add(t, w, group)
				flush(t, w)
			}
			id := min(id, w.Last().TXID)
			if err := w.CutAfter(id); err != nil {
				t.Fatal(err)
			}
			tr := openTrail(t, dir)
			wantLast(t, tr, id)
			add(t, w, 3)
			flush(t, w)
			wantLast(t, tr, id+3)
		}
	}
}

func TestBase(t *testing.T) {
	w, dir := newWriter(t)
	const n = 1500
	pages := make([]byte, n*512)
	var sum diff.Sum
	for i := range n {
		pages[i*512] = byte(i)
		sum = sum.Add(diff.PageSum(uint32(i+1), pages[i*512:][:512]))
	}
	b, err := w.CreateBase(512, n, 7, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WritePages(1, pages[:700*512]); err != nil {
		t.Fatal(err)
	}
	if err := b.WritePages(701, pages[700*512:]); err != nil {
		t.Fatal(err)
	}
	info, err := b.Commit()
	if err != nil || info.Sum != sum || info.TXID != 1 {
		t.Fatal(info, err)
	}
	if _, err := w.Add(journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: n, Sum: sum, Time: 7}, diff.Body{}, 0, false); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	tr := openTrail(t, dir)
	bases, err := tr.Bases()
	if err != nil || len(bases) != 1 || bases[0] != info {
		t.Fatal(bases, info, err)
	}
	r, err := tr.OpenBase(1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got, buf []byte
	for i := range r.Blocks() {
		first, p, err := r.ReadBlock(i, buf)
		if err != nil || int(first) != len(got)/512+1 {
			t.Fatal(first, err)
		}
		got = append(got, p...)
		buf = p
	}
	if !bytes.Equal(got, pages) {
		t.Fatal("pages differ")
	}
}
