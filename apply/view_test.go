package apply_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/journal"
)

// viewed opens a view of a transaction page by page, and compares all of its pages with the model's.
func viewed(t *testing.T, dir string, id int, want image, o asof.Options) asof.Stats {
	t.Helper()
	trail := openTrail(t, dir)
	defer trail.Close()
	if o.WholeBytes == 0 {
		o.WholeBytes = -1
	}
	open := func() *asof.View {
		view, err := asof.Open(t.Context(), trail, apply.AtTXID(journal.TXID(id)), &o)
		if err != nil {
			t.Fatalf("transaction %d: %v", id, err)
		}
		return view
	}
	// Each page by itself: another may have it restored as a whole.
	page := make([]byte, want.pageSize)
	for i := range min(len(want.pages), 10) {
		view := open()
		if err := view.ReadPage(t.Context(), uint32(i+1), page); err != nil || !bytes.Equal(page, want.page(i)) {
			t.Fatalf("transaction %d: page %d by itself is another (%v)", id, i+1, err)
		}
		view.Close()
	}
	view := open()
	defer view.Close()
	got := make([]byte, len(want.bytes()))
	if n, err := view.ReadAt(got, 0); err != nil || n != len(got) || !bytes.Equal(got, want.bytes()) {
		t.Fatalf("transaction %d: %d bytes of another database (%v)", id, n, err)
	}
	return view.Stats()
}

// TestViewOverPageSizes goes from one page size to another and back, in sealed segments and in the tail: what was
// before must not be patched as if it were still there.
func TestViewOverPageSizes(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
		sizes := []int{512, 512, 1024, 512, 512}
		var images []image
		for i, size := range sizes {
			next := image{pageSize: size, pages: make([][]byte, 6)}
			for p := range 5 - i { // the rest are zero, and nothing mentions them
				next.pages[p] = filled(size, p+1, byte('a'+i))
			}
			b.commit(next, journal.Ordinary)
			images = append(images, next)
			if sealed {
				b.rotate(true)
			}
		}
		b.close()
		for i, want := range images {
			viewed(t, b.dir, i+1, want, asof.Options{})
		}
	}
}

// TestViewOfDropped cuts a database and lets it grow again, without a word about the pages that come back.
func TestViewOfDropped(t *testing.T) {
	for _, sealed := range []bool{true, false} {
		b, images := sample(t, 1)
		step := func(n int) {
			next := b.state.clone()
			next.pages = append(next.pages[:min(n, len(next.pages))], make([][]byte, max(n-len(next.pages), 0))...)
			next.pages[0] = filled(512, 1, byte('A'+len(images)))
			b.commit(next, journal.Ordinary)
			images = append(images, next)
		}
		next := b.state.clone()
		next.pages = append(next.pages, filled(512, 2, 'x'), filled(512, 3, 'y'), filled(512, 4, 'z'))
		b.commit(next, journal.Ordinary)
		images = append(images, next)
		b.base(b.state, false)
		for _, n := range []int{4, 2, 3, 1, 6, 5} {
			step(n)
		}
		if sealed {
			b.rotate(true)
		}
		b.close()
		for i, want := range images[1:] {
			if s := viewed(t, b.dir, i+1, want, asof.Options{}); s.Whole {
				t.Errorf("transaction %d was restored as a whole", i+1)
			}
		}
	}
}

// entangled writes n transactions in which each of so many pages takes half of another one's content.
func entangled(t *testing.T, count, n int) (*trailWriter, []image) {
	b, rnd := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail")), rand.New(rand.NewPCG(3, 4))
	next := image{pageSize: 512}
	for i := range count {
		p := filled(512, i+1, 'r')
		for at := range p {
			p[at] = byte(rnd.Uint32())
		}
		next.pages = append(next.pages, p)
	}
	b.commit(next, journal.Ordinary)
	images := []image{{}, next}
	for range n {
		next = next.clone()
		from := b.state
		for i := range next.pages {
			other := from.pages[rnd.IntN(len(from.pages))]
			next.pages[i] = append(bytes.Clone(from.pages[i][256:]), other[:256]...)
		}
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	return b, images
}

// TestViewOfEntangled asks for pages that are made of others over many transactions: each patch is decoded once at most for
// each page that is read, where going from page to page would take each of them anew.
func TestViewOfEntangled(t *testing.T) {
	const count, n = 100, 20
	b, images := entangled(t, count, n)
	b.rotate(true)
	b.close()
	for id := 1; id <= n+1; id++ {
		s := viewed(t, b.dir, id, images[id], asof.Options{})
		if most := uint64(count * count * id); s.Whole || s.Patches > most {
			t.Errorf("transaction %d: %+v, want at most %d patches", id, s, most)
		}
	}
	// With room for a few pages only, it is restored.
	if s := viewed(t, b.dir, n, images[n], asof.Options{CacheBytes: 4 << 10}); !s.Whole {
		t.Errorf("%+v in 4 kB", s)
	}
}

// TestViewReadsLittle asks for one page of a history in which it was patched once.
func TestViewReadsLittle(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
	rnd := rand.New(rand.NewPCG(5, 6))
	next := image{pageSize: 4096}
	for i := range 300 {
		next.pages = append(next.pages, filled(4096, i+1, byte(i)))
	}
	b.commit(next, journal.Ordinary)
	b.base(next, false)
	for i := range 4000 {
		next = next.clone()
		no := 10 + rnd.IntN(290)
		if i == 2000 {
			no = 5
		}
		page := bytes.Clone(next.page(no))
		for at := range 200 {
			page[100+at] = byte(rnd.Uint32())
		}
		next.pages[no] = page
		b.commit(next, journal.Ordinary)
	}
	b.rotate(true)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	r, err := trail.OpenSegment(1)
	if err != nil || len(r.Blocks()) < 4 {
		t.Fatalf("%d blocks: %v", len(r.Blocks()), err)
	}
	defer r.Close()
	view, err := asof.Open(t.Context(), trail, apply.Latest(), &asof.Options{WholeBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	got := make([]byte, 4096)
	for range 2 {
		if err := view.ReadPage(t.Context(), 6, got); err != nil || !bytes.Equal(got, next.pages[5]) {
			t.Fatal("another page", err)
		}
	}
	if s := view.Stats(); s.Whole || s.Units > 2 || s.Blocks > 1 { // the first block is also that of the base's transaction
		t.Errorf("%+v for a page that was patched once", s)
	}
	// Who reads on gets all of it restored.
	if err := view.Verify(t.Context()); err != nil || !view.Stats().Whole {
		t.Errorf("%v, %+v after all pages", err, view.Stats())
	}
}

// TestViewOfDamaged damages each byte in turn of a block that is read: that is an error, and no page of it is given out.
func TestViewOfDamaged(t *testing.T) {
	b, images := entangled(t, 32, 5)
	b.rotate(true)
	b.close()
	trail := openTrail(t, b.dir)
	segments, err := trail.Segments()
	if err != nil {
		t.Fatal(err)
	}
	trail.Close()
	name := filepath.Join(b.dir, filepath.Base(segments[0].Name))
	whole, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for at := 0; at < len(whole); at += 41 {
		bad := bytes.Clone(whole)
		bad[at] ^= 0x10
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := readDamaged(t.Context(), b.dir, images[6]); err != nil {
			seen++
			if e, ok := errors.AsType[*journal.Error](err); !ok || e.Path == "" {
				t.Errorf("byte %d: %v", at, err)
			}
		}
	}
	if seen < len(whole)/41*9/10 {
		t.Errorf("%d of %d damages were seen", seen, len(whole)/41)
	}
}

// readDamaged reads all pages, and returns the first error. Pages that differ are an error of their own kind.
func readDamaged(ctx context.Context, dir string, want image) error {
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return err
	}
	defer trail.Close()
	view, err := asof.Open(ctx, trail, apply.AtTXID(6), &asof.Options{WholeBytes: -1})
	if err != nil {
		return err
	}
	defer view.Close()
	got := make([]byte, want.pageSize)
	for i := range want.pages {
		if err := view.ReadPage(ctx, uint32(i+1), got); err != nil {
			return err
		}
		if !bytes.Equal(got, want.page(i)) {
			return fmt.Errorf("page %d is another", i+1)
		}
	}
	return nil
}

// TestViewVerifies has a transaction whose pages are others than its checksum says.
func TestViewVerifies(t *testing.T) {
	b, images := sample(t, 6)
	next := b.state.clone()
	next.pages[0] = filled(512, 1, 'x')
	b.commitWith(next, journal.Tx{Sum: images[3].sum()})
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	for id := journal.TXID(1); id <= 7; id++ {
		view, err := asof.Open(t.Context(), trail, apply.AtTXID(id), &asof.Options{WholeBytes: -1})
		if err != nil {
			t.Fatal(err)
		}
		err = view.Verify(t.Context())
		if _, other := errors.AsType[*apply.MismatchError](err); other != (id == 7) || !other && err != nil {
			t.Errorf("transaction %d: %v", id, err)
		}
		view.Close()
	}
}

// TestViewShared reads a view from several goroutines at once.
func TestViewShared(t *testing.T) {
	b, images := entangled(t, 32, 20)
	b.rotate(true)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	view, err := asof.Open(t.Context(), trail, apply.Latest(), &asof.Options{WholeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	want := images[21].bytes()
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			got := make([]byte, 700)
			for off := 100 * g; off+len(got) < len(want); off += 300 {
				if _, err := view.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, want[off:off+len(got)]) {
					t.Errorf("at %d: %v", off, err)
				}
			}
		})
	}
	wg.Wait()
}
