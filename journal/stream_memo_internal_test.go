package journal

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// watchedTrail is a trail of n transactions in one segment and one in the next, as who watches and ships writes it.
func watchedTrail(t *testing.T, n int) (dir string, tr *Trail) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "trail")
	w, err := OpenWriter(dir, &WriterOptions{Create: true, SealFast: true})
	if err == nil {
		_, err = w.Lock()
	}
	var enc diff.Encoder
	old := make([]byte, 512)
	for i := range n + 1 {
		page := append([]byte(fmt.Sprintf("the row %d of many, in the page of them all", i*i)), old...)[:512]
		b, pages := enc.Encode(diff.Body{}, 512, []diff.Page{{No: 1, Old: old, New: page}})
		if i%10 == 0 { // a block of the tail, within which no batch ends
			err = errors.Join(err, w.Flush())
		}
		if i == n {
			err = errors.Join(err, w.Rotate())
		}
		if err == nil {
			_, err = w.Add(Tx{PageSize: 512, PageCount: 1, Sum: diff.Sum{Lo: uint64(i) + 1}}, b, pages, false)
		}
	}
	if err = errors.Join(err, w.Flush(), w.Close()); err == nil {
		tr, err = Open(dir, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	return dir, tr
}

// ship writes batches that end with the transactions to.
func ship(t *testing.T, tr *Trail, to ...TXID) {
	t.Helper()
	var prev *Batch
	for _, last := range to {
		f, err := durable.Scratch(durable.OS, t.TempDir(), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		b, err := tr.WriteBatch(t.Context(), f, prev, 1, &BatchOptions{To: last})
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		prev = &b
	}
}

// forgotten has nothing remembered of other tests, and nothing of this one by others.
func forgotten(t *testing.T) {
	forget := func() {
		shipped.mu.Lock()
		defer shipped.mu.Unlock()
		shipped.comp, shipped.order, shipped.bytes = nil, nil, 0
	}
	forget()
	t.Cleanup(forget)
}

// TestSealShipped: what was compressed to be shipped is not compressed again to be sealed, wherever the batches ended;
// what is remembered of anything else does no harm.
func TestSealShipped(t *testing.T) {
	const blocks = 12
	forgotten(t)
	dir, tr := watchedTrail(t, blocks*sealRecords)
	ship(t, tr, 130, 470, blocks*sealRecords)
	had := len(shipped.comp)
	if n, err := Seal(t.Context(), dir, &WriterOptions{SealFast: true}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	// The two blocks in which a batch ended are not those of the segment.
	if taken := had - len(shipped.comp); taken != 2*(blocks-2) || len(shipped.comp) == 0 {
		t.Errorf("of %d streams that were shipped %d were taken", had, taken)
	}
	sealed(t, dir)
}

// TestSealWrong has the memory of what was shipped be of something else, as when two streams have one hash: what is
// sealed is compared with its source, which stays, and the next time is as if nothing had been remembered.
func TestSealWrong(t *testing.T) {
	forgotten(t)
	dir, tr := watchedTrail(t, 2*sealRecords)
	ship(t, tr, 2*sealRecords)
	for key := range shipped.comp {
		shipped.comp[key] = compressed(nil, make([]byte, key.size), compressDefault)
	}
	name := filepath.Join(dir, segmentName(1))
	before, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Seal(t.Context(), dir, &WriterOptions{SealFast: true}); err == nil {
		t.Fatal("wrong streams were sealed")
	}
	if after, err := os.ReadFile(name); err != nil || string(after) != string(before) {
		t.Fatal("the segment is not what it was:", err)
	}
	if n, err := Seal(t.Context(), dir, &WriterOptions{SealFast: true}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	sealed(t, dir)
}

// sealed checks that the trail is whole.
func sealed(t *testing.T, dir string) {
	t.Helper()
	tr, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	last, err := tr.Last()
	if err != nil {
		t.Fatal(err)
	}
	n := TXID(0)
	for r, err := range tr.Records(t.Context(), 1) {
		if n++; err != nil || r.TXID != n {
			t.Fatal(n, err)
		}
	}
	if n != last.TXID {
		t.Errorf("%d transactions of %d", n, last.TXID)
	}
}

// TestStreamMemo: no more is remembered than may be, and the latest.
func TestStreamMemo(t *testing.T) {
	m := streamMemo{seed: shipped.seed}
	src := func(i int) []byte { return fmt.Append(make([]byte, memoSmallest), i) }
	m.keep(src(0), make([]byte, 1000))
	if len(m.comp) != 0 {
		t.Error("remembered what nobody wants")
	}
	m.wanted.Store(true)
	const n = 3 * memoBytes / 1000
	for i := range n {
		m.keep(src(i), make([]byte, 1000))
	}
	if m.bytes > memoBytes || m.bytes < memoBytes-2000 || len(m.comp)*1000 != m.bytes || len(m.order) != len(m.comp) {
		t.Errorf("%d bytes in %d and %d streams", m.bytes, len(m.comp), len(m.order))
	}
	if old, last := m.take(nil, src(0)), m.take([]byte("x"), src(n-1)); len(old) != 0 || len(last) != 1001 {
		t.Errorf("took %d bytes of the first and %d of the last", len(old), len(last))
	}
	if again := m.take(nil, src(n-1)); len(again) != 0 {
		t.Error("took the same twice")
	}
}
