package apply_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// TestWhileWriting restores and verifies a trail that is being appended to,
// rotated and sealed: each time the answer is a state that there was.
func TestWhileWriting(t *testing.T) {
	b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
	next := image{pageSize: 512}
	images := []image{{}}
	for i := range 400 {
		next = next.clone()
		if i%3 == 0 {
			next.pages = append(next.pages, filled(512, i, 'a'))
		}
		next.pages[i%len(next.pages)] = filled(512, i, byte('A'+i%26))
		images = append(images, next)
	}
	b.commit(images[1], journal.Ordinary)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !done.Load() && !t.Failed() {
			restoreLive(t, b.dir, images)
		}
	})
	for id := 2; id < len(images); id++ {
		b.commit(images[id], journal.Ordinary)
		if id%40 == 0 {
			b.rotate(id%80 == 0)
		}
		if id%150 == 0 {
			b.base(b.state, false)
		}
	}
	done.Store(true)
	wg.Wait()
	restoreLive(t, b.dir, images)
	b.close()
}

// restoreLive opens a trail, restores its latest state and one in the middle,
// and verifies it.
func restoreLive(t *testing.T, dir string, images []image) {
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Error(err)
		return
	}
	defer trail.Close()
	last, err := trail.Last()
	if err != nil {
		t.Error(err)
		return
	}
	for _, target := range []apply.Target{apply.Latest(), apply.AtTXID(last.TXID/2 + 1)} {
		var got bytes.Buffer
		result, err := apply.HydrateTo(context.Background(), trail, &got, target, nil)
		if err != nil || !bytes.Equal(got.Bytes(), images[result.Tx.TXID].bytes()) {
			t.Errorf("%v, which is %d: %v", target, result.Tx.TXID, err)
		}
	}
	if report, err := apply.Verify(context.Background(), trail, nil); err != nil {
		t.Errorf("verify: %v, %+v", err, report)
	}
}

// TestVerifyWhilePruning prunes a trail while it is verified, before and in the
// middle of the replay: what is given up meanwhile is no damage.
func TestVerifyWhilePruning(t *testing.T) {
	for _, phase := range []apply.Phase{apply.PhaseScan, apply.PhaseReplay} {
		b, _ := sample(t, 20)
		next := b.state.clone()
		for i := range 60 {
			if i%15 == 0 {
				b.base(b.state, false)
				b.rotate(true)
			}
			next = mutated(next, byte('0'+i))
			b.commit(next, journal.Ordinary)
		}
		trail := openTrail(t, b.dir)
		var once sync.Once
		var removed []string
		report, err := apply.Verify(t.Context(), trail, &apply.VerifyOptions{Progress: func(p apply.Progress) {
			if p.Phase != phase {
				return
			}
			once.Do(func() {
				var err error
				if removed, err = journal.Prune(t.Context(), b.dir, 60, nil); err != nil {
					t.Error(err)
				}
			})
		}})
		if err != nil || len(report.Problems) > 0 {
			t.Errorf("pruned in phase %v: %v, %+v", phase, err, report)
		}
		if len(removed) == 0 {
			t.Error("nothing was pruned")
		}
		if err := trail.Close(); err != nil {
			t.Fatal(err)
		}
		b.close()
	}
}

// TestLostAfterBase: transactions that follow a base and are gone are lost, and
// not taken for pruned, though everything before them is gone too.
func TestLostAfterBase(t *testing.T) {
	b, _ := sample(t, 8)
	b.base(b.state, false)
	b.rotate(true)
	next := b.state.clone()
	for i := range 8 {
		if i == 4 {
			b.base(b.state, false)
			b.rotate(true)
		}
		next = mutated(next, byte('0'+i))
		b.commit(next, journal.Ordinary)
	}
	b.close()
	trail := openTrail(t, b.dir)
	defer trail.Close()
	if _, err := trail.Segments(); err != nil { // which it still believes to be there
		t.Fatal(err)
	}
	for _, name := range []string{"0000000000000001.seg", "0000000000000009.seg"} {
		if err := os.Remove(filepath.Join(b.dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	report, err := apply.Verify(t.Context(), trail, nil)
	if !errors.Is(err, journal.ErrGap) || len(report.Problems) != 1 || report.Problems[0].TXID != 9 {
		t.Errorf("transactions 9 to 12 are gone: %v, %+v", err, report.Problems)
	}
}

// FuzzPatches restores a trail with patches that nobody encoded: never a
// panic, and an error whenever the checksum is not by chance that of the
// outcome.
func FuzzPatches(f *testing.F) {
	var enc diff.Encoder
	for _, pages := range [][]diff.Page{
		{{No: 1, New: filled(512, 1, 'x')}},
		{{No: 1, Old: filled(512, 1, 'a'), New: filled(512, 1, 'b')}, {No: 2, Old: filled(512, 2, 'a'), New: filled(512, 1, 'a')}},
		{{No: 3, Old: make([]byte, 512), New: filled(512, 3, 'x')}},
	} {
		body, _ := enc.Encode(diff.Body{}, 512, pages)
		f.Add(body.Pages, body.Tokens, body.Literals, uint16(3))
	}
	f.Fuzz(func(t *testing.T, pages, tokens, literals []byte, count uint16) {
		count %= 512 // a database of 32 MB teaches nothing more, and takes a second
		b := newTrail(t, filepath.Join(t.TempDir(), "db-pagetrail"))
		first := image{pageSize: 512, pages: [][]byte{filled(512, 1, 'a'), filled(512, 2, 'a')}}
		b.commit(first, journal.Ordinary)
		body := diff.Body{Pages: pages, Tokens: tokens, Literals: literals}
		tx := journal.Tx{Time: start + 5000, PageSize: 512, PageCount: uint32(count), SumKnown: true}
		_, err := b.w.Add(tx, body, min(len(pages), 1), false)
		if err == nil {
			err = b.w.Flush()
		}
		if err != nil {
			t.Skip("the writer refuses it: ", err)
		}
		b.close()
		trail := openTrail(t, b.dir)
		defer trail.Close()
		var got bytes.Buffer
		_, err = apply.HydrateTo(context.Background(), trail, &got, apply.Latest(), &apply.Options{TempDir: t.TempDir()})
		if empty := count == 0; (err == nil) != empty && !(empty && errors.Is(err, journal.ErrCorrupt)) {
			t.Errorf("%d pages: %v", count, err)
		}
	})
}
