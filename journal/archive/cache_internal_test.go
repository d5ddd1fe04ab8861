package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// A large object that is read from its begin to its end costs few requests, and none of its pieces is fetched twice;
// when a request fails, whoever needs its pieces is told or asks again.
func TestAheadInRuns(t *testing.T) {
	const pieces = 20
	want := make([]byte, pieces*blockBytes-3)
	for i := range want {
		want[i] = byte(i / 1000)
	}
	store := new(mem.Store)
	if err := store.Put(t.Context(), "k", bytes.NewReader(want), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	for _, fails := range []int{0, 1, 2} {
		meter := &objstore.Meter{}
		faults := &objstore.Faults{Decide: func(i int, _ objstore.Call) objstore.Outcome {
			if fails > 0 && i == fails {
				return objstore.Refuse
			}
			return objstore.Pass
		}}
		c := &cache{store: objstore.Metered(objstore.Faulty(store, faults), meter), ctx: t.Context(), limit: pieces * blockBytes, depth: 8}
		var got []byte
		failed := 0
		for no := int64(0); no < pieces; {
			c.ahead("k", no, int64(len(want)))
			data := make([]byte, blockBytes)
			n, _, err := c.copy(data, "k", no, 0)
			if err != nil {
				if failed++; !errors.Is(err, objstore.ErrInjected) || failed > 8 {
					t.Fatal(err)
				}
				continue
			}
			got = append(got, data[:n]...)
			no++
		}
		c.fetching.Wait()
		if !bytes.Equal(got, want) {
			t.Error("other bytes")
		}
		// The second piece shows that they are read in turn, and begins a run of 8.
		if n := meter.Requests(); fails == 0 && n != 4 {
			t.Errorf("%d requests for %d pieces, want 4", n, pieces)
		}
		if fails > 0 && faults.Fired() == 0 {
			t.Error("no request failed")
		}
		if _, read := meter.Counts(); fails == 0 && read != int64(len(want)) {
			t.Errorf("%d bytes were read of %d", read, len(want))
		}
	}
}

// A piece is on its way as soon as it is to be fetched ahead, so that it costs one request however often that is said,
// and whoever reads it meanwhile; when that fails, all who wait are told, and the next asks again.
func TestAheadOnce(t *testing.T) {
	store := new(mem.Store)
	if err := store.Put(t.Context(), "k", strings.NewReader("batch"), 5); err != nil {
		t.Fatal(err)
	}
	for _, out := range []objstore.Outcome{objstore.Pass, objstore.Refuse} {
		open := make(chan struct{})
		faults := &objstore.Faults{Decide: func(i int, _ objstore.Call) objstore.Outcome {
			if <-open; i == 0 {
				return out
			}
			return objstore.Pass
		}}
		c := &cache{store: objstore.Faulty(store, faults), ctx: t.Context(), limit: blockBytes}
		for range 3 {
			if c.fetchAhead("k", 0); !c.has("k", 0) {
				t.Fatal("not on its way")
			}
		}
		b := c.blocks[blockKey{"k", 0}]
		close(open)
		if <-b.done; errors.Is(b.err, objstore.ErrInjected) != (out == objstore.Refuse) {
			t.Errorf("outcome %d: %v", out, b.err)
		}
		c.fetching.Wait()
		want := 1 + faults.Fired()
		if data, _, err := c.get("k", 0); err != nil || string(data) != "batch" || faults.Calls() != want {
			t.Errorf("outcome %d: %q, %v, %d calls, want %d", out, data, err, faults.Calls(), want)
		}
	}
}

// TestScattered reads a base here and there, and then in turn: little is fetched, and then much at a time.
func TestScattered(t *testing.T) {
	const pieces = 200
	key := "base/0000000000000001" + baseSuffix
	want := make([]byte, pieces*scatteredBytes-5)
	for i := range want {
		want[i] = byte(i / 1000)
	}
	store, meter := new(mem.Store), &objstore.Meter{}
	if err := store.Put(t.Context(), key, bytes.NewReader(want), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	c := &cache{store: objstore.Metered(store, meter), ctx: t.Context(), limit: int64(len(want)), depth: 4, scattered: true}
	o := &object{cache: c, key: key, size: int64(len(want))}
	got := make([]byte, 100_000)
	for _, off := range []int64{17 * scatteredBytes, 18*scatteredBytes - 50_000, 90 * scatteredBytes} { // the second reaches over two pieces
		if n, err := o.ReadAt(got, off); err != nil || !bytes.Equal(got[:n], want[off:off+int64(n)]) {
			t.Fatal(n, err)
		}
	}
	c.fetching.Wait()
	if _, read := meter.Counts(); read != 3*scatteredBytes {
		t.Errorf("%d bytes were fetched for three places", read)
	}
	for off := 0; off < len(want); off += len(got) {
		n, err := o.ReadAt(got, int64(off))
		if err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], want[off:off+n]) {
			t.Fatal(off, n, err)
		}
	}
	c.fetching.Wait()
	if n, most := meter.Requests(), 3+8+pieces/32+4; n > int64(most) {
		t.Errorf("%d requests for all of it, want %d at most", n, most)
	}
}
