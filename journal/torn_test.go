package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// copyTrail copies a trail's files to a new directory.
func copyTrail(t testing.TB, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t testing.TB, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// smallTail is a tail of all kinds of blocks, never synced, the last TXID after each of its sizes, and where its group
// block begins and ends.
func smallTail(t testing.TB) (dir string, lastAt map[int64]journal.TXID, undecidedAt map[int64]bool, groups [2]int64) {
	w, dir := newWriter(t)
	lastAt, undecidedAt = map[int64]journal.TXID{}, map[int64]bool{}
	note := func() { lastAt[w.Size()] = w.Last().TXID }
	note()
	add(t, w, 1)
	flush(t, w)
	note()
	add(t, w, 3)
	flush(t, w)
	note()
	prepare(t, w)
	flush(t, w)
	lastAt[w.Size()] = w.Last().TXID - 1
	undecidedAt[w.Size()] = true
	if err := w.Confirm(); err != nil {
		t.Fatal(err)
	}
	note()
	if _, err := w.AddPoint("here", 1); err != nil {
		t.Fatal(err)
	}
	note()
	groups[0] = w.Size()
	if err := w.AddPart(patch(9, 9), 1); err != nil {
		t.Fatal(err)
	}
	fi, err := os.Stat(filepath.Join(dir, firstSegment))
	if err != nil {
		t.Fatal(err)
	}
	groups[1] = fi.Size()
	add(t, w, 1)
	flush(t, w)
	note()
	w.Close()
	return dir, lastAt, undecidedAt, groups
}

const firstSegment = "0000000000000001.seg"

// TestEveryTruncation cuts a tail at every byte: what is whole before it is read, the rest is reported as torn,
// and the next writer repairs it, keeping what it cut.
func TestEveryTruncation(t *testing.T) {
	dir, lastAt, undecidedAt, groups := smallTail(t)
	work := copyTrail(t, dir)
	path := filepath.Join(work, firstSegment)
	whole := readFile(t, path)
	last, end := journal.TXID(0), int64(128)
	for n := int64(128); n <= int64(len(whole)); n++ {
		writeFile(t, path, whole[:n])
		if id, ok := lastAt[n]; ok {
			last, end = id, n
		}
		tr := openTrail(t, work)
		if got, _ := tr.Last(); got.TXID != last {
			t.Fatalf("cut at %d: last is %d, want %d", n, got.TXID, last)
		}
		e := tr.Torn()
		if (e != nil) != (n != end) {
			t.Fatalf("cut at %d of whole blocks to %d: torn %v", n, end, e)
		}
		if e != nil && (!errors.Is(e, journal.ErrTorn) || e.Offset != end || e.TXID == 0 || e.Path != path || e.Hint == "") {
			t.Fatalf("cut at %d: %+v", n, e)
		}
		verify(t, tr)
		tr.Close()
		cut := whole[end:n]
		if end == groups[0] && n >= groups[1] { // whole groups are not kept
			cut = whole[groups[1]:n]
		}
		checkRepair(t, work, path, cut, last, undecidedAt[end])
	}
}

// checkRepair takes the writer lock, looks that the tail was cut and what was cut kept, and appends.
func checkRepair(t *testing.T, dir, path string, cut []byte, last journal.TXID, undecided bool) {
	t.Helper()
	w := lockedWriter(t, dir)
	defer w.Close()
	if w.Prepared() != undecided {
		t.Fatalf("prepared %v, want %v", w.Prepared(), undecided)
	}
	if undecided {
		if err := w.Drop(); err != nil {
			t.Fatal(err)
		}
	}
	if w.Last().TXID != last {
		t.Fatalf("writer's last is %d, want %d", w.Last().TXID, last)
	}
	kept, err := filepath.Glob(filepath.Join(dir, "torn-*"))
	if err != nil || (len(kept) == 1) != (len(cut) > 0) {
		t.Fatal(kept, err)
	}
	for _, name := range kept {
		if !bytes.Equal(readFile(t, name), cut) {
			t.Fatalf("%s does not hold what was cut", name)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	add(t, w, 1)
	flush(t, w)
	if got, _ := openTrail(t, dir).Last(); got.TXID != last+1 {
		t.Fatalf("after the repair: last is %d, want %d", got.TXID, last+1)
	}
}

// TestGarbageAfterPrefix puts bytes that are no block behind each whole block.
func TestGarbageAfterPrefix(t *testing.T) {
	dir, lastAt, _, _ := smallTail(t)
	path := filepath.Join(dir, firstSegment)
	whole := readFile(t, path)
	for n, last := range lastAt {
		for _, garbage := range [][]byte{{0}, make([]byte, 31), make([]byte, 32), make([]byte, 500), bytes.Repeat([]byte("T\x00\x00\x00\x10"), 100)} {
			writeFile(t, path, append(bytes.Clone(whole[:n]), garbage...))
			tr := openTrail(t, dir)
			if got, _ := tr.Last(); got.TXID != last || tr.Torn() == nil {
				t.Fatalf("after %d bytes: last is %d, want %d; torn %v", n, got.TXID, last, tr.Torn())
			}
			tr.Close()
		}
	}
}

// TestFlipInTail flips each bit of a tail of three blocks, the first two of which a later block knows to be
// durable. In those it is corruption, in the third a torn tail.
func TestFlipInTail(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	add(t, w, 2)
	flush(t, w)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	synced := w.Size()
	add(t, w, 1)
	flush(t, w)
	unsynced := w.Size()
	add(t, w, 1) // says that the file was durable up to synced
	flush(t, w)
	w.Close()
	path := filepath.Join(dir, firstSegment)
	whole := readFile(t, path)
	for i := range whole {
		for bit := range 8 {
			data := bytes.Clone(whole)
			data[i] ^= 1 << bit
			s, err := journal.NewSegmentReader(bytes.NewReader(data), int64(len(data)), path)
			if int64(i) >= synced {
				want := journal.TXID(3)
				if int64(i) >= unsynced {
					want = 4
				}
				if err != nil || s.Torn() == nil || s.Info().Last != want {
					t.Fatalf("byte %d bit %d: %+v, %v", i, bit, s, err)
				}
				continue
			}
			if !errors.Is(err, journal.ErrCorrupt) && !(i < 128 && errors.Is(err, journal.ErrVersion)) {
				t.Fatalf("byte %d bit %d: %v", i, bit, err)
			}
			if !strings.Contains(err.Error(), path) {
				t.Fatalf("the error does not name the file: %v", err)
			}
		}
	}
	writeFile(t, path, whole)
	data := bytes.Clone(whole)
	data[200] ^= 1
	writeFile(t, path, data)
	w2, err := journal.OpenWriter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w2.Close()
	if _, err := w2.Lock(); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("lock of a corrupt tail: %v", err)
	}
	if !bytes.Equal(readFile(t, path), data) {
		t.Fatal("a corrupt tail was changed")
	}
}

// TestFlipWhereSynced has a writer for each transaction, which syncs it, confirms it, and ends. The mark of the commit
// tells that what is before it was synced; so a flipped bit there is corruption, in the last transaction too. One in the
// last mark leaves that transaction undecided.
func TestFlipWhereSynced(t *testing.T) {
	made, dir := newWriter(t)
	made.Close()
	for range 3 {
		w := lockedWriter(t, dir)
		prepare(t, w)
		flush(t, w)
		if err := errors.Join(w.Sync(), w.Confirm(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, firstSegment)
	whole := readFile(t, path)
	const mark = 32
	for i := 128; i < len(whole); i++ {
		for bit := range 8 {
			data := bytes.Clone(whole)
			data[i] ^= 1 << bit
			s, err := journal.NewSegmentReader(bytes.NewReader(data), int64(len(data)), path)
			if i < len(whole)-mark {
				if !errors.Is(err, journal.ErrCorrupt) {
					t.Fatalf("byte %d bit %d: %v", i, bit, err)
				}
			} else if err != nil || s.Torn() == nil || s.Info().Last != 2 {
				t.Fatalf("byte %d bit %d of the last mark: %+v, %v", i, bit, s, err)
			}
		}
	}
	// The record is durable, and SQLite's transaction not yet: that recovery may take it back.
	w := lockedWriter(t, dir)
	defer w.Close()
	if id, err := w.DurableTo(); err != nil || id != 2 {
		t.Errorf("durable to %d, %v", id, err)
	}
}

// TestFlipInSealed flips each bit of a sealed segment and of a base: Verify finds every one.
func TestFlipInSealed(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 3)
	adoptBase(t, w)
	if _, err := w.AddPoint("name", 3); err != nil {
		t.Fatal(err)
	}
	if err := w.AddPart(patch(9, 9), 1); err != nil {
		t.Fatal(err)
	}
	add(t, w, 5)
	flush(t, w)
	rotate(t, w)
	w.Close()
	seal(t, dir, 1)
	tr := openTrail(t, dir)
	verify(t, tr)
	for _, name := range []string{firstSegment, "0000000000000004.base"} {
		whole := readFile(t, filepath.Join(dir, name))
		for i := range whole {
			for bit := range 8 {
				data := bytes.Clone(whole)
				data[i] ^= 1 << bit
				err := verifyBytes(t, name, data)
				if err == nil {
					t.Fatalf("%s: bit %d of byte %d flipped, not found", name, bit, i)
				}
				if e, ok := errors.AsType[*journal.Error](err); !ok || !strings.HasSuffix(e.Path, name) {
					t.Fatalf("%s: bit %d of byte %d: %v", name, bit, i, err)
				}
			}
			if i%37 == 0 { // and in its directory
				path := filepath.Join(dir, name)
				data := bytes.Clone(whole)
				data[i] ^= 1
				writeFile(t, path, data)
				if _, err := tr.Verify(t.Context(), nil); err == nil {
					t.Fatalf("%s: byte %d is wrong, not found", name, i)
				}
				writeFile(t, path, whole)
			}
		}
	}
}

func verifyBytes(t *testing.T, name string, data []byte) error {
	r := bytes.NewReader(data)
	if strings.HasSuffix(name, ".base") {
		b, err := journal.NewBaseReader(r, r.Size(), name)
		if err != nil {
			return err
		}
		return b.Verify(t.Context())
	}
	s, err := journal.NewSegmentReader(r, r.Size(), name)
	if err != nil {
		return err
	}
	return s.Verify(t.Context())
}
