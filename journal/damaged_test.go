package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestDamaged opens trails whose end is damaged: refused without ReadOptions.Damaged, read up to the damage with it.
func TestDamaged(t *testing.T) {
	w, dir := rotated(t, 2, 4) // 1, 5, and a tail from 9 on
	for range 4 {
		add(t, w, 1)
		flush(t, w)
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	tail, middle := filepath.Join(dir, "0000000000000009.seg"), filepath.Join(dir, "0000000000000005.seg")
	whole, second := readFile(t, tail), readFile(t, middle)
	open := func() *journal.Trail {
		t.Helper()
		if tr, err := journal.Open(dir, nil); err == nil {
			tr.Close()
			t.Fatal("opened without being told that damage is fine")
		}
		tr, err := journal.Open(dir, &journal.ReadOptions{Damaged: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tr.Close() })
		return tr
	}
	check := func(last journal.TXID, want error) {
		t.Helper()
		tr := open()
		for range 2 {
			if got, err := tr.Last(); err != nil || got.TXID != last {
				t.Fatalf("last is %d, want %d (%v)", got.TXID, last, err)
			}
			if !errors.Is(tr.Damage(), want) {
				t.Fatalf("damage: %v, want %v", tr.Damage(), want)
			}
			if _, err := tr.Verify(t.Context(), nil); !errors.Is(err, want) {
				t.Fatalf("verify: %v, want %v", err, want)
			}
			wantRecords(t, tr, 1, last)
			if err := tr.Refresh(); err != nil {
				t.Fatal(err)
			}
		}
		writeFile(t, tail, whole)
		writeFile(t, middle, second)
		if err := tr.Refresh(); err != nil || tr.Damage() != nil {
			t.Fatal(err, tr.Damage())
		}
		wantLast(t, tr, 12)
	}
	for at, last := range map[int]journal.TXID{130: 8, len(whole) - 200: 10} {
		data := bytes.Clone(whole)
		data[at] ^= 1
		writeFile(t, tail, data)
		check(last, journal.ErrCorrupt)
	}
	for _, size := range []int{0, 5, 127} {
		writeFile(t, tail, whole[:size])
		check(8, journal.ErrCorrupt)
	}
	writeFile(t, tail, then(set(8, 2), headerCRC)(bytes.Clone(whole)))
	check(8, journal.ErrVersion)
	writeFile(t, tail, whole[:5])
	writeFile(t, middle, second[:7])
	check(4, journal.ErrCorrupt)
	if err := os.Remove(tail); err != nil {
		t.Fatal(err)
	}
	writeFile(t, middle, second[:7])
	tr := open()
	if last, _ := tr.Last(); last.TXID != 4 || tr.Damage() == nil {
		t.Fatal(last, tr.Damage())
	}
}
