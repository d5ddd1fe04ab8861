package journal_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TestBoundary asks of trails of all shapes, after many of their transactions, where a
// batch may begin for somebody who has that much; the batch must be sound, hold
// the next transaction, and in a tail not more than is needed.
func TestBoundary(t *testing.T) {
	for seed := range uint64(8) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		w, dir := newWriter(t)
		for range 15 {
			step(t, rnd, w, dir)
		}
		add(t, w, 1)
		flush(t, w)
		tr := openTrail(t, dir)
		last, err := tr.Last()
		if err != nil {
			t.Fatal(err)
		}
		tail := tr.Tail().First
		temp := filepath.Join(t.TempDir(), "batch")
		for id := range last.TXID {
			if rnd.IntN(1+int(last.TXID)/40) > 0 {
				continue
			}
			prev, err := tr.Boundary(t.Context(), id)
			if err != nil {
				t.Fatalf("seed %d, after %d: %v", seed, id, err)
			}
			if prev.Last > id || id >= tail-1 && prev.Last != id {
				t.Fatalf("seed %d, after %d of %d with the tail from %d: boundary %d", seed, id, last.TXID, tail, prev.Last)
			}
			f, err := durable.OS.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			b, err := tr.WriteBatch(t.Context(), f, &prev, 0, nil)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatalf("seed %d, after %d: %v", seed, id, err)
			}
			s, err := journal.NewSegmentReader(bytes.NewReader(readFile(t, temp)), b.Size, "batch")
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(t.Context()); err != nil || s.Info().Last != last.TXID || s.Before().TXID != prev.Last {
				t.Fatalf("seed %d, after %d: batch %+v: %v", seed, id, s.Info(), err)
			}
		}
		if prev, err := tr.Boundary(t.Context(), last.TXID); err != nil || prev.Last != last.TXID {
			t.Errorf("seed %d, at the end, %d: %d, %v", seed, last.TXID, prev.Last, err)
		}
		if _, err := tr.Boundary(t.Context(), last.TXID+1); !errors.Is(err, journal.ErrRange) {
			t.Errorf("seed %d, beyond the end: %v", seed, err)
		}
	}
}

// TestBytes: a sealed segment and a base are their files.
func TestBytes(t *testing.T) {
	w, dir := newWriter(t)
	for range 10 {
		add(t, w, 1)
	}
	flush(t, w)
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Seal(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	s, err := openTrail(t, dir).OpenSegment(1)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	got, err := io.ReadAll(s.Bytes())
	if err != nil || !bytes.Equal(got, readFile(t, filepath.Join(dir, "0000000000000001.seg"))) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}
