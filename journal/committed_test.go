package journal_test

import "testing"

// TestWhatIsDurable follows what the writer knows to be committed and durable through its life, and what another one
// knows that opens the trail afterwards.
func TestWhatIsDurable(t *testing.T) {
	w, dir := newWriter(t)
	check := func(committed, durable int, unsynced bool) {
		t.Helper()
		to, err := w.DurableTo()
		if err != nil {
			t.Fatal(err)
		}
		if int(w.Committed().TXID) != committed || int(to) != durable || w.Unsynced() != unsynced {
			t.Fatalf("committed %d, durable to %d, unsynced %v; want %d, %d, %v", w.Committed().TXID, to, w.Unsynced(), committed, durable, unsynced)
		}
	}
	check(0, 0, false)
	add(t, w, 3)
	check(0, 0, false)
	flush(t, w)
	check(3, 0, true)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	check(3, 3, false)
	add(t, w, 2)
	flush(t, w)
	check(5, 3, true)
	beside := w.Beside()
	if err := beside(); err != nil {
		t.Fatal(err)
	}
	check(5, 3, true)
	prepare(t, w)
	flush(t, w)
	check(5, 3, true)
	w.Close()
	w = lockedWriter(t, dir)
	check(5, 3, true) // the blocks after 3 say so
	if err := w.Drop(); err != nil {
		t.Fatal(err)
	}
	beside = w.Beside()
	rotate(t, w)
	if err := beside(); err != nil {
		t.Error("of a segment that has ended and was synced for that:", err)
	}
	check(5, 5, false)
	if w.TailFirst() != 6 || w.Before().TXID != 5 || w.Before().Sum != sumOf(5) {
		t.Fatal(w.TailFirst(), w.Before())
	}
	w.Close()
	w = lockedWriter(t, dir)
	if w.Before().TXID != 5 || w.Last() != w.Before() {
		t.Fatal(w.Before(), w.Last())
	}
}
