package compact_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/compact"
)

// primary is a trail of rotated and sealed segments, and what the database was after each transaction.
type primary struct {
	t      *testing.T
	dir    string
	rnd    *rand.Rand
	size   int // of a page
	pages  [][]byte
	images map[journal.TXID][]byte
	firsts []journal.TXID
	w      *journal.Writer
	enc    diff.Encoder
}

// live makes segments of n transactions each.
func live(t *testing.T, seed uint64, segments, n int) *primary {
	t.Helper()
	p := &primary{
		t: t, dir: filepath.Join(t.TempDir(), "app.db-pagetrail"), rnd: rand.New(rand.NewPCG(seed, 3)), size: 512,
		images: map[journal.TXID][]byte{0: nil},
	}
	w, err := journal.OpenWriter(p.dir, &journal.WriterOptions{Create: true})
	p.check(err)
	_, err = w.Lock()
	p.check(err)
	defer w.Close()
	p.w = w
	for range segments {
		p.firsts = append(p.firsts, w.Last().TXID+1)
		for range n {
			p.commit()
		}
		p.check(w.Rotate())
	}
	_, err = journal.Seal(t.Context(), p.dir, nil)
	p.check(err)
	return p
}

func (p *primary) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// commit changes some pages, and sometimes the size of the database, of its pages, or the database as a whole.
func (p *primary) commit() {
	p.t.Helper()
	old := append([][]byte(nil), p.pages...)
	oldSize := p.size
	kind := journal.Ordinary
	switch n := p.rnd.IntN(60); {
	case n < 12 && len(p.pages) > 3:
		p.pages = p.pages[:len(p.pages)-1-p.rnd.IntN(3)]
	case n < 30 || len(p.pages) == 0:
		for range 1 + p.rnd.IntN(3) {
			p.pages = append(p.pages, make([]byte, p.size))
		}
	case n == 30: // VACUUM with another page size
		p.size = 1536 - p.size
		for i := range p.pages {
			p.pages[i] = bytes.Repeat([]byte{byte(i)}, p.size)
		}
		old = nil
	case n == 31:
		kind = journal.Base
	}
	for range p.rnd.IntN(4) {
		i := p.rnd.IntN(len(p.pages))
		p.pages[i] = bytes.Clone(p.pages[i])
		at := p.rnd.IntN(p.size - 20)
		for j := range 20 {
			p.pages[i][at+j] = byte(p.rnd.Uint32())
		}
	}
	tx := journal.Tx{Time: 1000 * journal.Time(p.w.Last().TXID+1), Kind: kind, PageSize: p.size, PageCount: uint32(len(p.pages)), Note: fmt.Sprint("n", p.w.Last().TXID+1)}
	for i, page := range p.pages {
		tx.Sum = tx.Sum.Add(diff.PageSum(uint32(i+1), page))
	}
	var changed []diff.Page
	for i, now := range p.pages {
		before := make([]byte, p.size)
		if i < len(old) && oldSize == p.size {
			before = old[i]
		}
		if !bytes.Equal(before, now) {
			changed = append(changed, diff.Page{No: uint32(i + 1), Old: before, New: now})
		}
	}
	if kind == journal.Base {
		b, err := p.w.CreateBase(p.size, tx.PageCount, tx.Time, true)
		p.check(err)
		p.check(b.WritePages(1, bytes.Join(p.pages, nil)))
		_, err = b.Commit()
		p.check(err)
		changed = nil
	}
	if len(changed) > 2 && p.rnd.IntN(4) == 0 {
		body, kept := p.enc.Encode(diff.Body{}, p.size, changed[:2])
		p.check(p.w.AddPart(body, kept))
		changed = changed[2:]
	}
	body, kept := p.enc.Encode(diff.Body{}, p.size, changed)
	tx, err := p.w.Add(tx, body, kept, false)
	p.check(err)
	p.check(p.w.Flush())
	if p.rnd.IntN(10) == 0 {
		_, err := p.w.AddPoint(fmt.Sprint("point ", p.w.Last().TXID), 7)
		p.check(err)
	}
	p.images[tx.TXID] = bytes.Join(p.pages, nil)
}

func (p *primary) trail() *journal.Trail {
	p.t.Helper()
	tr, err := journal.Open(p.dir, nil)
	p.check(err)
	p.t.Cleanup(func() { tr.Close() })
	return tr
}

// replace writes one segment in the place of those that begin with firsts.
func (p *primary) replace(firsts []journal.TXID, write func(f durable.File, sources []*journal.SegmentReader) (journal.Batch, error)) journal.Batch {
	p.t.Helper()
	tr := p.trail()
	var sources []*journal.SegmentReader
	for _, first := range firsts {
		s, err := tr.OpenSegment(first)
		p.check(err)
		defer s.Close()
		sources = append(sources, s)
	}
	name := filepath.Join(p.t.TempDir(), "out")
	f, err := durable.OS.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	p.check(err)
	b, err := write(f, sources)
	p.check(err)
	p.check(f.Close())
	for _, first := range firsts {
		p.check(os.Remove(filepath.Join(p.dir, fmt.Sprintf("%016x.seg", uint64(first)))))
	}
	p.check(os.Rename(name, filepath.Join(p.dir, fmt.Sprintf("%016x.seg", uint64(firsts[0])))))
	return b
}

// fold folds the segments that begin with firsts.
func (p *primary) fold(firsts []journal.TXID, keep func(tx, next *journal.Tx) bool) journal.Batch {
	p.t.Helper()
	return p.replace(firsts, func(f durable.File, sources []*journal.SegmentReader) (journal.Batch, error) {
		images := new(compact.Images)
		at := apply.AtTXID(firsts[0] - 1)
		tr := p.trail()
		s, _, err := apply.Restore(p.t.Context(), tr, at, &apply.Options{TempDir: p.t.TempDir(), Changed: images.Changed})
		p.check(err)
		defer s.Close()
		return compact.Fold(p.t.Context(), f, sources, 1, &compact.Folding{State: s, Images: images, Keep: keep})
	})
}

// checkStates compares every state that can be had with what it was, and says how many those are.
func (p *primary) checkStates() (n int) {
	p.t.Helper()
	tr := p.trail()
	if _, err := apply.Verify(p.t.Context(), tr, &apply.VerifyOptions{TempDir: p.t.TempDir()}); err != nil {
		p.t.Fatal(err)
	}
	for id := range p.images {
		if id == 0 {
			continue
		}
		var out bytes.Buffer
		_, err := apply.HydrateTo(p.t.Context(), tr, &out, apply.AtTXID(id), nil)
		if errors.Is(err, journal.ErrRange) {
			continue
		}
		p.check(err)
		if n++; !bytes.Equal(out.Bytes(), p.images[id]) {
			p.t.Fatalf("transaction %d is not what it was", id)
		}
		if tx, err := tr.Find(p.t.Context(), id); err != nil || tx.Note != fmt.Sprint("n", id) {
			p.t.Fatalf("transaction %d: %+v, %v", id, tx, err)
		}
	}
	return n
}

// Merging loses nothing, however often.
func TestMerge(t *testing.T) {
	p := live(t, 1, 4, 40)
	points, err := p.trail().Points()
	p.check(err)
	for _, firsts := range [][]journal.TXID{p.firsts[1:3], {p.firsts[0], p.firsts[1]}} {
		b := p.replace(firsts, func(f durable.File, sources []*journal.SegmentReader) (journal.Batch, error) {
			return compact.Merge(t.Context(), f, sources, 1)
		})
		if b.First != firsts[0] || b.Folded != 0 {
			t.Errorf("%+v", b)
		}
	}
	if n := p.checkStates(); n != 160 {
		t.Errorf("%d states of 160", n)
	}
	if after, err := p.trail().Points(); err != nil || fmt.Sprint(after) != fmt.Sprint(points) {
		t.Errorf("points %v became %v, %v", points, after, err)
	}
}

// Folding keeps what is asked for and what must be, each state as it was; folded again it keeps less.
func TestFold(t *testing.T) {
	seeds := uint64(5)
	if testing.Short() {
		seeds = 1
	}
	for seed := range seeds {
		p := live(t, seed, 4, 40)
		every := func(n journal.TXID) func(tx, next *journal.Tx) bool {
			return func(tx, next *journal.Tx) bool { return tx.TXID/n != next.TXID/n }
		}
		b := p.fold(p.firsts[1:3], every(5))
		n := p.checkStates()
		if b.Folded == 0 || n != 160-int(b.Folded) || n < 160-64 {
			t.Errorf("seed %d: %d folded, %d states", seed, b.Folded, n)
		}
		b = p.fold(p.firsts[:2], every(20))
		if again := p.checkStates(); again != 160-int(b.Folded) || again >= n {
			t.Errorf("seed %d: %d folded, %d states", seed, b.Folded, again)
		}
	}
}

// What folding does to many small changes of the same pages: far fewer bytes.
func TestFoldShrinks(t *testing.T) {
	p := live(t, 5, 2, 150)
	before, err := os.Stat(filepath.Join(p.dir, "0000000000000001.seg"))
	p.check(err)
	b := p.fold(p.firsts[:1], func(*journal.Tx, *journal.Tx) bool { return false })
	if b.Size > before.Size()*6/10 {
		t.Errorf("%d bytes became %d", before.Size(), b.Size)
	}
	p.checkStates()
}

// Sources that do not follow each other, or pages of another moment, are refused.
func TestFoldRefuses(t *testing.T) {
	p := live(t, 6, 4, 10)
	tr := p.trail()
	var all []*journal.SegmentReader
	for _, first := range p.firsts {
		s, err := tr.OpenSegment(first)
		p.check(err)
		defer s.Close()
		all = append(all, s)
	}
	f, err := durable.OS.OpenFile(filepath.Join(t.TempDir(), "out"), os.O_RDWR|os.O_CREATE, 0o600)
	p.check(err)
	defer f.Close()
	if _, err := compact.Merge(t.Context(), f, []*journal.SegmentReader{all[0], all[2]}, 1); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("a gap: %v", err)
	}
	s, _, err := apply.Restore(t.Context(), tr, apply.AtTXID(9), &apply.Options{TempDir: t.TempDir()})
	p.check(err)
	defer s.Close()
	o := compact.Folding{State: s, Images: new(compact.Images), Keep: func(*journal.Tx, *journal.Tx) bool { return true }}
	if _, err := compact.Fold(t.Context(), f, all[1:2], 1, &o); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("pages of another moment: %v", err)
	}
}
