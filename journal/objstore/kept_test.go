package objstore_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// TestKept reads parts of an object, some of them not to their end, and asks the store beneath for nothing that it had.
func TestKept(t *testing.T) {
	const size = 1000
	content := make([]byte, size)
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(rnd.Uint32())
	}
	for range 100 {
		meter := new(objstore.Meter)
		s := objstore.Kept(objstore.Metered(new(mem.Store), meter), t.TempDir())
		if err := s.Put(t.Context(), "k", bytes.NewReader(content), size); err != nil {
			t.Fatal(err)
		}
		var had [size]bool
		for range 20 {
			off, n := rnd.Int64N(size+10), rnd.Int64N(300)-1
			end := min(off+n, size)
			if n < 0 {
				end = size
			}
			want := content[min(off, size):max(end, min(off, size))]
			known := meter.Requests() > 1
			for i := range want {
				known = known && had[off+int64(i)]
			}
			before := meter.Requests()
			body, whole, err := s.Get(t.Context(), "k", off, n)
			if err != nil || whole != size {
				t.Fatalf("%d bytes at %d: an object of %d bytes, %v", n, off, whole, err)
			}
			read := int64(len(want))
			if rnd.IntN(3) == 0 {
				read = rnd.Int64N(read + 1)
			}
			got, err := io.ReadAll(io.LimitReader(body, read))
			if err != nil || !bytes.Equal(got, want[:read]) {
				t.Fatalf("%d of %d bytes at %d: %d bytes, or others (%v)", read, n, off, len(got), err)
			}
			if err := body.Close(); err != nil {
				t.Fatal(err)
			}
			for i := range read {
				had[off+i] = true
			}
			if asked := meter.Requests() > before; asked == known {
				t.Fatalf("%d bytes at %d: known %v, asked %v", n, off, known, asked)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
