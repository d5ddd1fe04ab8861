package durable_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// TestSpool writes here and there, across the limit of the memory too, and compares with a slice. Memory that another
// spool had shows nothing of what was in it.
func TestSpool(t *testing.T) {
	const memory = 1 << 12
	rnd := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		s := durable.NewSpool(durable.OS, t.TempDir(), memory)
		if round%2 > 0 {
			s = durable.NewBriefSpool(durable.OS, t.TempDir(), memory)
		}
		var want []byte
		for range rnd.IntN(20) {
			off, p := rnd.IntN(len(want)+100), bytes.Repeat([]byte{byte(1 + rnd.IntN(255))}, 1+rnd.IntN(memory/4))
			if rnd.IntN(2) > 0 {
				off = len(want)
			}
			if end := off + len(p); end > len(want) {
				want = append(want, make([]byte, end-len(want))...)
			}
			copy(want[off:], p)
			if n, err := s.WriteAt(p, int64(off)); n != len(p) || err != nil {
				t.Fatalf("write of %d bytes at %d: %d, %v", len(p), off, n, err)
			}
		}
		if size, err := s.Size(); size != int64(len(want)) || err != nil {
			t.Fatalf("size %d (%v) of %d bytes", size, err, len(want))
		}
		got, err := io.ReadAll(io.NewSectionReader(s, 0, 1<<20))
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("round %d: %d bytes (%v), want %d, or other ones", round, len(got), err, len(want))
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
