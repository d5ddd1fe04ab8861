package ship_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

const pageSize = 512

// primary writes a trail as capturing would, and remembers every state.
type primary struct {
	t      testing.TB
	dir    string
	rnd    *rand.Rand
	w      *journal.Writer
	enc    diff.Encoder
	pages  [][]byte
	images map[journal.TXID][]byte
	clock  journal.Time
}

func newPrimary(t testing.TB, seed uint64) *primary {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.db-pagetrail")
	p := &primary{t: t, dir: dir, rnd: rand.New(rand.NewPCG(seed, 7)), images: map[journal.TXID][]byte{0: nil}, clock: 1_790_000_000_000_000}
	p.open()
	return p
}

func (p *primary) open() {
	p.t.Helper()
	w, err := journal.OpenWriter(p.dir, &journal.WriterOptions{Create: true})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	p.w = w
	p.t.Cleanup(func() { w.Close() })
}

func (p *primary) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// change makes the next state and the patches to it.
func (p *primary) change() []diff.Page {
	old := slices.Clone(p.pages)
	if n := p.rnd.IntN(40); n == 0 && len(p.pages) > 2 {
		p.pages = p.pages[:len(p.pages)-1]
	} else if n < 15 || len(p.pages) == 0 {
		p.pages = append(p.pages, make([]byte, pageSize))
		p.fill(len(p.pages) - 1)
	}
	for range p.rnd.IntN(4) {
		i := p.rnd.IntN(len(p.pages))
		p.pages[i] = bytes.Clone(p.pages[i])
		p.fill(i)
	}
	var changed []diff.Page
	for i, now := range p.pages {
		before := make([]byte, pageSize)
		if i < len(old) {
			before = old[i]
		}
		if !bytes.Equal(before, now) {
			changed = append(changed, diff.Page{No: uint32(i + 1), Old: before, New: now})
		}
	}
	return changed
}

// fill writes something into a page.
func (p *primary) fill(i int) {
	at := p.rnd.IntN(pageSize - 40)
	for j := range 40 {
		p.pages[i][at+j] = byte(p.rnd.Uint32())
	}
}

func (p *primary) sum() diff.Sum {
	var sum diff.Sum
	for i, page := range p.pages {
		sum = sum.Add(diff.PageSum(uint32(i+1), page))
	}
	return sum
}

func (p *primary) commit(n int) {
	p.t.Helper()
	for range n {
		pages := p.change()
		for len(pages) > 1 && p.rnd.IntN(10) == 0 { // as a large transaction does
			body, kept := p.enc.Encode(diff.Body{}, pageSize, pages[:1])
			p.check(p.w.AddPart(body, kept))
			pages = pages[1:]
		}
		body, kept := p.enc.Encode(diff.Body{}, pageSize, pages)
		p.add(body, kept, journal.Ordinary)
	}
}

func (p *primary) add(body diff.Body, kept int, kind journal.Kind) {
	p.t.Helper()
	p.clock += 1000
	tx, err := p.w.Add(journal.Tx{Time: p.clock, Kind: kind, PageSize: pageSize, PageCount: uint32(len(p.pages)), Sum: p.sum()}, body, kept, false)
	p.check(err)
	p.check(p.w.Flush())
	p.images[tx.TXID] = bytes.Join(p.pages, nil)
}

// base writes a base of the last transaction, or (adopt) of a database that was there before its trail.
func (p *primary) base(adopt bool) {
	p.t.Helper()
	if adopt {
		p.change()
	}
	b, err := p.w.CreateBase(pageSize, uint32(len(p.pages)), p.clock, adopt)
	p.check(err)
	p.check(b.WritePages(1, bytes.Join(p.pages, nil)))
	_, err = b.Commit()
	p.check(err)
	if adopt {
		p.add(diff.Body{}, 0, journal.Base)
	}
}

func (p *primary) point(name string) {
	p.t.Helper()
	_, err := p.w.AddPoint(name, p.clock)
	p.check(err)
}

func (p *primary) rotate(seal bool) {
	p.t.Helper()
	p.check(p.w.Rotate())
	if seal {
		_, err := journal.Seal(p.t.Context(), p.dir, nil)
		p.check(err)
	}
}

func (p *primary) last() journal.TXID { return p.w.Committed().TXID }

// live does a bit of everything.
func (p *primary) live(n int) {
	p.t.Helper()
	for range n {
		p.commit(1 + p.rnd.IntN(5))
		switch p.rnd.IntN(12) {
		case 0:
			p.rotate(p.rnd.IntN(2) == 0)
		case 1:
			p.point(fmt.Sprintf("point %d", p.rnd.IntN(9)))
		}
	}
}

func (p *primary) trail() *journal.Trail {
	p.t.Helper()
	trail, err := journal.Open(p.dir, nil)
	p.check(err)
	p.t.Cleanup(func() { trail.Close() })
	return trail
}

func openArchive(t testing.TB, s objstore.Store) *archive.Reader {
	t.Helper()
	r, err := archive.Open(t.Context(), s, &archive.Options{Name: "the archive"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// checkArchive compares an archive with the primary: its history up to last, states at random, bytes.
func (p *primary) checkArchive(s objstore.Store, last journal.TXID, states int) {
	p.t.Helper()
	r := openArchive(p.t, s)
	if tx, err := r.Last(); err != nil || tx.TXID != last {
		p.t.Fatalf("the archive ends with %d (%v), want %d", tx.TXID, err, last)
	}
	p.check(r.LostBeginning())
	if report, err := apply.Verify(p.t.Context(), r.Trail, nil); err != nil {
		p.t.Fatalf("verify: %v, %+v", err, report)
	}
	window, err := r.Window(p.t.Context())
	p.check(err)
	if len(window.Spans) != 1 || len(window.Gaps) != 0 {
		p.t.Fatalf("window %+v", window)
	}
	first := window.Spans[0].First
	for i := range states {
		id := last
		if i > 0 {
			id = first + journal.TXID(p.rnd.Uint64N(uint64(last-first)+1))
		}
		var out bytes.Buffer
		if _, err := apply.HydrateTo(p.t.Context(), r.Trail, &out, apply.AtTXID(id), nil); err != nil {
			p.t.Fatalf("hydrate at %d: %v", id, err)
		}
		if !bytes.Equal(out.Bytes(), p.images[id]) {
			p.t.Fatalf("transaction %d from the archive is not what the primary had", id)
		}
	}
}

// batches lists the first transactions of the batches in a store.
func batches(t testing.TB, s objstore.Store) []string {
	t.Helper()
	var found []string
	for o, err := range s.List(t.Context(), "00000001/0/", "") {
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, o.Key)
	}
	return found
}
