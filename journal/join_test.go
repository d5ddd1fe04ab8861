package journal_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestJoin: a trail whose transactions are all of a later timeline's history becomes one of it, where it ends or before,
// goes on, and its readers notice; one that has others is left as it is.
func TestJoin(t *testing.T) {
	for _, ahead := range []journal.TXID{0, 3} {
		w, dir := newWriter(t)
		add(t, w, 5)
		flush(t, w)
		reader := openTrail(t, dir)
		last := w.Last()
		at := journal.Position{Database: w.Identity().Database, Timeline: 1, TXID: last.TXID + ahead, Sum: last.Sum}
		next := journal.Identity{Database: at.Database, Timeline: 2, Parent: &at}
		for range 2 {
			if err := w.Join(next); err != nil {
				t.Fatal(err)
			}
		}
		add(t, w, 2)
		flush(t, w)
		if err := reader.Refresh(); err != nil || reader.Identity().Timeline != 2 || *reader.Identity().Parent != at {
			t.Fatalf("a reader is at %+v, %v", reader.Identity(), err)
		}
		wantRecords(t, reader, 1, 7)
		verify(t, reader)
		w.Close()
		again := lockedWriter(t, dir)
		if id := again.Identity(); id.Timeline != 2 || *id.Parent != at || again.Last().TXID != 7 {
			t.Errorf("opened again: %+v after %d", id, again.Last().TXID)
		}
		if branches, err := reader.Branches(); err != nil || len(branches) != 0 {
			t.Errorf("branches %+v, %v", branches, err)
		}
	}
}

// TestJoinRefused: transactions beyond the parent, another state at it, another database, an earlier timeline.
func TestJoinRefused(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 5)
	flush(t, w)
	before := readFile(t, filepath.Join(dir, "identity"))
	at := journal.Position{Database: w.Identity().Database, Timeline: 1, TXID: 5, Sum: w.Last().Sum}
	earlier, other := at, at
	earlier.TXID, other.Sum.Lo = 4, 77
	for _, c := range []struct {
		id   journal.Identity
		want error
	}{
		{journal.Identity{Database: at.Database, Timeline: 2, Parent: &earlier}, journal.ErrDiverged},
		{journal.Identity{Database: at.Database, Timeline: 2, Parent: &other}, journal.ErrDiverged},
		{journal.Identity{Database: journal.DatabaseID{1}, Timeline: 2, Parent: &at}, journal.ErrForeign},
		{journal.Identity{Database: at.Database, Timeline: 2}, journal.ErrForeign},
		{journal.Identity{Database: at.Database}, journal.ErrForeign},
	} {
		if err := w.Join(c.id); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v, want %v", c.id, err, c.want)
		}
	}
	if now, err := os.ReadFile(filepath.Join(dir, "identity")); err != nil || string(now) != string(before) {
		t.Errorf("identity %q became %q", before, now)
	}
	add(t, w, 1)
	flush(t, w)
}
