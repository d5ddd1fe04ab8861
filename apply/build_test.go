package apply_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// image is a database in memory: the model that replaying is compared with.
// A page that is nil is zero.
type image struct {
	pageSize int
	pages    [][]byte
}

func (m image) clone() image {
	return image{pageSize: m.pageSize, pages: slices.Clone(m.pages)} // pages are never edited in place
}

// zeros is read by all and written by none.
var zeros [65536]byte

func (m image) page(i int) []byte {
	if m.pages[i] == nil {
		return zeros[:m.pageSize]
	}
	return m.pages[i]
}

func (m image) bytes() []byte {
	var b bytes.Buffer
	for i := range m.pages {
		b.Write(m.page(i))
	}
	return b.Bytes()
}

func (m image) sum() diff.Sum {
	var sum diff.Sum
	if m.pageSize == 0 {
		return sum
	}
	for i := range m.pages {
		if no := uint32(i + 1); no != diff.LockPage(m.pageSize) {
			sum = sum.Add(diff.PageSum(no, m.page(i)))
		}
	}
	return sum
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

// trailWriter writes transactions on images into a trail, as capturing would.
type trailWriter struct {
	t     fataler
	dir   string
	w     *journal.Writer
	enc   diff.Encoder
	state image
	group int // pages in a group; 0: as many as allowed
	bases map[journal.TXID]bool
	kinds []journal.Kind // by TXID-1
	times []journal.Time // by TXID-1
	clock journal.Time
}

// start is the time of the first transaction, in 2026.
const start = journal.Time(1_790_000_000_000_000)

func newTrail(t fataler, dir string) *trailWriter {
	t.Helper()
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &trailWriter{t: t, dir: dir, w: w, clock: start, bases: map[journal.TXID]bool{}}
	b.lock()
	return b
}

func (b *trailWriter) lock() {
	b.t.Helper()
	if _, err := b.w.Lock(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *trailWriter) close() {
	b.t.Helper()
	b.w.Unlock()
	if err := b.w.Close(); err != nil {
		b.t.Fatal(err)
	}
}

// commit makes next the state with a transaction of patches.
func (b *trailWriter) commit(next image, kind journal.Kind) journal.Tx {
	b.t.Helper()
	return b.commitWith(next, journal.Tx{Kind: kind, Sum: next.sum()})
}

// commitWith is commit with a checksum of the caller's making.
func (b *trailWriter) commitWith(next image, tx journal.Tx) journal.Tx {
	b.t.Helper()
	pages := b.changes(next)
	size := b.group
	if size == 0 {
		size = diff.GroupPages(next.pageSize)
	}
	for len(pages) > size {
		body, n := b.enc.Encode(diff.Body{}, next.pageSize, pages[:size])
		if n > 0 { // all pages of a group may have turned out unchanged
			if err := b.w.AddPart(body, n); err != nil {
				b.t.Fatal(err)
			}
		}
		pages = pages[size:]
	}
	body, n := b.enc.Encode(diff.Body{}, next.pageSize, pages)
	return b.add(next, tx, body, n)
}

// changes lists the pages in which next differs from the state. A new page
// that is zero is left out now and then, as capturing may do.
func (b *trailWriter) changes(next image) []diff.Page {
	var pages []diff.Page
	for i := range next.pages {
		no := uint32(i + 1)
		if no == diff.LockPage(next.pageSize) {
			continue
		}
		switch {
		case next.pageSize != b.state.pageSize && len(b.state.pages) > 0:
			if next.pages[i] != nil {
				pages = append(pages, diff.Page{No: no, New: next.page(i)})
			}
		case i >= len(b.state.pages):
			if next.pages[i] != nil {
				pages = append(pages, diff.Page{No: no, Old: make([]byte, next.pageSize), New: next.page(i)})
			}
		case next.pages[i] != nil && b.state.pages[i] != nil && &next.pages[i][0] == &b.state.pages[i][0]:
		case next.pages[i] == nil && b.state.pages[i] == nil:
		default:
			pages = append(pages, diff.Page{No: no, Old: b.state.page(i), New: next.page(i)})
		}
	}
	return pages
}

func (b *trailWriter) add(next image, tx journal.Tx, body diff.Body, pages int) journal.Tx {
	b.t.Helper()
	b.clock += 1000
	tx.Time, tx.PageSize, tx.PageCount, tx.SumKnown = b.clock, next.pageSize, uint32(len(next.pages)), true
	tx.SumCut = tx.Sum.Cut()
	tx, err := b.w.Add(tx, body, pages, false)
	if err == nil {
		err = b.w.Flush()
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.state = next
	b.kinds = append(b.kinds, tx.Kind)
	b.times = append(b.times, tx.Time)
	return tx
}

// base writes a base: of the state as it is, or (adopt) of next, which then
// becomes the state with a Base record.
func (b *trailWriter) base(next image, adopt bool) {
	b.t.Helper()
	id := b.w.Last().TXID
	if adopt {
		id++
	}
	if b.bases[id] {
		return
	}
	b.bases[id] = true
	w, err := b.w.CreateBase(next.pageSize, uint32(len(next.pages)), b.clock, adopt)
	if err != nil {
		b.t.Fatal(err)
	}
	for i := range next.pages {
		if no := uint32(i + 1); no != diff.LockPage(next.pageSize) {
			if err := w.WritePages(no, next.page(i)); err != nil {
				b.t.Fatal(err)
			}
		}
	}
	if w.Sum() != next.sum() {
		b.t.Fatalf("base sum %v, model %v", w.Sum(), next.sum())
	}
	if _, err := w.Commit(); err != nil {
		b.t.Fatal(err)
	}
	if adopt {
		b.add(next, journal.Tx{Kind: journal.Base, Sum: next.sum()}, diff.Body{}, 0)
	}
}

// rotate ends the tail, and seals what is not the tail.
func (b *trailWriter) rotate(seal bool) {
	b.t.Helper()
	if err := b.w.Rotate(); err != nil {
		b.t.Fatal(err)
	}
	if seal {
		if _, err := journal.Seal(context.Background(), b.dir, nil); err != nil {
			b.t.Fatal(err)
		}
	}
}

// open opens the trail for reading.
func openTrail(t fataler, dir string) *journal.Trail {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return trail
}

// hydrated restores target to a new file and returns its bytes.
func hydrated(t fataler, trail *journal.Trail, out string, target apply.Target) ([]byte, apply.Result) {
	t.Helper()
	result, err := apply.Hydrate(context.Background(), trail, out, target, nil)
	if err != nil {
		t.Fatalf("hydrate %v: %v", target, err)
	}
	if result.Again {
		t.Fatalf("hydrate %v: early patches led astray", target)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	return b, result
}

// filled is a page of one byte, and of its number at its start.
func filled(size int, no int, c byte) []byte {
	p := bytes.Repeat([]byte{c}, size)
	copy(p, fmt.Sprintf("page %d of %q.", no, c))
	return p
}

// sample writes a trail of n transactions on pages of 512 bytes and returns
// the image after each TXID.
func sample(t *testing.T, n int) (*trailWriter, []image) {
	t.Helper()
	b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
	images := []image{{}}
	next := image{pageSize: 512}
	for i := range n {
		next = next.clone()
		switch {
		case i%5 == 4 && len(next.pages) > 2:
			next.pages = next.pages[:len(next.pages)-1]
		case i%2 == 0:
			next.pages = append(next.pages, filled(512, len(next.pages)+1, byte('a'+i%26)))
		}
		if len(next.pages) > 0 {
			next.pages[0] = filled(512, 1, byte('A'+i%26))
		}
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	return b, images
}

// names lists the files of a directory, for seeing that nothing was left.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return list
}
