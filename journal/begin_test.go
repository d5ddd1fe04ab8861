package journal_test

import (
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// A trail that begins in the middle of a history goes on with the next transaction, restores from its base on, and has
// the identity that it was given.
func TestBeginning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "part")
	id := journal.Identity{Format: 1, Database: journal.NewDatabaseID(), Timeline: 3}
	page := make([]byte, 512)
	after := journal.Tx{TXID: 41, Time: 1000, PageSize: 512, PageCount: 1, Sum: diff.PageSum(1, page)}
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Begin: &journal.Beginning{Identity: id, After: after}})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	b, err := w.CreateBase(512, 1, 0, false)
	if err == nil {
		err = b.WritePages(1, page)
	}
	if err == nil {
		_, err = b.Commit()
	}
	if err != nil {
		t.Fatal(err)
	}
	tx, err := w.Add(journal.Tx{Time: 2000, PageSize: 512, PageCount: 1, Sum: after.Sum}, diff.Body{}, 0, false)
	if err == nil {
		err = w.Flush()
	}
	if err != nil || tx.TXID != 42 {
		t.Fatalf("the next is %d: %v", tx.TXID, err)
	}
	tr := openTrail(t, dir)
	verify(t, tr)
	win, err := tr.Window(t.Context())
	if err != nil || len(win.Spans) != 1 || win.Spans[0].First != 41 || win.Spans[0].Last != 42 || tr.Identity() != id {
		t.Errorf("%+v, %+v, %v", win, tr.Identity(), err)
	}
	again, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil || again.Identity() != id {
		t.Errorf("opened again it is %+v, %v", again.Identity(), err)
	}
}
