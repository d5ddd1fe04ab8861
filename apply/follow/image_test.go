//go:build linux || darwin

package follow_test

import (
	"bytes"
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// images writes a trail of databases that exist in memory only: page 1 is
// SQLite's, the others are anything. It makes what SQLite seldom does.
type images struct {
	t     *testing.T
	w     *journal.Writer
	dir   string
	group int
	pages [][]byte
	clock journal.Time
}

func newImages(t *testing.T, group int) *images {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "made.db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Unlock)
	return &images{t: t, w: w, dir: dir, group: group, clock: 1_790_000_000_000_000}
}

// commit makes next the state. New pages that are zero are not mentioned.
func (m *images) commit(next [][]byte) {
	m.t.Helper()
	size := len(next[0])
	zero := make([]byte, size)
	var sum diff.Sum
	var pages []diff.Page
	for i, p := range next {
		no := uint32(i + 1)
		sum = sum.Add(diff.PageSum(no, p))
		switch {
		case len(m.pages) > 0 && len(m.pages[0]) != size:
			pages = append(pages, diff.Page{No: no, New: p})
		case i >= len(m.pages):
			if !bytes.Equal(p, zero) {
				pages = append(pages, diff.Page{No: no, Old: zero, New: p})
			}
		case !bytes.Equal(p, m.pages[i]):
			pages = append(pages, diff.Page{No: no, Old: m.pages[i], New: p})
		}
	}
	var enc diff.Encoder
	for ; len(pages) > m.group; pages = pages[m.group:] {
		body, n := enc.Encode(diff.Body{}, size, pages[:m.group])
		if err := m.w.AddPart(body, n); err != nil {
			m.t.Fatal(err)
		}
	}
	body, n := enc.Encode(diff.Body{}, size, pages)
	m.clock += 1000
	_, err := m.w.Add(journal.Tx{
		Time: m.clock, PageSize: size, PageCount: uint32(len(next)), Sum: sum, SumKnown: true, SumCut: sum.Cut(),
	}, body, n, false)
	if err == nil {
		err = m.w.Flush()
	}
	if err != nil {
		m.t.Fatal(err)
	}
	m.pages = next
}

// TestMadeTrails follows random growth and shrinking, with new pages that are
// zero and never mentioned, in one group of patches and in many, in batches
// and one by one; the file must be the image each time, and so must what the
// replica's own trail leads to.
func TestMadeTrails(t *testing.T) {
	header := make([]byte, 100)
	p := newPrimary(t, "CREATE TABLE t(a)")
	copy(header, p.content())
	for _, group := range []int{1, 3, 8192} {
		for _, batch := range []int{1, 5} {
			r := rand.New(rand.NewPCG(uint64(group), uint64(batch)))
			m := newImages(t, group)
			path := filepath.Join(t.TempDir(), "replica.db")
			o := &follow.Options{BatchTransactions: batch, CheckpointFrames: 7, MemoryBytes: 5000}
			if batch > 1 && (group == 1 || !testing.Short()) {
				o.Trail = path + "-pagetrail"
			}
			var f *follow.Replica
			for i := range max(60, fewer(120)) {
				m.commit(mutated(r, m.pages, header))
				if i%4 != 3 {
					continue
				}
				if f == nil {
					f = openReplica(t, path, openSource(t, m.dir), o)
				}
				catchUp(t, f)
				if i%20 == 19 {
					closeReplica(t, f)
					same(t, "image", read(t, path), bytes.Join(m.pages, nil))
					f = nil
					if o.Trail != "" {
						same(t, "its trail", hydrate(t, openDir(t, o.Trail), lastOf(t, o.Trail)), bytes.Join(m.pages, nil))
					}
				}
			}
		}
	}
}

// mutated is a database that followed pages, of at least one page.
func mutated(r *rand.Rand, pages [][]byte, header []byte) [][]byte {
	size := 512
	if len(pages) > 0 {
		size = len(pages[0])
	}
	var next [][]byte
	if r.IntN(30) == 0 {
		size = 512 << r.IntN(3)
	} else {
		next = append(next, pages...)
	}
	if len(next) > 2 && r.IntN(3) == 0 {
		next = next[:1+r.IntN(len(next)-1)]
	}
	for range r.IntN(12) {
		b := make([]byte, size)
		if r.IntN(2) == 0 {
			b[r.IntN(size)] = byte(r.IntN(256))
		}
		next = append(next, b)
	}
	for range r.IntN(4) {
		if i := r.IntN(len(next) + 1); i < len(next) {
			next[i] = bytes.Clone(next[i])
			next[i][r.IntN(size)]++
		}
	}
	first := make([]byte, size)
	copy(first, header)
	first[16], first[17] = byte(size>>8), byte(size)
	first[500] = byte(r.IntN(256))
	n := max(1, len(next))
	first[28], first[29], first[30], first[31] = 0, 0, byte(n>>8), byte(n)
	if len(next) == 0 {
		return [][]byte{first}
	}
	next[0] = first
	return next
}

// TestEmptySource: there is nothing to follow yet, which Run waits out.
func TestEmptySource(t *testing.T) {
	m := newImages(t, 10)
	path := filepath.Join(t.TempDir(), "replica.db")
	header := make([]byte, 512)
	copy(header, newPrimary(t, "PRAGMA page_size=512", "CREATE TABLE t(a)").content())
	ctx, cancel := context.WithCancel(context.Background())
	waits := 0
	o := &follow.Options{
		Wait: func(context.Context, time.Duration) error {
			switch waits++; waits {
			case 3:
				m.commit([][]byte{header})
			case 6:
				cancel()
			}
			return ctx.Err()
		},
	}
	if err := follow.Run(ctx, path, openSource(t, m.dir), o); err != nil {
		t.Fatal(err)
	}
	same(t, "replica", read(t, path), header)
	if waits < 6 {
		t.Fatalf("%d waits", waits)
	}
}
