package diff_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/pagetrail/pagetrail/diff"
)

// TestCorpus measures the encoding on recorded work of SQLite and prints a
// table: mean bytes of a transaction as encoded, compressed by itself, and
// compressed in batches of a hundred. PAGETRAIL_CORPUS names a directory of
// directories, each with base.db, the database before, and wal, a WAL file of
// one transaction after the other.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("PAGETRAIL_CORPUS")
	if dir == "" {
		t.Skip("PAGETRAIL_CORPUS is not set")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*", "wal"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no corpus in %s: %v", dir, err)
	}
	fmt.Println("work  txns pages/txn     delta      +z@1    +z@100   encode µs  decode µs (per txn)")
	for _, name := range names {
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) { measure(t, filepath.Dir(name)) })
	}
}

func measure(t *testing.T, dir string) {
	size, txns := readWAL(t, dir)
	z, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	var (
		enc                         diff.Encoder
		dec                         diff.Decoder
		pages, delta, each, hundred int
		encoding, decoding          time.Duration
		body, batch                 diff.Body
	)
	for i, tx := range txns {
		pages += len(tx)
		for group := range slices.Chunk(tx, diff.GroupPages(size)) {
			encoding += best(func() { body, _ = enc.Encode(reuse(body), size, group) })
			out, old := buffers(t, &dec, body, size, group)
			decoding += best(func() { decode(t, &dec, body, size, out, old) })
			verify(t, i, group, dec.Pages(), out)
			delta += body.Len()
			each += zstdLen(z, body)
			batch.Pages = append(batch.Pages, body.Pages...)
			batch.Tokens = append(batch.Tokens, body.Tokens...)
			batch.Literals = append(batch.Literals, body.Literals...)
		}
		if i%100 == 99 || i == len(txns)-1 {
			hundred += zstdLen(z, batch)
			batch = diff.Body{}
		}
	}
	n := len(txns)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 / float64(n) }
	fmt.Printf("%-4s %5d %9.1f %9d %9d %9d %11.2f %10.2f\n", filepath.Base(dir), n, float64(pages)/float64(n),
		delta/n, each/n, hundred/n, us(encoding), us(decoding))
}

// verify checks what was decoded; a page that is not listed did not change.
func verify(t *testing.T, tx int, group []diff.Page, refs []diff.PageRef, out [][]byte) {
	t.Helper()
	for _, pg := range group {
		got := pg.Old
		if len(refs) > 0 && refs[0].No == pg.No {
			got = out[0]
			refs, out = refs[1:], out[1:]
		}
		if !bytes.Equal(got, pg.New) {
			t.Fatalf("transaction %d: page %d differs", tx, pg.No)
		}
	}
	if len(refs) > 0 {
		t.Fatalf("transaction %d: page %d is not one of its own", tx, refs[0].No)
	}
}

// best is the shortest of five runs: the first warms the caches.
func best(f func()) time.Duration {
	shortest := time.Duration(1<<63 - 1)
	for range 5 {
		start := time.Now()
		f()
		shortest = min(shortest, time.Since(start))
	}
	return shortest
}

// zstdLen is how long a body's streams are when each is compressed as the
// journal does it, or left alone when that is shorter.
func zstdLen(z *zstd.Encoder, b diff.Body) int {
	n := 0
	for _, s := range [][]byte{b.Pages, b.Tokens, b.Literals} {
		k := len(s)
		if k >= 32 {
			k = min(k, len(z.EncodeAll(s, nil)))
		}
		n += k
	}
	return n
}

// readWAL reads the transactions of a WAL file and the old content of their
// pages, https://www.sqlite.org/fileformat2.html#walformat. The checksums are
// not looked at.
func readWAL(t testing.TB, dir string) (pageSize int, txns [][]diff.Page) {
	t.Helper()
	base, err := os.ReadFile(filepath.Join(dir, "base.db"))
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(filepath.Join(dir, "wal"))
	if err != nil {
		t.Fatal(err)
	}
	pageSize = int(binary.BigEndian.Uint32(wal[8:]))
	salt := wal[16:24]
	current := map[uint32][]byte{}
	pending := map[uint32][]byte{}
	for p := 32; p+24+pageSize <= len(wal) && bytes.Equal(wal[p+8:p+16], salt); p += 24 + pageSize {
		pending[binary.BigEndian.Uint32(wal[p:])] = wal[p+24 : p+24+pageSize]
		if binary.BigEndian.Uint32(wal[p+4:]) == 0 {
			continue
		}
		var tx []diff.Page
		for no, page := range pending {
			old, ok := current[no]
			if !ok {
				old = make([]byte, pageSize)
				if at := (int(no) - 1) * pageSize; at < len(base) {
					old = base[at : at+pageSize]
				}
			}
			tx = append(tx, diff.Page{No: no, Old: old, New: page})
			current[no] = page
		}
		clear(pending)
		slices.SortFunc(tx, func(a, b diff.Page) int { return int(a.No) - int(b.No) })
		txns = append(txns, tx)
	}
	return pageSize, txns
}
