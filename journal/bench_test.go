package journal_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// small is a body of the size of the most common transactions: 14 bytes (a counter updated).
func small(tb testing.TB) diff.Body {
	old := make([]byte, 4096)
	page := bytes.Clone(old)
	copy(page[2000:], "12345678")
	var e diff.Encoder
	b, _ := e.Encode(diff.Body{}, 4096, []diff.Page{{No: 77, Old: old, New: page}})
	return b
}

func smallTx() journal.Tx {
	return journal.Tx{
		PageSize: 4096, PageCount: 100, Sum: diff.Sum{Hi: 1, Lo: 2},
		Origin: journal.Origin{WAL: true, Salt: [2]uint32{1, 2}, Frame: 1000, Checksum: [2]uint32{3, 4}},
	}
}

// What does recording a small commit cost, its write included?
func BenchmarkAppendOne(b *testing.B) {
	w, _ := newWriter(b)
	body, tx := small(b), smallTx()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Add(tx, body, 1, false); err != nil {
			b.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			b.Fatal(err)
		}
	}
}

// What does it cost without the write?
func BenchmarkAdd(b *testing.B) {
	w, _ := newWriter(b)
	body, tx := small(b), smallTx()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := w.Add(tx, body, 1, false); err != nil {
			b.Fatal(err)
		}
		if n++; n == 1000 {
			n = 0
			if err := w.Flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// What does taking the lock cost when nobody else appended?
func BenchmarkLock(b *testing.B) {
	w, _ := newWriter(b)
	if _, err := w.Add(smallTx(), small(b), 1, false); err != nil {
		b.Fatal(err)
	}
	flush(b, w)
	w.Unlock()
	b.ReportAllocs()
	for b.Loop() {
		if moved, err := w.Lock(); err != nil || moved {
			b.Fatal(moved, err)
		}
		w.Unlock()
	}
}

// manyTrail is a trail of n small records, a block each, in segments of so many.
func manyTrail(tb testing.TB, n, segment int) string {
	tb.Helper()
	dir := filepath.Join(tb.TempDir(), "trail")
	w := lockedWriter(tb, dir)
	body, tx := small(tb), smallTx()
	for i := range n {
		if _, err := w.Add(tx, body, 1, false); err != nil {
			tb.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			tb.Fatal(err)
		}
		if (i+1)%segment == 0 {
			rotate(tb, w)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return dir
}

// How fast are records read, from tails of a block each and from sealed segments?
func BenchmarkRecords(b *testing.B) {
	const n = 50_000
	for _, sealed := range []bool{false, true} {
		name := "tail"
		if sealed {
			name = "sealed"
		}
		b.Run(name, func(b *testing.B) {
			dir := manyTrail(b, n, n)
			if sealed {
				seal(b, dir, 1)
			}
			tr := openTrail(b, dir)
			b.ReportAllocs()
			for b.Loop() {
				got := 0
				for _, err := range tr.Records(b.Context(), 1) {
					if err != nil {
						b.Fatal(err)
					}
					got++
				}
				if got != n {
					b.Fatal(got)
				}
			}
			b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// How long does opening take: a full tail of 8 MiB, and a long history of sealed segments?
func BenchmarkOpen(b *testing.B) {
	run := func(name string, dir string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tr, err := journal.Open(dir, nil)
				if err != nil {
					b.Fatal(err)
				}
				tr.Close()
			}
		})
	}
	run("tail", manyTrail(b, 50_000, 1<<30))
	long := manyTrail(b, 100_000, 1000)
	if _, err := journal.Seal(b.Context(), long, nil); err != nil {
		b.Fatal(err)
	}
	run("sealed", long)
}

// How fast does sealing go?
func BenchmarkSeal(b *testing.B) {
	dir := manyTrail(b, 50_000, 50_000)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		work := copyTrail(b, dir)
		b.StartTimer()
		seal(b, work, 1)
	}
	b.SetBytes(int64(len(readFile(b, filepath.Join(dir, firstSegment)))))
}

// How long does it take to find a transaction in a sealed segment, and a moment?
func BenchmarkFind(b *testing.B) {
	dir := manyTrail(b, 50_000, 10_000)
	seal(b, dir, 5)
	tr := openTrail(b, dir)
	last, err := tr.Last()
	if err != nil {
		b.Fatal(err)
	}
	b.Run("TXID", func(b *testing.B) {
		id := journal.TXID(0)
		b.ReportAllocs()
		for b.Loop() {
			id = (id + 7919) % last.TXID
			if _, err := tr.Find(b.Context(), id+1); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("time", func(b *testing.B) {
		id := journal.TXID(0)
		b.ReportAllocs()
		for b.Loop() {
			id = (id + 7919) % last.TXID
			if got, _, err := tr.FindTime(b.Context(), journal.Time(id+1)); err != nil || got.TXID != id+1 {
				b.Fatal(got, err)
			}
		}
	})
}
