package journal_test

import (
	"io/fs"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TestNoAllocation: recording commits costs no garbage, nor does a lock that nobody else used meanwhile.
func TestNoAllocation(t *testing.T) {
	w, _ := newWriter(t)
	body, tx := small(t), smallTx()
	for name, f := range map[string]func(){
		"add and flush": func() {
			if _, err := w.Add(tx, body, 1, false); err != nil {
				t.Fatal(err)
			}
			flush(t, w)
		},
		"prepare and confirm": func() {
			if _, err := w.Add(tx, body, 1, true); err != nil {
				t.Fatal(err)
			}
			flush(t, w)
			if err := w.Confirm(); err != nil {
				t.Fatal(err)
			}
		},
		"lock": func() {
			w.Unlock()
			if _, err := w.Lock(); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for range 100 {
			f()
		}
		if n := testing.AllocsPerRun(500, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestLargeTransaction writes, reads, seals and verifies a transaction of 64 MiB in groups of 1 MiB, and holds the
// memory each takes against what a few groups take.
func TestLargeTransaction(t *testing.T) {
	groups, size := 64, 1<<20
	if testing.Short() {
		groups = 8
	}
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	seed := rand.NewChaCha8([32]byte{1})
	pages := make([]diff.Page, 256)
	data := make([]byte, size)
	var body diff.Body
	encode := func(group int) (n int) {
		var e diff.Encoder
		_, _ = seed.Read(data)
		for i := range pages {
			pages[i] = diff.Page{No: uint32(group*len(pages) + i + 1), New: data[i*4096:][:4096]}
		}
		body, n = e.Encode(diff.Body{Pages: body.Pages[:0], Tokens: body.Tokens[:0], Literals: body.Literals[:0]}, 4096, pages)
		return n
	}
	for i := range groups - 1 {
		n := encode(i)
		atMost(t, "AddPart", 4<<20, func() {
			if err := w.AddPart(body, n); err != nil {
				t.Fatal(err)
			}
		})
	}
	n := encode(groups - 1)
	if _, err := w.Add(journal.Tx{PageSize: 4096, PageCount: uint32(groups * 256), Sum: sumOf(2)}, body, n, false); err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	rotate(t, w)
	tr := openTrail(t, dir)
	read := func() {
		got := 0
		for r, err := range tr.Records(t.Context(), 2) {
			if err != nil || r.Pages != uint32(groups*256) {
				t.Fatal(r.Tx, err)
			}
			for _, err := range r.Groups() {
				if err != nil {
					t.Fatal(err)
				}
				got++
			}
		}
		if got != groups {
			t.Fatalf("%d groups", got)
		}
	}
	atMost(t, "reading a tail", 8<<20, read)
	atMost(t, "sealing", 64<<20, func() { seal(t, dir, 1) })
	atMost(t, "reading a sealed segment", 8<<20, read)
	atMost(t, "verifying", 32<<20, func() { verify(t, tr) })
}

// atMost fails when f allocates more than limit over all, on one processor: where there are more, each may come to a
// compressor of its own.
func atMost(t *testing.T, what string, limit uint64, f func()) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > limit && !raceOn {
		t.Errorf("%s allocated %d bytes, want at most %d", what, n, limit)
	}
}

// countingFS counts what is read.
type countingFS struct {
	durable.FS
	read int64
}

type countingFile struct {
	durable.File
	fs *countingFS
}

func (f *countingFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &countingFile{file, f}, nil
}

func (f *countingFile) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(b, off)
	f.fs.read += int64(n)
	return n, err
}

// TestFollowLargeTransaction: a reader that looks at the tail again and again while a large transaction is being
// written reads each group once, and sees nothing of it before it is whole.
func TestFollowLargeTransaction(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	fsys := &countingFS{FS: durable.OS}
	tr, err := journal.Open(dir, &journal.ReadOptions{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	const groups, size = 30, 1 << 20
	body := diff.Body{Pages: []byte{1}, Tokens: []byte{1}, Literals: make([]byte, size)}
	for range groups {
		if err := w.AddPart(body, 1); err != nil {
			t.Fatal(err)
		}
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		if last, _ := tr.Last(); last.TXID != 1 || tr.Torn() == nil {
			t.Fatal(last, tr.Torn())
		}
	}
	if fsys.read > 2*groups*size {
		t.Errorf("%d bytes read while %d were written", fsys.read, groups*size)
	}
	add(t, w, 1)
	flush(t, w)
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	if last, _ := tr.Last(); last.TXID != 2 || last.Pages != groups+1 || tr.Torn() != nil {
		t.Fatal(last, tr.Torn())
	}
	if fsys.read > 2*groups*size {
		t.Errorf("%d bytes read while %d were written", fsys.read, groups*size)
	}
}
