package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// damagedTrail is a trail of two rotated segments (1, 5) and a synced tail (9 to 12), to be damaged.
type damagedTrail struct {
	*testing.T
	dir, tail, middle string // the directory and two of its segments
	whole, second     []byte // what these hold
}

func newDamaged(t *testing.T) *damagedTrail {
	w, dir := rotated(t, 2, 4)
	for range 4 {
		add(t, w, 1)
		flush(t, w)
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	d := &damagedTrail{T: t, dir: dir, tail: filepath.Join(dir, "0000000000000009.seg"), middle: filepath.Join(dir, "0000000000000005.seg")}
	d.whole, d.second = readFile(t, d.tail), readFile(t, d.middle)
	return d
}

// open opens the damaged trail, which is refused without ReadOptions.Damaged.
func (d *damagedTrail) open() *journal.Trail {
	d.Helper()
	if tr, err := journal.Open(d.dir, nil); err == nil {
		tr.Close()
		d.Fatal("opened without being told that damage is fine")
	}
	tr, err := journal.Open(d.dir, &journal.ReadOptions{Damaged: true})
	if err != nil {
		d.Fatal(err)
	}
	d.Cleanup(func() { tr.Close() })
	return tr
}

// check reads up to the damage, then makes the files whole again.
func (d *damagedTrail) check(last journal.TXID, want error) {
	d.Helper()
	tr := d.open()
	for range 2 {
		if got, err := tr.Last(); err != nil || got.TXID != last {
			d.Fatalf("last is %d, want %d (%v)", got.TXID, last, err)
		}
		if !errors.Is(tr.Damage(), want) {
			d.Fatalf("damage: %v, want %v", tr.Damage(), want)
		}
		if _, err := tr.Verify(d.Context(), nil); !errors.Is(err, want) {
			d.Fatalf("verify: %v, want %v", err, want)
		}
		wantRecords(d, tr, 1, last)
		if err := tr.Refresh(); err != nil {
			d.Fatal(err)
		}
	}
	writeFile(d, d.tail, d.whole)
	writeFile(d, d.middle, d.second)
	if err := tr.Refresh(); err != nil || tr.Damage() != nil {
		d.Fatal(err, tr.Damage())
	}
	wantLast(d, tr, 12)
}

// TestDamaged opens trails whose end is damaged.
func TestDamaged(t *testing.T) {
	d := newDamaged(t)
	for at, last := range map[int]journal.TXID{130: 8, len(d.whole) - 200: 10} {
		data := bytes.Clone(d.whole)
		data[at] ^= 1
		writeFile(t, d.tail, data)
		d.check(last, journal.ErrCorrupt)
	}
	for _, size := range []int{0, 5, 127} {
		writeFile(t, d.tail, d.whole[:size])
		d.check(8, journal.ErrCorrupt)
	}
	writeFile(t, d.tail, then(set(8, 2), headerCRC)(bytes.Clone(d.whole)))
	d.check(8, journal.ErrVersion)
	writeFile(t, d.tail, d.whole[:5])
	writeFile(t, d.middle, d.second[:7])
	d.check(4, journal.ErrCorrupt)
	if err := os.Remove(d.tail); err != nil {
		t.Fatal(err)
	}
	writeFile(t, d.middle, d.second[:7])
	tr := d.open()
	if last, _ := tr.Last(); last.TXID != 4 || tr.Damage() == nil {
		t.Fatal(last, tr.Damage())
	}
}
