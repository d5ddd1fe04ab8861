package journal_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// TestGroupSizes flushes groups of sizes at the edges of blocks, and bodies at the edges of a block's bytes.
func TestGroupSizes(t *testing.T) {
	for _, n := range []int{0, 1, 2, 4095, 4096, 4097, 8193} {
		w, dir := newWriter(t)
		add(t, w, n)
		flush(t, w)
		wantLast(t, openTrail(t, dir), journal.TXID(n))
		w.Close()
	}
	for _, n := range []int{0, 1, 31, 32, 33, 1<<20 - 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		w, dir := newWriter(t)
		body := diff.Body{Pages: []byte{1}, Tokens: []byte("t"), Literals: bytes.Repeat([]byte{7}, n)}
		for range 3 {
			if _, err := w.Add(journal.Tx{PageSize: 512}, body, 1, false); err != nil {
				t.Fatal(err)
			}
		}
		flush(t, w)
		for r, err := range openTrail(t, dir).Records(t.Context(), 1) {
			if err != nil {
				t.Fatal(err)
			}
			for b, err := range r.Groups() {
				if err != nil || !bytes.Equal(b.Literals, body.Literals) || string(b.Tokens) != "t" {
					t.Fatalf("%d bytes of literals, read %d: %v", n, len(b.Literals), err)
				}
			}
		}
		w.Close()
	}
}

// TestRefused gives Add what the format cannot hold.
func TestRefused(t *testing.T) {
	w, dir := newWriter(t)
	good := journal.Tx{PageSize: 512, PageCount: 1}
	change := func(f func(*journal.Tx)) journal.Tx { tx := good; f(&tx); return tx }
	body := patch(1, 1)
	for i, c := range []struct {
		tx    journal.Tx
		body  diff.Body
		pages int
	}{
		{change(func(tx *journal.Tx) { tx.PageSize = 0 }), body, 1},
		{change(func(tx *journal.Tx) { tx.PageSize = 256 }), body, 1},
		{change(func(tx *journal.Tx) { tx.PageSize = 1000 }), body, 1},
		{change(func(tx *journal.Tx) { tx.PageSize = 131072 }), body, 1},
		{change(func(tx *journal.Tx) { tx.PageSize = -512 }), body, 1},
		{change(func(tx *journal.Tx) { tx.PageCount = math.MaxUint32 }), body, 1},
		{change(func(tx *journal.Tx) { tx.Kind = 4 }), body, 1},
		{change(func(tx *journal.Tx) { tx.Kind = journal.Base }), body, 1},
		{change(func(tx *journal.Tx) { tx.Note = strings.Repeat("n", 4097) }), body, 1},
		{change(func(tx *journal.Tx) { tx.Super = strings.Repeat("s", 4097) }), body, 1},
		{change(func(tx *journal.Tx) { tx.Origin.Frame = 3 }), body, 1},
		{good, body, 0},
		{good, body, -1},
		{good, diff.Body{}, 1},
		{good, diff.Body{Pages: []byte{1}, Literals: make([]byte, 32<<20)}, 1},
	} {
		if _, err := w.Add(c.tx, c.body, c.pages, false); !errors.Is(err, journal.ErrRange) {
			t.Errorf("case %d: %v", i, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("n", 256), "a\nb", "\xff", "a\x1f", "\x7f", "\u0085", "\u2028", "a\u202eb", "\u2069"} {
		if _, err := w.AddPoint(name, 1); !errors.Is(err, journal.ErrRange) {
			t.Errorf("point %q: %v", name, err)
		}
	}
	longest := change(func(tx *journal.Tx) {
		tx.Note, tx.Super, tx.PageCount, tx.PageSize = strings.Repeat("n", 4096), strings.Repeat("s", 4096), math.MaxUint32-1, 65536
	})
	if _, err := w.Add(longest, body, 1, false); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	tx, err := openTrail(t, dir).Find(t.Context(), 1)
	if err != nil || tx.Note != longest.Note || tx.Super != longest.Super || tx.PageCount != longest.PageCount {
		t.Fatal(tx.PageCount, err)
	}
}

// TestTimes: they never go back, and the moment asked for finds the last transaction at or before it.
func TestTimes(t *testing.T) {
	w, dir := newWriter(t)
	want := map[journal.TXID]journal.Time{1: 100, 2: 101, 3: 102, 4: 500, 5: 501}
	for id, at := range []journal.Time{100, 50, 102, 500, 500} {
		tx, err := w.Add(journal.Tx{Time: at, PageSize: 512}, diff.Body{}, 0, false)
		if err != nil || tx.Time != want[journal.TXID(id+1)] {
			t.Fatal(tx, err)
		}
		if id == 2 {
			rotate(t, w)
		}
	}
	flush(t, w)
	check := func() {
		t.Helper()
		tr := openTrail(t, dir)
		for at, id := range map[journal.Time]journal.TXID{-5: 0, 0: 0, 99: 0, 100: 1, 101: 2, 102: 3, 103: 3, 499: 3, 500: 4, 501: 5, 9999: 5} {
			tx, next, err := tr.FindTime(t.Context(), at)
			if err != nil || tx.TXID != id || (next == nil) != (id == 5) || next != nil && next.TXID != id+1 {
				t.Fatalf("at %d: %d and %+v, want %d (%v)", at, tx.TXID, next, id, err)
			}
		}
	}
	check()
	seal(t, dir, 1)
	check()
	rotate(t, w)
	check()
	seal(t, dir, 1)
	check()
}

// oddReader gives what iotest's readers give: io.EOF together with the last bytes, and none when there is no need.
type oddReader struct {
	data []byte
	eof  bool // with the last bytes
}

func (r oddReader) ReadAt(b []byte, off int64) (int, error) {
	if off >= int64(len(r.data)) {
		return 0, io.EOF
	}
	n := copy(b, r.data[off:])
	if n < len(b) || r.eof && off+int64(n) == int64(len(r.data)) {
		return n, io.EOF
	}
	return n, nil
}

// failingReader fails from a position on.
type failingReader struct {
	oddReader
	from int64
}

func (r failingReader) ReadAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > r.from {
		return 0, errFault
	}
	return r.oddReader.ReadAt(b, off)
}

func TestSegmentReader(t *testing.T) {
	_, dir := rotated(t, 2, 250)
	for _, sealed := range []bool{false, true} {
		if sealed {
			seal(t, dir, 2)
		}
		data := readFile(t, filepath.Join(dir, firstSegment))
		for _, eof := range []bool{false, true} {
			s, err := journal.NewSegmentReader(oddReader{data, eof}, int64(len(data)), "it")
			if err != nil {
				t.Fatal(err)
			}
			info := s.Info()
			if info.First != 1 || info.Last != 250 || info.Sealed != sealed || info.FirstTime != 1000 || info.LastTime != 250_000 || info.RawBytes == 0 {
				t.Fatalf("%+v", info)
			}
			if s.Before().TXID != 0 || s.After().TXID != 250 || s.After().Sum != sumOf(250) || len(s.Points()) != 1 || s.Torn() != nil {
				t.Fatal(s.Before(), s.After(), s.Points(), s.Torn())
			}
			if err := s.Verify(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, from := range []journal.TXID{0, 1, 99, 100, 101, 249, 250, 251} {
				next := max(from, 1)
				for r, err := range s.Records(t.Context(), from) {
					if err != nil || r.TXID != next {
						t.Fatalf("%d, want %d: %v", r.TXID, next, err)
					}
					next++
				}
				if next != 251 {
					t.Fatalf("from %d to %d", from, next-1)
				}
			}
			if sealed {
				checkBlocks(t, s)
			}
		}
		checkFailing(t, data)
	}
}

// checkFailing lets reads fail at every position: the error comes through, and is not called damage.
func checkFailing(t *testing.T, data []byte) {
	t.Helper()
	for from := int64(0); from < int64(len(data)); from += 97 {
		s, err := journal.NewSegmentReader(failingReader{oddReader{data: data}, from}, int64(len(data)), "it")
		if err == nil {
			err = s.Verify(t.Context())
		}
		if !errors.Is(err, errFault) || errors.Is(err, journal.ErrCorrupt) {
			t.Fatalf("reads fail from %d on: %v", from, err)
		}
	}
}

// checkBlocks compares a sealed segment's page index with its records.
func checkBlocks(t *testing.T, s *journal.SegmentReader) {
	t.Helper()
	blocks := s.Blocks()
	if len(blocks) != 3 || blocks[0].First != 1 || blocks[2].Last != 250 {
		t.Fatalf("%+v", blocks)
	}
	for page := uint32(0); page < 10; page++ {
		got, indexed, err := s.BlocksOf(page)
		if err != nil || !indexed {
			t.Fatal(indexed, err)
		}
		var want []uint32
		for i, b := range blocks {
			for id := b.First; id <= b.Last; id++ {
				if uint32(id%7)+1 == page {
					want = append(want, uint32(i))
					break
				}
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("page %d is in blocks %v, want %v", page, got, want)
		}
	}
}

// TestBaseSizes writes bases of sizes at the edges of blocks, in odd steps.
func TestBaseSizes(t *testing.T) {
	for _, pageSize := range []int{512, 65536} {
		block := 256 << 10 / pageSize
		for _, n := range []int{0, 1, block - 1, block, block + 1, 2 * block, 2*block + 3} {
			for _, step := range []int{1, 3, 1000} {
				testBase(t, pageSize, n, step)
			}
		}
	}
}

func testBase(t *testing.T, pageSize, n, step int) {
	w, dir := newWriter(t)
	defer w.Close()
	b, err := w.CreateBase(pageSize, uint32(n), 1, true)
	if err != nil {
		t.Fatal(err)
	}
	pages := make([]byte, n*pageSize)
	for i := range n {
		pages[i*pageSize+i%pageSize] = byte(i + 1)
	}
	for i := 0; i < n; i += step {
		if i > 0 {
			if err := b.WritePages(uint32(i), pages[:pageSize]); !errors.Is(err, journal.ErrRange) {
				t.Fatalf("a page twice: %v", err)
			}
		}
		if err := b.WritePages(uint32(i+1), pages[i*pageSize:min(i+step, n)*pageSize]); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.WritePages(uint32(n+1), make([]byte, pageSize)); !errors.Is(err, journal.ErrRange) {
		t.Fatalf("a page too many: %v", err)
	}
	info, err := b.Commit()
	if err != nil {
		t.Fatal(err)
	}
	data := readFile(t, filepath.Join(dir, info.Name))
	r, err := journal.NewBaseReader(oddReader{data, true}, int64(len(data)), info.Name)
	if err != nil || r.Info() != info {
		t.Fatal(r, err)
	}
	var got []byte
	for i := range r.Blocks() {
		first, p, err := r.ReadBlock(i, nil)
		if err != nil || int(first) != len(got)/pageSize+1 || r.BlockOf(first) != i {
			t.Fatal(first, err)
		}
		got = append(got, p...)
	}
	if !bytes.Equal(got, pages) || r.BlockOf(0) != -1 || r.BlockOf(uint32(n+1)) != -1 {
		t.Fatalf("%d pages of %d differ", n, pageSize)
	}
}

// TestBaseLeavesNothing: a base that is aborted or incomplete leaves no file, and one that is not the state of its
// transaction is refused.
func TestBaseLeavesNothing(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	count := func() int {
		names, err := filepath.Glob(filepath.Join(dir, "*.base*"))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	last := w.Last()
	for i := range 4 {
		b, err := w.CreateBase(512, last.PageCount, 0, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.CreateBase(512, last.PageCount, 0, false); !errors.Is(err, journal.ErrLocked) {
			t.Fatalf("two bases at once: %v", err)
		}
		if i > 1 {
			if err := b.WritePages(1, make([]byte, 512*int(last.PageCount))); err != nil {
				t.Fatal(err)
			}
		}
		switch i {
		case 0:
			b.Abort()
		case 1, 2:
			if _, err := b.Commit(); err == nil {
				t.Fatal("committed")
			} else if want := []error{journal.ErrRange, journal.ErrDiverged}[i-1]; !errors.Is(err, want) {
				t.Fatalf("%v, want %v", err, want)
			}
		case 3:
			defer b.Abort()
			if err := os.WriteFile(filepath.Join(dir, "0000000000000001.base.writing"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			b.Abort()
		}
		if n := count(); n != 0 {
			t.Fatalf("%d files left behind", n)
		}
	}
	if _, err := w.CreateBase(512, last.PageCount+1, 0, false); !errors.Is(err, journal.ErrDiverged) {
		t.Fatalf("a base of another size: %v", err)
	}
}

// TestStaleBase: a base whose record was never written is removed before its TXID is used otherwise, and not seen
// meanwhile.
func TestStaleBase(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 2)
	flush(t, w)
	b, err := w.CreateBase(512, 1, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.WritePages(1, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	w.Close() // instead of adding the record
	tr := openTrail(t, dir)
	if bases, err := tr.Bases(); err != nil || len(bases) != 0 {
		t.Fatal(bases, err)
	}
	if _, err := tr.OpenBase(3); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
	keep := readFile(t, filepath.Join(dir, "0000000000000003.base"))
	w = lockedWriter(t, dir)
	add(t, w, 1)
	flush(t, w)
	if _, err := os.Stat(filepath.Join(dir, "0000000000000003.base")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the base is still there: %v", err)
	}
	writeFile(t, filepath.Join(dir, "0000000000000003.base"), keep) // as if a live writer had not looked
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := tr.OpenBase(3); !errors.Is(err, journal.ErrDiverged) {
		t.Fatal(err)
	}
	if _, err := tr.Verify(t.Context(), nil); !errors.Is(err, journal.ErrDiverged) {
		t.Fatal(err)
	}
}

// TestBaseLockPage writes bases that end before, with and after the lock-byte page at 1 GiB.
func TestBaseLockPage(t *testing.T) {
	if testing.Short() {
		t.Skip("3 GiB of zeros")
	}
	const pageSize, lock = 65536, 16385
	zeros := make([]byte, 1024*pageSize)
	for _, n := range []uint32{lock - 1, lock, lock + 3} {
		w, dir := newWriter(t)
		b, err := w.CreateBase(pageSize, n, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		for at := uint32(1); at < lock; at += 1024 {
			if err := b.WritePages(at, zeros); err != nil {
				t.Fatal(err)
			}
		}
		if n > lock {
			if err := b.WritePages(lock, zeros[:pageSize]); !errors.Is(err, journal.ErrRange) {
				t.Fatalf("the lock-byte page: %v", err)
			}
			if err := b.WritePages(lock+1, zeros[:3*pageSize]); err != nil {
				t.Fatal(err)
			}
		}
		info, err := b.Commit()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add(journal.Tx{Kind: journal.Base, PageSize: pageSize, PageCount: n, Sum: info.Sum}, diff.Body{}, 0, false); err != nil {
			t.Fatal(err)
		}
		flush(t, w)
		tr := openTrail(t, dir)
		if _, err := tr.Verify(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		r, err := tr.OpenBase(1)
		if err != nil {
			t.Fatal(err)
		}
		if r.BlockOf(lock) != -1 || r.BlockOf(lock-1) == -1 || (r.BlockOf(lock+1) != -1) != (n > lock) {
			t.Fatal("the lock-byte page is in a block, or its neighbours are not")
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
}
