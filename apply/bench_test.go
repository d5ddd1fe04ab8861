package apply_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// table is a database as a table of small rows might look: text that
// compresses, of which transactions change single rows.
type table struct {
	w     *trailWriter
	rng   *rand.Rand
	pages []byte
	sums  []diff.Sum
	sum   diff.Sum
}

const tablePage = 4096

func newTable(b *testing.B, dir string, pages int) *table {
	b.Helper()
	t := &table{w: newTrail(b, dir), rng: rand.New(rand.NewPCG(1, 2))}
	t.pages = make([]byte, pages*tablePage)
	t.sums = make([]diff.Sum, pages)
	for i := range pages {
		row := t.page(i)[:0]
		for len(row) < tablePage-100 {
			row = fmt.Appendf(row, "row %d of page %d: %x, balance %d; ", len(row), i, t.rng.Uint64(), t.rng.IntN(1e6))
		}
		t.sums[i] = diff.PageSum(uint32(i+1), t.page(i))
		t.sum = t.sum.Add(t.sums[i])
	}
	return t
}

func (t *table) page(i int) []byte { return t.pages[i*tablePage : (i+1)*tablePage] }

// base makes the table the first transaction, as a base.
func (t *table) base(b *testing.B) {
	b.Helper()
	w, err := t.w.w.CreateBase(tablePage, uint32(len(t.sums)), start, true)
	if err != nil {
		b.Fatal(err)
	}
	for i := 0; i < len(t.sums); i += 64 {
		if err := w.WritePages(uint32(i+1), t.pages[i*tablePage:min(i+64, len(t.sums))*tablePage]); err != nil {
			b.Fatal(err)
		}
	}
	if _, err := w.Commit(); err != nil {
		b.Fatal(err)
	}
	t.add(b, journal.Base, diff.Body{}, 0)
	t.flush(b)
}

func (t *table) add(b *testing.B, kind journal.Kind, body diff.Body, pages int) {
	tx := journal.Tx{Kind: kind, Time: start, PageSize: tablePage, PageCount: uint32(len(t.sums)), Sum: t.sum, SumKnown: true, SumCut: t.sum.Cut()}
	if _, err := t.w.w.Add(tx, body, pages, false); err != nil {
		b.Fatal(err)
	}
}

func (t *table) flush(b *testing.B) {
	if err := t.w.w.Flush(); err != nil {
		b.Fatal(err)
	}
}

// update changes a row in each of n transactions.
func (t *table) update(b *testing.B, n int) {
	b.Helper()
	old := make([]byte, tablePage)
	var body diff.Body
	for k := range n {
		i := t.rng.IntN(len(t.sums))
		p := t.page(i)
		copy(old, p)
		binary.LittleEndian.PutUint64(p[t.rng.IntN(tablePage-8):], t.rng.Uint64())
		sum := diff.PageSum(uint32(i+1), p)
		t.sum = t.sum.Sub(t.sums[i]).Add(sum)
		t.sums[i] = sum
		body = diff.Body{Pages: body.Pages[:0], Tokens: body.Tokens[:0], Literals: body.Literals[:0]}
		var pages int
		body, pages = t.w.enc.Encode(body, tablePage, []diff.Page{{No: uint32(i + 1), Old: old, New: p}})
		t.add(b, journal.Ordinary, body, pages)
		if k%100 == 99 {
			t.flush(b)
			if t.w.w.Full() {
				t.w.rotate(false)
			}
		}
	}
	t.flush(b)
}

// BenchmarkReplay asks how many single-row updates a second are replayed:
// from a tail as it was written and from sealed segments, on a database that
// the cache holds and on one that it does not.
func BenchmarkReplay(b *testing.B) {
	const transactions = 200_000
	for _, test := range []struct {
		name   string
		pages  int
		sealed bool
	}{
		{"tail/4MiB", 1 << 10, false},
		{"sealed/4MiB", 1 << 10, true},
		{"sealed/128MiB", 32 << 10, true},
	} {
		b.Run(test.name, func(b *testing.B) {
			table := newTable(b, filepath.Join(b.TempDir(), "db-pagetrail"), test.pages)
			table.base(b)
			table.update(b, transactions)
			if test.sealed {
				table.w.rotate(true)
			}
			table.w.close()
			trail := openTrail(b, table.w.dir)
			defer trail.Close()
			b.ReportAllocs()
			var spent time.Duration // on replaying: without the base and the check
			for b.Loop() {
				spent += replayTime(b, trail)
			}
			b.ReportMetric(float64(transactions)*float64(b.N)/spent.Seconds(), "txn/s")
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(spent.Seconds()/float64(b.N)*1e9/transactions, "ns/txn")
		})
	}
}

// replayTime restores the latest state and returns how long replaying took.
func replayTime(b *testing.B, trail *journal.Trail) time.Duration {
	var from, to time.Time
	o := &apply.Options{TempDir: b.TempDir(), Progress: func(p apply.Progress) {
		switch {
		case p.Phase == apply.PhaseBase:
			from = time.Now()
		case p.Phase == apply.PhaseReplay && p.Transactions == p.TransactionsTotal:
			to = time.Now()
		}
	}}
	s, _, err := apply.Restore(context.Background(), trail, apply.Latest(), o)
	if err != nil {
		b.Fatal(err)
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	return to.Sub(from)
}

// BenchmarkBase asks how restoring a base compares with copying the file that
// comes out: the same bytes written to the same place, and synced.
func BenchmarkBase(b *testing.B) {
	const pages = 64 << 10 // 256 MiB
	table := newTable(b, filepath.Join(b.TempDir(), "db-pagetrail"), pages)
	table.base(b)
	table.w.close()
	dir := b.TempDir()
	source := filepath.Join(dir, "source.db")
	if err := os.WriteFile(source, table.pages, 0o644); err != nil {
		b.Fatal(err)
	}
	table.pages = nil
	runtime.GC()
	trail := openTrail(b, table.w.dir)
	defer trail.Close()
	b.SetBytes(pages * tablePage)
	b.ReportAllocs()
	var hydrate, copying span
	for b.Loop() {
		hydrate.add(func() {
			if _, err := apply.Hydrate(context.Background(), trail, filepath.Join(dir, "out.db"), apply.Latest(), &apply.Options{Force: true}); err != nil {
				b.Fatal(err)
			}
		})
		copying.add(func() { copyFile(b, filepath.Join(dir, "copy.db"), source) })
	}
	const mb = pages * tablePage / 1e6
	n := float64(b.N)
	b.ReportMetric(n*mb/hydrate.wall.Seconds(), "hydrate-MB/s")
	b.ReportMetric(n*mb/copying.wall.Seconds(), "copy-MB/s")
	b.ReportMetric(copying.wall.Seconds()/hydrate.wall.Seconds(), "speed/copy")
	b.ReportMetric(hydrate.cpu.Seconds()/n*1e3, "hydrate-cpu-ms")
	b.ReportMetric(copying.cpu.Seconds()/n*1e3, "copy-cpu-ms")
}

// span adds up what some work takes, of the clock and of all cores.
type span struct{ wall, cpu time.Duration }

func (s *span) add(work func()) {
	from, cpu := time.Now(), cpuTime()
	work()
	s.wall += time.Since(from)
	s.cpu += cpuTime() - cpu
}

func copyFile(b *testing.B, to, from string) {
	in, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer in.Close()
	os.Remove(to)
	out, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer out.Close()
	// Through memory: a reflink or copy_file_range would move no bytes.
	if _, err := io.CopyBuffer(struct{ io.Writer }{out}, struct{ io.Reader }{in}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	if err := out.Sync(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLarge asks how many bytes a second one large transaction of new
// pages is replayed at.
func BenchmarkLarge(b *testing.B) {
	const pages = 32 << 10
	table := newTable(b, filepath.Join(b.TempDir(), "db-pagetrail"), pages)
	group := diff.GroupPages(tablePage)
	for i := 0; i < pages; i += group {
		var list []diff.Page
		for k := i; k < i+group; k++ {
			list = append(list, diff.Page{No: uint32(k + 1), New: table.page(k)})
		}
		body, n := table.w.enc.Encode(diff.Body{}, tablePage, list)
		if i+group < pages {
			if err := table.w.w.AddPart(body, n); err != nil {
				b.Fatal(err)
			}
			continue
		}
		table.add(b, journal.Ordinary, body, n)
	}
	table.flush(b)
	table.w.close()
	trail := openTrail(b, table.w.dir)
	defer trail.Close()
	b.SetBytes(pages * tablePage)
	b.ReportAllocs()
	for b.Loop() {
		s, _, err := apply.Restore(context.Background(), trail, apply.Latest(), &apply.Options{TempDir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		var first [tablePage]byte
		if err := s.ReadPage(1, first[:]); err != nil || !bytes.Equal(first[:], table.page(0)) {
			b.Fatal("wrong first page", err)
		}
		s.Close()
	}
}
