package archive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// shipped makes an archive of n transactions in batches of about ten, and a base of size bytes.
func shipped(t testing.TB, n, size int) (*mem.Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	const pageSize = 4096
	count := uint32(max(size/pageSize, 1))
	b, err := w.CreateBase(pageSize, count, 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	var sum diff.Sum
	page := make([]byte, pageSize)
	for no := uint32(1); no <= count; no++ {
		for i := range page {
			page[i] = byte(uint64(no) * 0x9e3779b97f4a7c15 >> (i % 57) * uint64(i))
		}
		sum = sum.Add(diff.PageSum(no, page))
		if err := b.WritePages(no, page); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	add := func(tx journal.Tx, body diff.Body, pages int) {
		tx.Time, tx.PageSize, tx.PageCount, tx.Sum = 1000*journal.Time(w.Last().TXID+1), pageSize, count, sum
		if _, err := w.Add(tx, body, pages, false); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	add(journal.Tx{Kind: journal.Base}, diff.Body{}, 0)
	old := bytes.Clone(page)
	var enc diff.Encoder
	s := new(mem.Store)
	for i := 1; i < n; i++ {
		now := bytes.Clone(old)
		copy(now[100:], fmt.Sprint("transaction ", i))
		sum = sum.Sub(diff.PageSum(count, old)).Add(diff.PageSum(count, now))
		body, kept := enc.Encode(diff.Body{}, pageSize, []diff.Page{{No: count, Old: old, New: now}})
		add(journal.Tx{Note: fmt.Sprint(i)}, body, kept)
		old = now
		if i%10 == 0 || i == n-1 {
			if _, err := ship.Run(t.Context(), dir, &ship.Options{Store: s, Once: true}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s, dir
}

// gets tells of every piece that is asked for.
type gets struct {
	objstore.Store
	got func(key string, off, n int64)
}

func (s gets) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	s.got(key, off, n)
	return s.Store.Get(ctx, key, off, n)
}

// What restoring costs: the head, a list, the last batch, and what is on the way, in large pieces and none of them twice,
// also where the base is larger than the cache.
func TestRequestsOfARestore(t *testing.T) {
	s, _ := shipped(t, 200, 9<<20)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so one goroutine reads the base, and none is held up for long
	for txid, batches := range map[journal.TXID]int{200: 20, 45: 6} {
		m, mu, pieces := new(objstore.Meter), new(sync.Mutex), map[string]int{}
		store := objstore.Metered(gets{s, func(key string, off, n int64) {
			mu.Lock()
			defer mu.Unlock()
			for ; n > 0; off, n = off+1<<20, n-1<<20 {
				pieces[fmt.Sprint(key, " ", off>>20)]++
			}
		}}, m)
		r, err := archive.Open(t.Context(), store, &archive.Options{CacheBytes: 8 << 20})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := apply.HydrateTo(t.Context(), r.Trail, new(bytes.Buffer), apply.AtTXID(txid), nil); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		calls, _ := m.Counts()
		// Of the base the first piece, the last, and the other 7 or so in runs of 4.
		if n := calls[objstore.OpGet].Requests; calls[objstore.OpList].Requests != 1 || calls[objstore.OpLoad].Requests != 1 || n > int64(batches)+6 {
			t.Errorf("transaction %d: %+v", txid, calls)
		}
		for piece, n := range pieces {
			if n > 1 {
				t.Errorf("transaction %d: %s was asked for %d times", txid, piece, n)
			}
		}
	}
}

// What batches hold is known from the head, so that those that are not read are not opened; where the store has others
// than the head knows of, they are opened, and what is missing is a gap.
func TestBatchesThatAreNotOpened(t *testing.T) {
	s, dir := shipped(t, 300, 4096)
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	want, err := trail.Window(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	window := func() (journal.Window, int64) {
		t.Helper()
		m := new(objstore.Meter)
		r, err := archive.Open(t.Context(), objstore.Metered(s, m), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		w, err := r.Window(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := m.Requests()
		plan, err := apply.Resolve(t.Context(), r.Trail, apply.AtTime(25_000))
		if err != nil || plan.Tx.TXID != 25 || plan.Next.TXID != 26 {
			t.Errorf("at %d, next %v, %v", plan.Tx.TXID, plan.Next, err)
		}
		if m.Requests() > n+2 {
			t.Errorf("%d requests to find a moment in one of 30 batches", m.Requests()-n)
		}
		return w, n
	}
	// The head, a list, whether there is another batch, and the last; a base, and its transaction.
	got, n := window()
	if n > 6 || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%d requests, %+v, want %+v", n, got, want)
	}
	const gone, cut = "00000001/0/0000000000000066.seg", "00000001/0/00000000000000ca.seg"
	for _, key := range []string{gone, cut} {
		if err := s.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Put(t.Context(), cut, strings.NewReader(strings.Repeat("cut", 50)), 150); err != nil {
		t.Fatal(err)
	}
	got, n = window()
	if n > 7 || len(got.Gaps) != 2 || got.Gaps[0].First != 0x66 || got.Gaps[1].First != 0xca || got.Spans[0].Last != 0x65 {
		t.Errorf("%d requests, %+v", n, got)
	}
}

// Many may read an archive at once; a small cache only costs requests.
func TestReadersAtOnce(t *testing.T) {
	s, dir := shipped(t, 120, 3<<20)
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	for _, cache := range []int64{1, 2 << 20, 64 << 20} {
		r, err := archive.Open(t.Context(), s, &archive.Options{CacheBytes: cache})
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				at := apply.AtTXID(journal.TXID(20 + 30*i))
				var got, want bytes.Buffer
				_, err := apply.HydrateTo(t.Context(), r.Trail, &got, at, nil)
				_, wantErr := apply.HydrateTo(t.Context(), trail, &want, at, nil)
				if err != nil || wantErr != nil || !bytes.Equal(got.Bytes(), want.Bytes()) {
					t.Errorf("cache of %d, reader %d: %v, %v", cache, i, err, wantErr)
				}
			})
		}
		wg.Wait()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

// An archive that is read ends with its context or with Close, whatever is under way.
func TestReadingEnds(t *testing.T) {
	s, _ := shipped(t, 50, 1)
	ctx, cancel := context.WithCancel(t.Context())
	r, err := archive.Open(ctx, s, &archive.Options{CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for _, err = range r.Records(t.Context(), 1) {
		if err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("after the context ended: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if _, err := r.Last(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// What writes to trails is refused by the files of an archive.
func TestArchiveIsReadOnly(t *testing.T) {
	s, _ := shipped(t, 20, 1)
	before := 0
	for range s.List(t.Context(), "", "") {
		before++
	}
	r, err := archive.Open(t.Context(), objstore.ReadOnly(s), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if h := r.Head(); h.Writer.Name == "" || h.Epoch == 0 || h.Database != r.Identity().Database {
		t.Errorf("head %+v", h)
	}
	if _, err := apply.Verify(t.Context(), r.Trail, nil); err != nil {
		t.Error(err)
	}
	after := 0
	for range s.List(t.Context(), "", "") {
		after++
	}
	if before != after {
		t.Errorf("%d objects became %d", before, after)
	}
}
