package capture

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

func newTable(t *testing.T) (*table, string) {
	t.Helper()
	dir := t.TempDir()
	tab, err := openTable(durable.OS, dir, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tab.close() })
	return tab, dir
}

// TestTableKeepsWhatWasSet sets pages in more chunks than are held in memory,
// in random order, and reads them through a second table.
func TestTableKeepsWhatWasSet(t *testing.T) {
	tab, dir := newTable(t)
	const pages = (chunksMax + 3) * chunkPages
	r := rand.New(rand.NewPCG(1, 2))
	want := map[uint32]diff.Sum{}
	var sum diff.Sum
	for range 20000 {
		no := r.Uint32N(pages) + 1
		s := diff.Sum{Hi: r.Uint64(), Lo: r.Uint64()}
		sum = sum.Sub(want[no]).Add(s)
		want[no] = s
		if err := tab.set(no, s); err != nil {
			t.Fatal(err)
		}
	}
	tx := journal.Tx{TXID: 7, PageSize: 512, PageCount: pages, Sum: sum, Origin: journal.Origin{
		WAL: true, Salt: [2]uint32{1, 2}, Frame: 3, Checksum: [2]uint32{4, 5}, ChangeCounter: 6,
	}}
	if err := tab.flush(tx); err != nil {
		t.Fatal(err)
	}
	again, err := openTable(durable.OS, dir, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer again.close()
	if !again.describes(tx) || again.stamp.Origin != tx.Origin {
		t.Fatalf("stamp %+v", again.stamp)
	}
	for no, s := range want {
		if got, err := again.get(no); err != nil || got != s {
			t.Fatalf("page %d: %v, %v, want %v", no, got, err, s)
		}
	}
	if got, err := again.total(); err != nil || got != sum {
		t.Fatalf("total %v, %v, want %v", got, err, sum)
	}
	if err := again.set(5, diff.Sum{Lo: 1}); err != nil {
		t.Fatal(err)
	}
	if got, _ := again.total(); got == sum {
		t.Fatal("the total does not see a changed entry")
	}
}

// TestTableRefusesDamagedStamp flips each byte of the stamp.
func TestTableRefusesDamagedStamp(t *testing.T) {
	tab, dir := newTable(t)
	tx := journal.Tx{TXID: 9, PageSize: 4096, PageCount: 2, Sum: diff.Sum{Lo: 3}}
	if err := tab.flush(tx); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, tableName)
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for i := range tableHeader {
		bad := append([]byte(nil), good...)
		bad[i] ^= 0x10
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := tab.reload(); err != nil {
			t.Fatal(err)
		}
		if tab.describes(tx) {
			t.Fatalf("a stamp with byte %d changed was believed", i)
		}
	}
	for _, n := range []int64{0, 1, tableHeader - 1} {
		if err := os.Truncate(name, n); err != nil {
			t.Fatal(err)
		}
		if err := tab.reload(); err != nil || tab.valid {
			t.Fatalf("a table of %d bytes: valid=%v, %v", n, tab.valid, err)
		}
	}
}

// TestPreimagesSpill keeps more than fits the memory.
func TestPreimagesSpill(t *testing.T) {
	dir := t.TempDir()
	p := preimages{most: memMax}
	const size = 65536
	page := make([]byte, size)
	const pages = memMax/size + 10
	for no := uint32(1); no <= pages; no++ {
		page[0], page[size-1] = byte(no), byte(no>>8)
		p.keep(no, page, durable.OS, dir, 0o600)
	}
	if p.end == 0 {
		t.Fatal("nothing was spilled")
	}
	p.lost(pages + 5)
	p.lost(3) // known already
	for no := uint32(1); no <= pages; no++ {
		if !p.read(no, page) || page[0] != byte(no) || page[size-1] != byte(no>>8) {
			t.Fatalf("page %d: %x", no, page[0])
		}
	}
	if p.read(pages+5, page) || !p.has(pages+5) {
		t.Fatal("a lost page was read")
	}
	if got := p.pages(nil, pages+4, 7); len(got) != pages-1 || got[5] != 6 || got[6] != 8 {
		t.Fatalf("%d pages, %v", len(got), got[:8])
	}
	p.reset()
	if p.has(1) {
		t.Fatal("reset kept a page")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 0 {
		t.Fatalf("left behind: %v, %v", left, err)
	}
}
