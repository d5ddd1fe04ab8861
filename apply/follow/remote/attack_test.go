//go:build linux || darwin

package remote_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// network answers requests without one. A stream has what there is, and ends in the middle.
type network struct {
	handler *serve.Handler
	mangle  func(stream []byte) io.Reader // nil: as it is
	replay  []byte                        // what every stream is, if not nil, before it is mangled
}

func (n *network) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.HasSuffix(r.URL.Path, "/stream") {
		rec := httptest.NewRecorder()
		n.handler.ServeHTTP(rec, r)
		return rec.Result(), nil
	}
	if n.replay != nil {
		return answer(n.mangle(n.replay)), nil
	}
	// All that there is: a stream that is live is ended when it falls silent.
	ctx, cancel := context.WithCancel(r.Context())
	w := &recorder{ResponseRecorder: httptest.NewRecorder(), cancel: cancel}
	n.handler.ServeHTTP(w, r.WithContext(ctx))
	resp := w.Result()
	if resp.StatusCode != http.StatusOK {
		return resp, nil
	}
	all := w.Body.Bytes()[:w.end]
	resp.Body = io.NopCloser(bytes.NewReader(all))
	if n.mangle != nil {
		resp.Body = io.NopCloser(n.mangle(all))
	}
	return resp, nil
}

// recorder records a stream up to the word after a batch that nothing came.
type recorder struct {
	*httptest.ResponseRecorder
	cancel context.CancelFunc
	beats  int
	batch  bool
	over   bool
	end    int
}

func (r *recorder) Write(p []byte) (int, error) {
	if len(p) == 56 && p[0] == byte(serve.Batch) {
		r.batch = true
	}
	if len(p) == 56 && p[0] == byte(serve.Heartbeat) {
		if r.beats++; r.beats > 1 && r.batch || r.beats > 500 {
			r.over = true
			r.cancel()
		}
	}
	n, err := r.ResponseRecorder.Write(p)
	if !r.over {
		r.end = r.Body.Len()
	}
	return n, err
}

// fixture is a primary with a short history, its records, and a network to it.
type fixture struct {
	p     *primary
	net   *network
	want  []string // what each record says
	first journal.TXID
	last  journal.TXID
}

func describe(t testing.TB, rec *journal.Record) string {
	t.Helper()
	s := fmt.Sprint(rec.TXID, rec.Time, rec.Kind, rec.PageSize, rec.PageCount, rec.SumCut)
	for body, err := range rec.Groups() {
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprintf(" %x %x %x", body.Pages, body.Tokens, body.Literals)
	}
	return s
}

func newFixture(t testing.TB) *fixture {
	p := newPrimary(t, "PRAGMA page_size=512", "PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT)")
	f := &fixture{p: p, first: p.txid()}
	for i := range 8 {
		p.exec(fmt.Sprintf("INSERT INTO t(b) VALUES('row %d')", i))
		p.txid() // so that each has a block of its own
	}
	f.last = p.txid()
	trail := p.trail()
	for rec, err := range trail.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		f.want = append(f.want, describe(t, rec))
	}
	f.net = &network{handler: serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": trail}, Heartbeat: time.Millisecond})}
	t.Cleanup(func() { f.net.handler.Close() })
	return f
}

func (f *fixture) open(t testing.TB) *remote.Source {
	return open(t, "http://primary/app", &remote.Options{Client: &http.Client{Transport: f.net}})
}

// stream is what a server sends to somebody who has transaction after.
func (f *fixture) stream(t testing.TB, after journal.TXID) []byte {
	t.Helper()
	var all []byte
	f.net.mangle = func(b []byte) io.Reader { all = bytes.Clone(b); return bytes.NewReader(b) }
	defer func() { f.net.mangle = nil }()
	for _, err := range f.open(t).Records(t.Context(), after+1) {
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// drain reads what a source has from a transaction on, and wants nothing but
// whole records of the history, in order.
func (f *fixture) drain(t testing.TB, src *remote.Source, from journal.TXID) (got int, err error) {
	t.Helper()
	for rec, err := range src.Records(t.Context(), from) {
		if err != nil {
			return got, err
		}
		if text := describe(t, rec); text != f.want[from-1] {
			t.Fatalf("record %d is %.100s, want %.100s", from, text, f.want[from-1])
		}
		from++
		got++
	}
	return got, nil
}

// TestCutAnywhere cuts a stream at every byte: what came before is whole, the
// error is one after which asking again helps, and it does.
func TestCutAnywhere(t *testing.T) {
	f := newFixture(t)
	whole := f.stream(t, f.first)
	f.net.replay = whole
	src := f.open(t)
	for n := range len(whole) {
		f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(b[:min(n, len(b))]) }
		src.Close()
		if _, err := src.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		got, err := f.drain(t, src, f.first+1)
		if got < 8 && !errors.Is(err, follow.ErrUnreachable) {
			t.Fatalf("cut at %d of %d: %d records, %v", n, len(whole), got, err)
		}
		f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(b) }
		for {
			if _, err := src.Refresh(t.Context()); err == nil {
				break
			}
		}
		if rest, err := f.drain(t, src, f.first+1+journal.TXID(got)); err != nil || got+rest != 8 {
			t.Fatalf("cut at %d of %d: %d records and then %d: %v", n, len(whole), got, rest, err)
		}
	}
}

// TestFlipAnywhere changes each byte of a stream: what is given out is history,
// or nothing is, and the reason is said.
func TestFlipAnywhere(t *testing.T) {
	f := newFixture(t)
	whole := f.stream(t, f.first)
	f.net.replay = whole
	src := f.open(t)
	refused := 0
	for n := range len(whole) {
		f.net.mangle = func(b []byte) io.Reader {
			b = bytes.Clone(b)
			b[min(n, len(b)-1)] ^= 0x40
			return bytes.NewReader(b)
		}
		src.Close()
		for {
			if _, err := src.Refresh(t.Context()); err == nil {
				break
			}
		}
		got, err := f.drain(t, src, f.first+1)
		if got < 8 && err == nil {
			t.Fatalf("byte %d of %d changed: %d records, and no error", n, len(whole), got)
		}
		if err != nil {
			refused++
		}
	}
	if refused < len(whole)*9/10 {
		t.Errorf("of %d changed bytes %d were noticed", len(whole), refused)
	}
}

// TestReorder: frames that come twice are passed over; one that comes before its
// time is refused, and the next connection brings all in order.
func TestReorder(t *testing.T) {
	f := newFixture(t)
	// A batch for each transaction, as they come while one follows.
	var parts [][]byte
	var head []byte
	for id := f.first; id < f.last; id++ {
		f.net.mangle = nil
		var batch []byte
		head, batch = f.single(t, id)
		parts = append(parts, batch)
	}
	play := func(order ...int) func([]byte) io.Reader {
		return func([]byte) io.Reader {
			out := slices.Clone(head)
			for _, i := range order {
				out = append(out, parts[i]...)
			}
			return bytes.NewReader(out)
		}
	}
	for _, c := range []struct {
		order []int
		got   int
		ok    bool
	}{
		{[]int{0, 1, 2, 3, 4, 5, 6, 7}, 8, true},
		{[]int{0, 0, 1, 1, 0, 2, 3, 2, 4, 5, 6, 7, 7}, 8, true},
		{[]int{1, 0, 2, 3, 4, 5, 6, 7}, 0, false},
		{[]int{0, 1, 3, 2, 4, 5, 6, 7}, 2, false},
		{[]int{0, 2}, 1, false},
	} {
		f.net.mangle = play(c.order...)
		src := f.open(t)
		got, err := f.drain(t, src, f.first+1)
		if got != c.got || (err == nil) != c.ok || err != nil && !errors.Is(err, follow.ErrUnreachable) {
			t.Errorf("%v: %d records, want %d; %v", c.order, got, c.got, err)
		}
		f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(b) }
		if rest, err := f.drain(t, src, f.first+1+journal.TXID(got)); err != nil || got+rest != 8 {
			t.Errorf("%v: %d and %d records: %v", c.order, got, rest, err)
		}
	}
}

func contentOf(t testing.TB, file *durable.Spool, size int64) []byte {
	t.Helper()
	b := make([]byte, size)
	if _, err := file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// stream is the head of a stream, and a word that the sender is there.
func stream(db journal.DatabaseID, timeline journal.Timeline) []byte {
	return (&serve.Head{Database: db, Timeline: timeline, Heartbeat: 5 * time.Second}).Append(nil)
}

func frame(kind serve.Kind, last journal.TXID, content []byte) []byte {
	f := &serve.Frame{Kind: kind, Size: int64(len(content)), Last: last}
	return append(f.Append(nil), content...)
}

// forge is a batch of transaction id that says what the real one says, but for
// what edit makes of it and its patches.
func forge(t testing.TB, real *journal.Trail, id journal.TXID, edit func(*journal.Tx, *[]diff.Page)) []byte {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "forged-pagetrail")
	if err := os.CopyFS(dir, os.DirFS(real.Dir())); err != nil {
		t.Fatal(err)
	}
	tx, err := real.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	w, err := journal.OpenWriter(dir, nil)
	if err == nil {
		_, err = w.Lock()
	}
	if err == nil {
		err = w.CutAfter(id - 1)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	var enc diff.Encoder
	patches := []diff.Page{{No: 2, New: bytes.Repeat([]byte("lie "), tx.PageSize/4)}}
	edit(&tx, &patches)
	body, pages := enc.Encode(diff.Body{}, tx.PageSize, patches)
	if _, err = w.Add(tx, body, pages, false); err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	trail := openTrail(t, dir)
	prev, err := trail.Boundary(t.Context(), id-1)
	if err != nil {
		t.Fatal(err)
	}
	file := durable.NewSpool(durable.OS, "", 1<<20)
	b, err := trail.WriteBatch(t.Context(), file, &prev, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	return frame(serve.Batch, id, contentOf(t, file, b.Size))
}

// single is the batch of the transaction after id, by itself.
func (f *fixture) single(t testing.TB, id journal.TXID) (head, batch []byte) {
	t.Helper()
	trail := f.p.trail()
	prev, err := trail.Boundary(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	file := durable.NewSpool(durable.OS, "", 1<<20)
	b, err := trail.WriteBatch(t.Context(), file, &prev, 0, &journal.BatchOptions{To: id + 1})
	if err != nil {
		t.Fatal(err)
	}
	pos, err := trail.Position()
	if err != nil {
		t.Fatal(err)
	}
	return stream(pos.Database, pos.Timeline), frame(serve.Batch, f.last, contentOf(t, file, b.Size))
}

// TestRefused: what no further request changes ends following, and says why.
func TestRefused(t *testing.T) {
	f := newFixture(t)
	other := newPrimary(t, "CREATE TABLE other(a)")
	other.txid()
	for name, c := range map[string]struct {
		mangle func([]byte) io.Reader
		want   error
	}{
		"a later version": {func(b []byte) io.Reader { b[8] = 9; return bytes.NewReader(b) }, journal.ErrVersion},
		"another database": {func([]byte) io.Reader {
			id := other.trail().Identity()
			return bytes.NewReader(stream(id.Database, id.Timeline))
		}, journal.ErrForeign},
	} {
		src := f.open(t)
		f.net.mangle = c.mangle
		_, err := f.drain(t, src, f.first+1)
		if !errors.Is(err, c.want) || errors.Is(err, follow.ErrUnreachable) {
			t.Errorf("%s: %v", name, err)
		}
		f.net.mangle = nil
	}
	// A base or a batch of another database, in a stream that claims to be of the right one.
	otherBatch := func() []byte {
		g := &fixture{p: other, last: 9, net: f.net}
		_, batch := g.single(t, 0)
		return batch
	}()
	src := f.open(t)
	f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(append(b[:48:48], otherBatch...)) }
	if _, err := f.drain(t, src, f.first+1); !errors.Is(err, journal.ErrForeign) {
		t.Errorf("a batch of another database: %v", err)
	}
}

// TestForged: a batch whose every checksum is right, and whose patches do not
// lead to the state that it names, changes no byte of the replica's files.
func TestForged(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(t.TempDir(), "replica.db")
	src := f.open(t)
	r := openReplica(t, path, src, nil)
	f.p.exec("INSERT INTO t(b) VALUES('the truth')")
	f.last = f.p.txid()

	forged := forge(t, f.p.trail(), f.last, func(*journal.Tx, *[]diff.Page) {})
	f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(append(b[:48:48], forged...)) }
	src.Close()
	before := files(t, path)
	_, err := r.CatchUp(t.Context())
	if !errors.Is(err, journal.ErrDiverged) || !strings.Contains(err.Error(), fmt.Sprint(f.last)) {
		t.Errorf("a forged batch: %v", err)
	}
	if !bytes.Equal(before, files(t, path)) {
		t.Error("the replica's files changed")
	}
	f.net.mangle = func(b []byte) io.Reader { return bytes.NewReader(b) }
	src.Close()
	reach(t, r, src, f.last)
	closeReplica(t, r)
	same(t, "replica", read(t, path), at(t, f.p.trail(), f.last))
}

func files(t testing.TB, path string) []byte {
	t.Helper()
	return slices.Concat(read(t, path), read(t, path+"-wal"), read(t, path+"-shm"), read(t, path+"-pos"))
}

// TestSilence: a server that promised to be heard and is not is given up, after
// three times what it promised and a second; one that does not answer, after Silence.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var quiet bool
		head := stream(journal.DatabaseID{1}, 1)
		client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if !strings.HasSuffix(r.URL.Path, "/stream") {
				return answer(strings.NewReader(`{"position":{"database":"01000000000000000000000000000000","timeline":1,"txid":5,"sum":"00000000000000000000000000000000"}}`)), nil
			}
			if quiet {
				<-r.Context().Done()
				return nil, context.Cause(r.Context())
			}
			body, w := io.Pipe()
			go func() {
				_, _ = w.Write(head)
				_, _ = w.Write(frame(serve.Heartbeat, 5, nil))
				<-r.Context().Done()
				w.CloseWithError(r.Context().Err())
			}()
			return answer(body), nil
		})}
		src, err := remote.Open(t.Context(), "http://primary/app", &remote.Options{Client: client})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		for i, want := range []time.Duration{16 * time.Second, 30 * time.Second} {
			quiet = i == 1
			start := time.Now()
			for _, err = range src.Records(t.Context(), 5) {
			}
			if !errors.Is(err, follow.ErrUnreachable) || !strings.Contains(err.Error(), "silent") || time.Since(start) != want {
				t.Errorf("given up after %v, want %v: %v", time.Since(start), want, err)
			}
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(body io.Reader) *http.Response {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(body), Header: http.Header{}}
}
