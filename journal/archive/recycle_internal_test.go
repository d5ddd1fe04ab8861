package archive

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// What is read stays what the object says while the memory of pieces goes around between readers, in a cache that holds
// one piece, so that each lets go what others are reading.
func TestMemoryIsUsedAgain(t *testing.T) {
	const pieces, readers = 6, 4
	store := new(mem.Store)
	var want [readers][]byte
	for r := range readers {
		want[r] = bytes.Repeat([]byte{byte('a' + r)}, pieces*blockBytes-r)
		for i := range pieces {
			want[r][i*blockBytes] = byte(i)
		}
		if err := store.Put(t.Context(), fmt.Sprint(r), bytes.NewReader(want[r]), int64(len(want[r]))); err != nil {
			t.Fatal(err)
		}
	}
	c := &cache{store: store, ctx: t.Context(), limit: 1, depth: 2}
	kept, _, err := c.get("0", 0)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 2 * readers {
		wg.Go(func() {
			r := i % readers
			o := object{cache: c, key: fmt.Sprint(r), size: int64(len(want[r]))}
			got := make([]byte, len(want[r]))
			if _, err := o.ReadAt(got, 0); err != nil || !bytes.Equal(got, want[r]) {
				t.Errorf("object %d: other bytes, or %v", r, err)
			}
		})
	}
	wg.Wait()
	c.fetching.Wait()
	if !bytes.Equal(kept, want[0][:blockBytes]) {
		t.Error("a piece that was kept has other bytes")
	}
	if len(c.spare) == 0 || len(c.spare) > spareBlocks {
		t.Errorf("%d pieces of memory are spare, want 1 to %d", len(c.spare), spareBlocks)
	}
}
