package apply_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// noise is a page that has nothing in common with another.
func noise(rng *rand.Rand, size int) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

// moved writes a base of noise and then transactions in which pages take bytes
// from each other's old and new contents, few and many, as moved rows do,
// swap, grow and change by themselves. It returns the image after each TXID.
func moved(t *testing.T, seed uint64, transactions int) (*trailWriter, []image) {
	t.Helper()
	const size = 1024
	rng := rand.New(rand.NewPCG(seed, 1))
	b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
	next := image{pageSize: size}
	for range 60 {
		next.pages = append(next.pages, noise(rng, size))
	}
	b.base(next, true)
	images := []image{{}, next}
	for range transactions {
		next = next.clone()
		for range 1 + rng.IntN(4) {
			to, from := rng.IntN(len(next.pages)), rng.IntN(len(next.pages))
			p := bytes.Clone(next.page(to))
			n := []int{12, 20, 40, 70, 300}[rng.IntN(5)]
			at, of := rng.IntN(size-n), rng.IntN(size-n)
			switch rng.IntN(6) {
			case 0, 1: // what the other page had, and what it has now
				copy(p[at:at+n], images[len(images)-1].pages[from%len(images[len(images)-1].pages)][of:])
			case 2:
				copy(p[at:at+n], next.page(from)[of:])
			case 3: // the same new bytes in two pages
				fresh := noise(rng, n)
				copy(p[at:], fresh)
				q := bytes.Clone(next.page(from))
				copy(q[of:], fresh)
				if from != to {
					next.pages[from] = q
				}
			case 4:
				copy(p[at:], noise(rng, n))
			default:
				next.pages = append(next.pages, append(bytes.Clone(p[:size/2]), noise(rng, size/2)...))
			}
			next.pages[to] = p
		}
		b.commit(next, journal.Ordinary)
		images = append(images, next)
	}
	return b, images
}

// TestAhead restores moments after a base, where most patches are applied with
// the base and the rest in order, from the tail and from a sealed segment.
func TestAhead(t *testing.T) {
	for seed := range uint64(4) {
		b, images := moved(t, seed, 120)
		for _, sealed := range []bool{false, true} {
			if sealed {
				b.rotate(true)
			}
			trail := openTrail(t, b.dir)
			for id := 1; id < len(images); id += 5 {
				got, _ := hydrated(t, trail, filepath.Join(t.TempDir(), "out.db"), apply.AtTXID(journal.TXID(id)))
				if !bytes.Equal(got, images[id].bytes()) {
					t.Fatalf("seed %d, sealed %v: transaction %d differs", seed, sealed, id)
				}
			}
			trail.Close()
		}
		b.close()
	}
}

// TestAheadIsWrittenOnce counts writes: pages that only change by themselves
// are written with the base and not again, whatever the cache.
func TestAheadIsWrittenOnce(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
	rng := rand.New(rand.NewPCG(1, 2))
	next := image{pageSize: 1024}
	for range 200 {
		next.pages = append(next.pages, noise(rng, 1024))
	}
	b.base(next, true)
	for range 300 {
		next = next.clone()
		for range 3 {
			i := rng.IntN(200)
			next.pages[i] = bytes.Clone(next.pages[i])
			copy(next.pages[i][rng.IntN(1000):], noise(rng, 24))
		}
		b.commit(next, journal.Ordinary)
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	count := func(target apply.Target) (writes int) {
		disk := &faultFS{FS: durable.OS, at: func(_ int, op string) error {
			if op == "write" {
				writes++
			}
			return nil
		}}
		_, err := apply.Hydrate(context.Background(), trail, filepath.Join(t.TempDir(), "out.db"), target, &apply.Options{FS: disk, CacheBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		return writes
	}
	if base, all := count(apply.AtTXID(1)), count(apply.Latest()); all != base {
		t.Errorf("%d writes with 300 transactions, the base alone takes %d", all, base)
	}
}

// TestAheadLarge restores transactions that change more pages than are taken
// apart, among others that change the same ones.
func TestAheadLarge(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "app.db-pagetrail"))
	rng := rand.New(rand.NewPCG(3, 4))
	next := image{pageSize: 4096}
	for range 300 {
		next.pages = append(next.pages, noise(rng, 4096))
	}
	b.base(next, true)
	for i := range 12 {
		next = next.clone()
		pages := 3
		if i%5 == 2 {
			pages = 280 // together more than 1 MiB
		}
		for no := range pages {
			next.pages[no] = bytes.Clone(next.pages[no])
			copy(next.pages[no][rng.IntN(4000):], noise(rng, 30))
		}
		b.commit(next, journal.Ordinary)
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	got, _ := hydrated(t, trail, filepath.Join(t.TempDir(), "out.db"), apply.Latest())
	if !bytes.Equal(got, next.bytes()) {
		t.Error("the last transaction differs")
	}
}

// TestAheadWrongSum finds the transaction whose checksum is wrong, though its
// pages and those after it were changed already when it was looked at.
func TestAheadWrongSum(t *testing.T) {
	b, images := moved(t, 9, 30)
	next := images[len(images)-1].clone()
	next.pages[7] = filled(1024, 8, 'x')
	wrong := next.sum().Add(diff.Sum{Lo: 1})
	id := b.commitWith(next, journal.Tx{Kind: journal.Ordinary, Sum: wrong}).TXID
	next = next.clone()
	next.pages[7] = filled(1024, 8, 'y')
	b.commit(next, journal.Ordinary)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	dir := t.TempDir()
	_, err := apply.Hydrate(context.Background(), trail, filepath.Join(dir, "out.db"), apply.Latest(), nil)
	mismatch, ok := errors.AsType[*apply.MismatchError](err)
	if !ok || mismatch.TXID != id {
		t.Fatalf("transaction %d states a wrong checksum: %v", id, err)
	}
	if left := names(t, dir); !slices.Equal(left, nil) {
		t.Errorf("left %q", left)
	}
}

// flips is a file system that turns one bit of the first writes to files, one
// for each file made.
type flips struct {
	durable.FS
	left int
}

type flipsFile struct {
	durable.File
	mu   sync.Mutex
	todo bool
}

func (f *flips) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || flag&(os.O_CREATE|os.O_TRUNC) == 0 {
		return file, err
	}
	f.left--
	return &flipsFile{File: file, todo: f.left >= 0}, nil
}

func (f *flipsFile) WriteAt(b []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.todo {
		f.todo = false
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
	}
	return f.File.WriteAt(b, off)
}

// TestAstray: where early patches end in another state, all is done again in
// the order of transactions. What then is wrong is said; and where there are no
// early patches nothing is done twice.
func TestAstray(t *testing.T) {
	b, images := moved(t, 2, 40)
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	last := images[len(images)-1].bytes()
	for name, hydrate := range map[string]func(out string, target apply.Target, o *apply.Options) ([]byte, apply.Result, error){
		"file": func(out string, target apply.Target, o *apply.Options) ([]byte, apply.Result, error) {
			result, err := apply.Hydrate(t.Context(), trail, out, target, o)
			got, _ := os.ReadFile(out)
			return got, result, err
		},
		"stream": func(_ string, target apply.Target, o *apply.Options) ([]byte, apply.Result, error) {
			var got bytes.Buffer
			result, err := apply.HydrateTo(t.Context(), trail, &got, target, o)
			return got.Bytes(), result, err
		},
	} {
		for bad := range 3 {
			dir := t.TempDir()
			got, result, err := hydrate(filepath.Join(dir, "out.db"), apply.Latest(), &apply.Options{FS: &flips{FS: durable.OS, left: bad}, TempDir: dir})
			if bad < 2 && (err != nil || result.Again != (bad == 1) || !bytes.Equal(got, last)) {
				t.Errorf("%s, %d times: done again %v, %v; the bytes are right: %v", name, bad, result.Again, err, bytes.Equal(got, last))
			}
			if _, ok := errors.AsType[*apply.MismatchError](err); bad == 2 && (!ok || len(got) > 0 || len(names(t, dir)) > 0) {
				t.Errorf("%s, twice: %v, %d bytes, left %q", name, err, len(got), names(t, dir))
			}
		}
		dir := t.TempDir()
		_, _, err := hydrate(filepath.Join(dir, "out.db"), apply.AtTXID(1), &apply.Options{FS: &flips{FS: durable.OS, left: 1}, TempDir: dir})
		if _, ok := errors.AsType[*apply.MismatchError](err); !ok {
			t.Errorf("%s, the base alone: %v", name, err)
		}
	}
}
