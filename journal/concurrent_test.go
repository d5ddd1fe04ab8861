package journal_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestTwoWritersAndReaders has two writers take turns as they like, rotating now and then, while one goroutine
// seals and two read: one a Trail that it refreshes, one that it opens anew.
func TestTwoWritersAndReaders(t *testing.T) {
	w, dir := newWriter(t)
	w.Unlock()
	turns := 300
	if testing.Short() {
		turns = 60
	}
	var writers, others sync.WaitGroup
	var done atomic.Bool
	for range 2 {
		writers.Go(func() { writeTurns(t, dir, turns) })
	}
	others.Go(func() {
		for !done.Load() {
			if _, err := journal.Seal(t.Context(), dir, nil); err != nil && !errors.Is(err, journal.ErrLocked) {
				t.Error(err)
				return
			}
		}
	})
	others.Go(func() {
		tr := openTrail(t, dir)
		last := journal.TXID(0)
		for !done.Load() {
			if err := tr.Refresh(); err != nil {
				t.Error(err)
				return
			}
			last = readOn(t, tr, last)
		}
	})
	others.Go(func() {
		for !done.Load() {
			tr, err := journal.Open(dir, nil)
			if err != nil {
				t.Error(err)
				return
			}
			readOn(t, tr, 0)
			tr.Close()
		}
	})
	writers.Wait()
	done.Store(true)
	others.Wait()
	tr := openTrail(t, dir)
	if last, _ := tr.Last(); last.TXID == 0 {
		t.Fatal("nothing was written")
	}
	verify(t, tr)
}

// writeTurns takes the lock so many times, and appends a few records each time.
func writeTurns(t *testing.T, dir string, turns int) {
	w, err := journal.OpenWriter(dir, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer w.Close()
	for i := range turns {
		if _, err := w.Lock(); err != nil {
			t.Error(err)
			return
		}
		if err := oneTurn(w, i); err != nil {
			t.Error(err)
			return
		}
		w.Unlock()
	}
}

func oneTurn(w *journal.Writer, i int) error {
	for range 1 + i%5 {
		id := w.Last().TXID + 1
		prepared := i%7 == 0
		tx := journal.Tx{PageSize: 512, PageCount: uint32(id%7) + 1, Sum: sumOf(id)}
		if _, err := w.Add(tx, patch(uint32(id%7)+1, byte(id)), 1, prepared); err != nil {
			return err
		}
		if prepared && i%2 == 0 {
			if err := w.Flush(); err != nil {
				return err
			}
			if err := w.Drop(); err != nil {
				return err
			}
		} else if prepared {
			if err := w.Confirm(); err != nil {
				return err
			}
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if i%20 == 19 {
		return w.Rotate()
	}
	return nil
}

// readOn reads what came after last and checks it.
func readOn(t *testing.T, tr *journal.Trail, last journal.TXID) journal.TXID {
	to, err := tr.Last()
	if err != nil {
		t.Error(err)
		return last
	}
	for r, err := range tr.Records(t.Context(), last+1) {
		if err != nil {
			t.Errorf("after %d of %d: %v", last, to.TXID, err)
			return last
		}
		if r.TXID != last+1 || r.SumCut != sumOf(r.TXID).Cut() {
			t.Errorf("record %+v after %d", r.Tx, last)
			return last
		}
		last = r.TXID
	}
	if last != to.TXID {
		t.Errorf("read to %d of %d", last, to.TXID)
	}
	return last
}
