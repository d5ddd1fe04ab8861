package sqlitefile_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// TestWALWriteIsRead writes logs of every page size and reads them back with
// the scanner, which tests elsewhere hold against the C library's files.
func TestWALWriteIsRead(t *testing.T) {
	for size := sqlitefile.MinPageSize; size <= sqlitefile.MaxPageSize; size *= 2 {
		h := sqlitefile.NewWALHeader(size, 7, [2]uint32{1, 0xFFFFFFFF})
		log := h.Append(nil)
		if got, err := sqlitefile.ParseWALHeader(log); err != nil || got != h {
			t.Fatalf("page size %d: header %+v, want %+v: %v", size, got, h, err)
		}
		sum := h.Checksum
		page := make([]byte, size)
		for n := range uint32(5) {
			page[n] = byte(n + 1)
			log, sum = h.AppendFrame(log, n+1, n/4*9, page, sum)
		}
		scan := sqlitefile.NewWALScanner(bytes.NewReader(log), h)
		for n := range uint32(5) {
			got, f, content, err := scan.Next(10)
			if err != nil || got != n+1 || f.Page != n+1 || f.Commit != n/4*9 || content[n] != byte(n+1) {
				t.Fatalf("page size %d: frame %d is %d %+v: %v", size, n+1, got, f, err)
			}
		}
		if _, _, _, err := scan.Next(10); err != io.EOF {
			t.Fatalf("page size %d: after the last frame: %v", size, err)
		}
	}
}

func TestIndexHeaderIsRead(t *testing.T) {
	for _, size := range []int{512, 4096, 65536} {
		h := sqlitefile.IndexHeader{
			Change: 3, PageSize: size, MxFrame: 77, PageCount: 12, FrameChecksum: [2]uint32{5, 6}, Salt: [2]uint32{8, 9},
		}
		b := make([]byte, sqlitefile.IndexHeaderSize)
		h.PutCopy(b)
		if _, ok := sqlitefile.ParseIndexHeader(b); ok {
			t.Fatal("a header with one copy is accepted")
		}
		h.PutCopy(b[sqlitefile.IndexCopySize:])
		if got, ok := sqlitefile.ParseIndexHeader(b); !ok || got != h {
			t.Fatalf("page size %d: %+v, want %+v", size, got, h)
		}
	}
}

// TestIndexRegions appends, cuts and rebuilds at random and compares every
// lookup with a list of pages.
func TestIndexRegions(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const regions = 3
	mem := make([]byte, regions*sqlitefile.IndexRegionSize)
	region := func(i int) sqlitefile.IndexRegion {
		return sqlitefile.NewIndexRegion(i, mem[i*sqlitefile.IndexRegionSize:])
	}
	var pages []uint32
	for range 40_000 {
		switch {
		case len(pages) == 4062+2*4096 || r.IntN(3000) == 0: // a writer that died left frames
			pages = pages[:r.IntN(len(pages)+1)]
		default:
			no := uint32(r.IntN(600) + 1)
			if r.IntN(8) == 0 {
				no = 0xFFFFFFFF
			}
			pages = append(pages, no)
			i, slot := sqlitefile.IndexRegionOf(uint32(len(pages)))
			region(i).Append(slot, no)
		}
	}
	find := func(no uint32) uint32 {
		last, slot := sqlitefile.IndexRegionOf(uint32(len(pages)))
		base := []uint32{0, 4062, 4062 + 4096}
		for i := last; i >= 0; i-- {
			limit := uint32(4096)
			if i == last {
				limit = slot
			}
			if s := region(i).Find(no, limit); s != 0 {
				return base[i] + s
			}
		}
		return 0
	}
	check := func(what string) {
		want := map[uint32]uint32{}
		for i, no := range pages {
			want[no] = uint32(i + 1)
		}
		for no := range uint32(700) {
			if got := find(no + 1); got != want[no+1] {
				t.Fatalf("%s: page %d is in frame %d, want %d", what, no+1, got, want[no+1])
			}
		}
		if got := find(0xFFFFFFFF); got != want[0xFFFFFFFF] {
			t.Fatalf("%s: the largest page number is in frame %d, want %d", what, got, want[0xFFFFFFFF])
		}
	}
	check("appended")
	first, rest := pages[:min(4062, len(pages))], pages[min(4062, len(pages)):]
	region(0).Build(first)
	region(1).Build(rest[:min(4096, len(rest))])
	region(2).Build(rest[min(4096, len(rest)):])
	check("built")
}
