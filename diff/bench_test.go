package diff_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// workload is a transaction as SQLite makes them.
type workload struct {
	name  string
	pages []diff.Page
}

// workloads are a few kinds of transactions, small and in bulk.
func workloads(size int) []workload {
	page := func(no uint32, edit func(p []byte)) diff.Page {
		old := leaf(size, uint64(no))
		pg := diff.Page{No: no, Old: old, New: bytes.Clone(old)}
		edit(pg.New)
		return pg
	}
	row := bytes.Repeat([]byte("a new row with some text, "), 4)
	bulk := make([]diff.Page, 200)
	for i := range bulk {
		bulk[i] = diff.Page{No: uint32(i + 1), Old: make([]byte, size), New: leaf(size, uint64(i))}
	}
	r := rand.New(rand.NewPCG(1, 1))
	moved := make([]diff.Page, 200)
	for i := range moved {
		moved[i] = diff.Page{No: uint32(i + 1), Old: leaf(size, uint64(i)), New: leaf(size, uint64(r.IntN(200)))}
	}
	return []workload{
		{"counter", []diff.Page{page(3, func(p []byte) { binary.BigEndian.PutUint64(p[size/2:], 12345) })}},
		{"insert", []diff.Page{
			page(1, func(p []byte) { p[27]++; p[95]++ }),
			page(5, func(p []byte) { insertRow(p, row) }),
			page(9, func(p []byte) { insertRow(p, row[:30]) }),
		}},
		{"text", []diff.Page{page(8, func(p []byte) { copy(p[size/2:], p[size/2+20:]); copy(p[size-20:], row) })}},
		{"bulk", bulk},
		{"vacuum", moved},
	}
}

// insertRow does to a page of leaf what SQLite would: a pointer among the
// others, and the row where the gap ends.
func insertRow(p, row []byte) {
	copy(p[14:], p[12:80])
	end := len(p)
	for end > 100 && p[end-1] != 0 {
		end--
	}
	copy(p[end-len(row):], row)
	binary.BigEndian.PutUint16(p[12:], uint16(end-len(row)))
}

func reuse(b diff.Body) diff.Body {
	return diff.Body{Pages: b.Pages[:0], Tokens: b.Tokens[:0], Literals: b.Literals[:0]}
}

// buffers are what Decode needs for a body of pages.
func buffers(t testing.TB, d *diff.Decoder, body diff.Body, size int, pages []diff.Page) (out, old [][]byte) {
	t.Helper()
	if err := d.Load(body, size); err != nil {
		t.Fatal(err)
	}
	olds := map[uint32][]byte{}
	for _, pg := range pages {
		olds[pg.No] = pg.Old
	}
	for _, ref := range d.Pages() {
		out, old = append(out, make([]byte, size)), append(old, olds[ref.No])
	}
	return out, old
}

func decode(t testing.TB, d *diff.Decoder, body diff.Body, size int, out, old [][]byte) {
	t.Helper()
	if err := d.Load(body, size); err != nil {
		t.Fatal(err)
	}
	d.Decode(out, old)
}

// BenchmarkEncode asks what a commit pays for its patches. TestCorpus asks the
// same of recorded transactions.
func BenchmarkEncode(b *testing.B) {
	const size = 4096
	for _, w := range workloads(size) {
		b.Run(w.name, func(b *testing.B) {
			var e diff.Encoder
			var body diff.Body
			b.SetBytes(int64(len(w.pages) * size))
			b.ReportAllocs()
			for b.Loop() {
				body, _ = e.Encode(reuse(body), size, w.pages)
			}
			b.ReportMetric(float64(body.Len()), "delta-bytes")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(w.pages)), "ns/page")
		})
	}
}

// BenchmarkDecode asks what a follower pays for a transaction, checks included.
func BenchmarkDecode(b *testing.B) {
	const size = 4096
	for _, w := range workloads(size) {
		b.Run(w.name, func(b *testing.B) {
			var e diff.Encoder
			var d diff.Decoder
			body, _ := e.Encode(diff.Body{}, size, w.pages)
			out, old := buffers(b, &d, body, size, w.pages)
			b.SetBytes(int64(len(w.pages) * size))
			b.ReportAllocs()
			for b.Loop() {
				decode(b, &d, body, size, out, old)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(w.pages)), "ns/page")
		})
	}
}

// BenchmarkPageSum asks what keeping the state checksum costs a page.
func BenchmarkPageSum(b *testing.B) {
	page := leaf(4096, 1)
	b.SetBytes(4096)
	b.ReportAllocs()
	var s diff.Sum
	for b.Loop() {
		s = s.Add(diff.PageSum(7, page))
	}
	if s.IsZero() {
		b.Error("zero")
	}
}
