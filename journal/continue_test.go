package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// A trail that continues another begins with the next transaction, and says where it came from; what a crash left of
// making it is no obstacle, and another trail is.
func TestContinue(t *testing.T) {
	w, _ := newWriter(t)
	add(t, w, 3)
	flush(t, w)
	tx := w.Last()
	at := journal.Position{Database: w.Identity().Database, Timeline: 4, TXID: tx.TXID, Sum: tx.Sum}
	dir := filepath.Join(t.TempDir(), "new.db-pagetrail")
	id, err := journal.Continue(dir, at, &tx, nil)
	if err != nil || id.Timeline != 5 || *id.Parent != at || id.Database != at.Database {
		t.Fatalf("%+v, %v", id, err)
	}
	if _, err := journal.Continue(dir, at, &tx, nil); !errors.Is(err, journal.ErrExists) {
		t.Errorf("where there is one: %v", err)
	}
	if err := os.Remove(filepath.Join(dir, "identity")); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Continue(dir, at, &tx, nil); err != nil {
		t.Errorf("after a crash: %v", err)
	}
	next := lockedWriter(t, dir)
	if last := next.Last(); last.TXID != tx.TXID || last.Sum != tx.Sum || last.PageCount != tx.PageCount {
		t.Errorf("it continues %+v, not %+v", last, tx)
	}
	add(t, next, 1)
	flush(t, next)
	tr := openTrail(t, dir)
	if last, err := tr.Last(); err != nil || last.TXID != tx.TXID+1 {
		t.Errorf("its last is %+v, %v", last, err)
	}
	verify(t, tr)
	for _, bad := range []journal.Position{{TXID: tx.TXID + 1}, {TXID: tx.TXID, Timeline: 1<<32 - 1}} {
		if _, err := journal.Continue(filepath.Join(t.TempDir(), "x"), bad, &tx, nil); !errors.Is(err, journal.ErrRange) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}
