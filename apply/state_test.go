package apply_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// openState makes a scratch state that the test closes, and sees nothing left.
func openState(t *testing.T, o apply.StateOptions) *apply.State {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := apply.OpenState(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error("second close:", err)
		}
		if left := names(t, o.Dir); len(left) != 0 {
			t.Errorf("left %q", left)
		}
	})
	return s
}

// TestState applies records one by one, and reads pages in between.
func TestState(t *testing.T) {
	b, images := sample(t, 20)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	ctx := context.Background()
	for _, cache := range []int{1, 0} {
		told := map[string]int{}
		s := openState(t, apply.StateOptions{CacheBytes: cache, Changed: func(tx *journal.Tx, no uint32, old, new []byte) {
			before, after := images[tx.TXID-1], images[tx.TXID]
			if !bytes.Equal(new, after.page(int(no-1))) {
				t.Errorf("transaction %d, page %d: told a wrong new page", tx.TXID, no)
			}
			if isNew := int(no) > len(before.pages); isNew != (old == nil) || !isNew && !bytes.Equal(old, before.page(int(no-1))) {
				t.Errorf("transaction %d, page %d: told a wrong old page", tx.TXID, no)
			}
			told[fmt.Sprint(old == nil)]++
		}})
		for rec, err := range trail.Records(ctx, 1) {
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Apply(ctx, rec); err != nil {
				t.Fatal(err)
			}
			checkState(t, s, images[rec.TXID])
		}
		if s.TXID() != 20 || told["true"] == 0 || told["false"] == 0 {
			t.Errorf("at transaction %d, told %v", s.TXID(), told)
		}
	}
}

func checkState(t *testing.T, s *apply.State, want image) {
	t.Helper()
	if s.Sum() != want.sum() || int(s.PageCount()) != len(want.pages) || s.PageSize() != want.pageSize {
		t.Fatalf("transaction %d: %d pages of %d, sum %v", s.TXID(), s.PageCount(), s.PageSize(), s.Sum())
	}
	p := make([]byte, want.pageSize)
	for i := range want.pages {
		if err := s.ReadPage(uint32(i+1), p); err != nil || !bytes.Equal(p, want.page(i)) {
			t.Fatalf("transaction %d: page %d differs (%v)", s.TXID(), i+1, err)
		}
	}
	for _, no := range []uint32{0, uint32(len(want.pages)) + 1} {
		if err := s.ReadPage(no, p); err == nil {
			t.Fatalf("page %d of %d was read", no, len(want.pages))
		}
	}
	var all bytes.Buffer
	if _, err := s.WriteTo(&all); err != nil || !bytes.Equal(all.Bytes(), want.bytes()) {
		t.Fatalf("transaction %d: streamed bytes differ (%v)", s.TXID(), err)
	}
}

// TestStateRefuses gives a state records that do not follow: it stays as it
// was, and takes the right one afterwards.
func TestStateRefuses(t *testing.T) {
	b, images := sample(t, 6)
	next := images[6].clone()
	next.pages[0] = filled(512, 1, '?')
	b.commitWith(next, journal.Tx{Sum: diff.Sum{Lo: 1}})
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	ctx := context.Background()
	s := openState(t, apply.StateOptions{})
	apply1 := func(id journal.TXID) error {
		for rec, err := range trail.Records(ctx, id) {
			if err != nil {
				return err
			}
			return s.Apply(ctx, rec)
		}
		return fmt.Errorf("no record %d", id)
	}
	for id := journal.TXID(1); id <= 6; id++ {
		if err := apply1(id + 1); !errors.Is(err, journal.ErrGap) && id < 6 {
			t.Fatalf("transaction %d onto %d: %v", id+1, id-1, err)
		}
		if err := apply1(id); err != nil {
			t.Fatal(err)
		}
		if err := apply1(id); !errors.Is(err, journal.ErrGap) {
			t.Fatalf("transaction %d twice: %v", id, err)
		}
	}
	var mismatch *apply.MismatchError
	if err := apply1(7); !errors.As(err, &mismatch) || mismatch.TXID != 7 {
		t.Fatalf("a wrong checksum: %v", err)
	}
	checkState(t, s, images[6])
	// The same history with the right checksum: the failure has left nothing.
	b, _ = sample(t, 6)
	b.commit(next, journal.Ordinary)
	last := mutated(next, '!')
	b.commit(last, journal.Ordinary)
	b.close()
	trail = openTrail(t, b.dir)
	defer trail.Close()
	for id := journal.TXID(7); id <= 8; id++ {
		if err := apply1(id); err != nil {
			t.Fatal(err)
		}
	}
	checkState(t, s, last)
}

// TestCache runs more pages than the cache holds through it, in random order,
// with every page written often, so that what is evicted is needed again.
func TestCache(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	next := image{pageSize: 512}
	for i := range 200 {
		next.pages = append(next.pages, filled(512, i+1, 'a'))
	}
	b.commit(next, journal.Ordinary)
	images := []image{{}, next}
	for k := range 300 {
		next = next.clone()
		for range 1 + rng.IntN(12) {
			i := rng.IntN(len(next.pages))
			p := bytes.Clone(next.page(i))
			copy(p[rng.IntN(400):], fmt.Sprintf("transaction %d", k))
			next.pages[i] = p
		}
		switch {
		case k%37 == 36:
			next.pages = next.pages[:len(next.pages)-150]
		case k%37 == 2 && k > 37:
			next.pages = append(next.pages, make([][]byte, 150)...) // zero, whatever was there before
		}
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	for _, cache := range []int{1, 20 * 512, 100 * 512, 1 << 20} {
		s := openState(t, apply.StateOptions{CacheBytes: cache, FS: slowFS{durable.OS}})
		for rec, err := range trail.Records(context.Background(), 1) {
			if err == nil {
				err = s.Apply(context.Background(), rec)
			}
			if err != nil {
				t.Fatalf("cache of %d bytes: %v", cache, err)
			}
			if s.TXID()%50 == 0 {
				checkState(t, s, images[s.TXID()])
			}
		}
		checkState(t, s, next)
	}
}

// TestNonsense plants records whose bytes are sound and whose content no
// database has.
func TestNonsense(t *testing.T) {
	page := filled(65536, 1, 'x')
	lock := diff.LockPage(65536)
	full := func(no uint32) diff.Body {
		var enc diff.Encoder
		body, _ := enc.Encode(diff.Body{}, 65536, []diff.Page{{No: no, New: page}})
		return body
	}
	for _, test := range []struct {
		name   string
		count  uint32
		bodies []diff.Body
	}{
		{"page beyond the end", 3, []diff.Body{full(4)}},
		{"lock-byte page", lock + 1, []diff.Body{full(lock)}},
		{"groups out of order", 3, []diff.Body{full(2), full(1)}},
		{"page in two groups", 3, []diff.Body{full(2), full(2)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "db-pagetrail")
			b := newTrail(t, dir)
			for i, body := range test.bodies {
				if i < len(test.bodies)-1 {
					if err := b.w.AddPart(body, 1); err != nil {
						t.Fatal(err)
					}
					continue
				}
				tx := journal.Tx{Time: start, PageSize: 65536, PageCount: test.count, SumKnown: true}
				if _, err := b.w.Add(tx, body, 1, false); err != nil {
					t.Skip("the writer refuses it: ", err)
				}
			}
			if err := b.w.Flush(); err != nil {
				t.Fatal(err)
			}
			b.close()
			trail := openTrail(t, dir)
			defer trail.Close()
			_, err := apply.Hydrate(context.Background(), trail, filepath.Join(t.TempDir(), "out.db"), apply.Latest(), nil)
			var where *journal.Error
			if !errors.Is(err, journal.ErrCorrupt) || !errors.As(err, &where) || where.TXID != 1 {
				t.Errorf("hydrate says %v", err)
			}
		})
	}
}

// slowFS holds every write back until the file is truncated, or for a moment,
// so that what is written beside the applier comes late.
type slowFS struct{ durable.FS }

type slowFile struct {
	durable.File
	cut chan struct{}
}

func (f slowFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	return &slowFile{file, make(chan struct{})}, err
}

func (f *slowFile) WriteAt(b []byte, off int64) (int, error) {
	select {
	case <-f.cut:
	case <-time.After(300 * time.Microsecond):
	}
	return f.File.WriteAt(b, off)
}

func (f *slowFile) Truncate(size int64) error {
	err := f.File.Truncate(size)
	for {
		select {
		case f.cut <- struct{}{}:
		default:
			return err
		}
	}
}

// TestStream replays more transactions than a ring of batches holds at once,
// and groups larger than a batch, in one history.
func TestStream(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	noise := func() []byte {
		p := make([]byte, 4096)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		return p
	}
	next := image{pageSize: 4096, pages: make([][]byte, 300)}
	images := []image{{}}
	commit := func(group int) {
		b.group = group
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	for round := range 4 {
		next = next.clone()
		for i := range next.pages {
			next.pages[i] = noise()
		}
		commit([]int{100, 1, 150, 0}[round])
		for range 1000 {
			next = next.clone()
			i := rng.IntN(len(next.pages))
			next.pages[i] = bytes.Clone(next.pages[i])
			next.pages[i][rng.IntN(4096)]++
			commit(0)
		}
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	last := journal.TXID(len(images) - 1)
	for _, id := range []journal.TXID{1, 600, 1002, last} {
		var got bytes.Buffer
		o := &apply.Options{TempDir: t.TempDir(), FS: slowFS{durable.OS}, CacheBytes: 400 << 10}
		if _, err := apply.HydrateTo(context.Background(), trail, &got, apply.AtTXID(id), o); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.Bytes(), images[id].bytes()) {
			t.Errorf("transaction %d came out wrong", id)
		}
	}
}
