package ship_test

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// A batch that does not fit into memory goes through a file, which is gone afterwards.
func TestLargeBatch(t *testing.T) {
	p, s := newPrimary(t, 30), new(mem.Store)
	p.commit(3)
	for range 12000 { // 6 MB that do not compress
		p.pages = append(p.pages, make([]byte, pageSize))
		for j := 0; j < pageSize; j += 8 {
			binary.LittleEndian.PutUint64(p.pages[len(p.pages)-1][j:], p.rnd.Uint64())
		}
	}
	var pages []diff.Page
	for i := range p.pages {
		pages = append(pages, diff.Page{No: uint32(i + 1), New: p.pages[i]})
	}
	for len(pages) > 4000 {
		body, n := p.enc.Encode(diff.Body{}, pageSize, pages[:4000])
		p.check(p.w.AddPart(body, n))
		pages = pages[4000:]
	}
	body, n := p.enc.Encode(diff.Body{}, pageSize, pages)
	p.add(body, n, journal.Ordinary)
	p.commit(3)
	temp := t.TempDir()
	r, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, TempDir: temp})
	if err != nil || r.Batches != 2 || r.Bytes < 12000*pageSize {
		t.Errorf("shipped %+v, %v", r, err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	p.checkArchive(s, p.last(), sample(4))
}
