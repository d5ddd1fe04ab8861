package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// writer appends transactions to a trail of one page.
type writer struct {
	t    testing.TB
	w    *journal.Writer
	dir  string
	page []byte
	sum  diff.Sum
	enc  diff.Encoder
}

const pageSize = 4096

func newWriter(t testing.TB) *writer {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return &writer{t: t, w: w, dir: dir}
}

// add commits n transactions, each of which writes about size bytes that do not compress.
func (w *writer) add(n, size int) {
	w.t.Helper()
	for range n {
		now := make([]byte, pageSize)
		copy(now, w.page)
		id := uint64(w.w.Last().TXID) + 1
		for i := range size {
			id = id*0x9e3779b97f4a7c15 + uint64(i)
			now[i] = byte(id >> 56)
		}
		p := diff.Page{No: 1, Old: w.page, New: now}
		if w.page != nil {
			w.sum = w.sum.Sub(diff.PageSum(1, w.page))
		}
		w.sum = w.sum.Add(diff.PageSum(1, now))
		body, pages := w.enc.Encode(diff.Body{}, pageSize, []diff.Page{p})
		tx := journal.Tx{Time: journal.Time(1000 * (w.w.Last().TXID + 1)), PageSize: pageSize, PageCount: 1, Sum: w.sum}
		if _, err := w.w.Add(tx, body, pages, false); err != nil {
			w.t.Fatal(err)
		}
		if err := w.w.Flush(); err != nil {
			w.t.Fatal(err)
		}
		w.page = now
	}
}

func (w *writer) seal() {
	w.t.Helper()
	if err := w.w.Rotate(); err != nil {
		w.t.Fatal(err)
	}
	if _, err := journal.Seal(context.Background(), w.dir, nil); err != nil {
		w.t.Fatal(err)
	}
}

// base makes one of the last state.
func (w *writer) base() {
	w.t.Helper()
	b, err := w.w.CreateBase(pageSize, 1, 0, false)
	if err == nil {
		err = b.WritePages(1, w.page)
	}
	if err == nil {
		_, err = b.Commit()
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *writer) trail() *journal.Trail {
	w.t.Helper()
	trail, err := journal.Open(w.dir, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { trail.Close() })
	return trail
}

func serverOf(t testing.TB, w *writer, o *serve.Options) (*serve.Handler, *httptest.Server) {
	t.Helper()
	if o == nil {
		o = new(serve.Options)
	}
	o.Databases = map[string]*journal.Trail{"app": w.trail()}
	h := serve.New(o)
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		s.Close()
	})
	return h, s
}

func get(t testing.TB, url string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// receive reads a stream up to a transaction, and wants one history of it.
func receive(t testing.TB, r io.Reader, after, to journal.TXID) (frames int) {
	t.Helper()
	s, err := serve.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	for after < to {
		f, body, err := s.Next()
		if err != nil {
			t.Fatalf("after %d: %v", after, err)
		}
		if f.Kind != serve.Batch {
			continue
		}
		frames++
		after = batch(t, f, body, after)
	}
	return frames
}

// batch wants a batch to be sound, and to go on after a transaction; it returns its last.
func batch(t testing.TB, f serve.Frame, body io.Reader, after journal.TXID) journal.TXID {
	t.Helper()
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return sound(t, f, data, after)
}

// sound is batch for one that was read.
func sound(t testing.TB, f serve.Frame, data []byte, after journal.TXID) journal.TXID {
	t.Helper()
	seg, err := journal.NewSegmentReader(bytes.NewReader(data), f.Size, "batch")
	if err == nil {
		err = seg.Verify(t.Context())
	}
	if err != nil || seg.Info().First > after+1 || seg.Info().Last <= after || seg.Info().Last > f.Last {
		t.Fatalf("batch %+v after %d, of %d: %v", seg.Info(), after, f.Last, err)
	}
	return seg.Info().Last
}

// TestAnyPosition asks for a stream after each transaction of a history with sealed segments, one that waits to be
// sealed, and a tail, while the memory holds all of the tail and hardly any.
func TestAnyPosition(t *testing.T) {
	w := newWriter(t)
	w.add(230, 20)
	w.seal()
	w.add(30, 20)
	w.seal()
	w.add(10, 20)
	if err := w.w.Rotate(); err != nil {
		t.Fatal(err)
	}
	w.add(20, 20)
	last := journal.TXID(290)
	for _, memory := range []int64{1, 1 << 20} {
		_, s := serverOf(t, w, &serve.Options{MemoryBytes: memory})
		for after := journal.TXID(0); after < last; after += 7 {
			resp := get(t, fmt.Sprintf("%s/app/stream?after=%d", s.URL, after))
			receive(t, resp.Body, after, last)
			resp.Body.Close()
		}
		live := get(t, fmt.Sprintf("%s/app/stream?after=%d", s.URL, last))
		w.add(1, 20)
		last++
		receive(t, live.Body, last-1, last)
		live.Body.Close()
	}
}

// TestSend: a stream through a pipe has the same frames, and ends by saying so.
func TestSend(t *testing.T) {
	w := newWriter(t)
	w.add(50, 100)
	w.seal()
	w.add(5, 100)
	for _, after := range []journal.TXID{0, 20, 50, 53, 55} {
		var out bytes.Buffer
		last, err := serve.Send(t.Context(), &out, w.trail(), &serve.SendOptions{After: after})
		if err != nil || last != 55 {
			t.Fatalf("after %d: sent up to %d: %v", after, last, err)
		}
		r := bytes.NewReader(out.Bytes())
		receive(t, r, after, 55)
		if s, err := serve.NewReader(bytes.NewReader(out.Bytes())); err != nil || s.Head().Heartbeat != 0 {
			t.Error("a stream that promises to be heard")
		}
		end := out.Bytes()[out.Len()-56:]
		if end[0] != byte(serve.Ended) {
			t.Errorf("after %d: the stream ends with %q", after, end[0])
		}
	}
	var wrong *journal.RangeError
	if _, err := serve.Send(t.Context(), io.Discard, w.trail(), &serve.SendOptions{After: 56}); !errors.As(err, &wrong) || wrong.Last != 55 {
		t.Errorf("after what is not there: %v", err)
	}
}

// TestAnswers: what cannot be answered, and what is said then.
func TestAnswers(t *testing.T) {
	w := newWriter(t)
	w.add(5, 20)
	_, s := serverOf(t, w, &serve.Options{Streams: 1, Tokens: []serve.Token{
		{Secret: "all"}, {Secret: "app", Databases: []string{"app"}}, {Secret: "none", Databases: []string{}},
	}})
	for _, c := range []struct {
		path, token string
		status      int
		code        string
	}{
		{"/app", "", 401, "denied"},
		{"/app", "al", 403, "denied"},
		{"/app", "none", 403, "denied"},
		{"/other", "app", 403, "denied"},
		{"/other", "all", 404, "not-found"},
		{"/app/other", "all", 404, "not-found"},
		{"/app/stream?after=6", "app", 409, "range"},
		{"/app/stream?after=x", "app", 400, "usage"},
		{"/app/stream?after=-1", "app", 400, "usage"},
		{"/app/stream?from=1", "app", 400, "usage"},
		{"/app/stream?to=9", "app", 409, "range"},
		{"/app/stream?protocol=2", "app", 500, "version"},
	} {
		resp, body := ask(t, s.URL+c.path, c.token)
		var p serve.Problem
		if err := json.Unmarshal(body, &p); err != nil || resp.StatusCode != c.status || p.Code != c.code || strings.Contains(p.Text, w.dir) {
			t.Errorf("%s with %q: %d %s, want %d %s", c.path, c.token, resp.StatusCode, body, c.status, c.code)
		}
	}
	if _, body := ask(t, s.URL+"/", "app"); strings.TrimSpace(string(body)) != `{"databases":["app"]}` {
		t.Errorf("list for app: %s", body)
	}
	if _, body := ask(t, s.URL+"/", "none"); strings.TrimSpace(string(body)) != `{"databases":[]}` {
		t.Errorf("list for nobody: %s", body)
	}
	first := request(t, s.URL+"/app/stream?after=0", "app", "")
	receive(t, first.Body, 0, 5)
	if resp, body := ask(t, s.URL+"/app/stream?after=0", "app"); resp.StatusCode != 503 || !bytes.Contains(body, []byte("busy")) {
		t.Errorf("a stream too many: %d %s", resp.StatusCode, body)
	}
}

// request asks for a URL, with a token and a Last-Event-ID where they are not empty. The body is closed at the end of the test.
func request(t testing.TB, url, token, last string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func ask(t testing.TB, url, token string) (*http.Response, []byte) {
	t.Helper()
	resp := request(t, url, token, "")
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

// TestHistoryTurns: a primary that lost power takes transactions back. Who had them is told.
func TestHistoryTurns(t *testing.T) {
	w := newWriter(t)
	w.add(5, 20)
	_, s := serverOf(t, w, nil)
	resp := get(t, s.URL+"/app/stream?after=0")
	r, err := serve.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	last := journal.TXID(0)
	for {
		f, body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind == serve.Batch {
			if last = batch(t, f, body, last); last == 5 {
				if err := w.w.CutAfter(3); err != nil {
					t.Fatal(err)
				}
			}
		}
		if f.Kind == serve.Failed {
			text, err := io.ReadAll(body)
			if p := serve.ParseProblem(text); err != nil || !errors.Is(p, journal.ErrDiverged) {
				t.Errorf("%s, %v", text, err)
			}
			break
		}
	}
	again := get(t, s.URL+"/app/stream?after=2")
	receive(t, again.Body, 2, 3)
}

// TestBaseFirst: who has nothing gets the newest base, and what follows it.
func TestBaseFirst(t *testing.T) {
	w := newWriter(t)
	w.add(5, 20)
	w.base()
	w.add(5, 20)
	_, s := serverOf(t, w, nil)
	resp := get(t, s.URL+"/app/stream?to=9")
	r, err := serve.NewReader(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var kinds string
	last := journal.TXID(0)
	for {
		f, body, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		kinds += string(f.Kind)
		switch f.Kind {
		case serve.Base:
			data, err := io.ReadAll(body)
			if err != nil || !bytes.Equal(data, file(t, filepath.Join(w.dir, "0000000000000005.base"))) {
				t.Fatalf("the base is not the file: %v", err)
			}
			last = 5
		case serve.Batch:
			last = batch(t, f, body, last)
		}
		if f.Kind == serve.Ended {
			break
		}
	}
	if first, rest := kinds[:1], strings.ReplaceAll(kinds, "H", ""); first != "H" || rest != "BSE" || last < 9 { // heartbeats come when they are due
		t.Errorf("frames %s up to %d", kinds, last)
	}
}

// TestNoBaseYet: a trail that begins in the middle of a history is there before its base is. Who has nothing is told to
// ask again, over HTTP by a status and in a pipe by the stream; who has what came before gets what follows.
func TestNoBaseYet(t *testing.T) {
	page := make([]byte, pageSize)
	w := &writer{t: t, dir: filepath.Join(t.TempDir(), "app.db-pagetrail"), page: page, sum: diff.PageSum(1, page)}
	after := journal.Tx{TXID: 41, Time: 1000, PageSize: pageSize, PageCount: 1, Sum: w.sum}
	id := journal.Identity{Format: 1, Database: journal.NewDatabaseID(), Timeline: 1}
	var err error
	w.w, err = journal.OpenWriter(w.dir, &journal.WriterOptions{Create: true, Begin: &journal.Beginning{Identity: id, After: after}})
	if err == nil {
		_, err = w.w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer w.w.Close()
	_, s := serverOf(t, w, nil)
	for _, query := range []string{"", "?to=41"} {
		resp, body := ask(t, s.URL+"/app/stream"+query, "")
		if p := serve.ParseProblem(body); resp.StatusCode != http.StatusServiceUnavailable || !errors.Is(p, serve.ErrNoBase) {
			t.Errorf("stream%s: %d %s", query, resp.StatusCode, body)
		}
	}
	var out bytes.Buffer
	if _, err := serve.Send(t.Context(), &out, w.trail(), &serve.SendOptions{Base: true}); !errors.Is(err, serve.ErrNoBase) {
		t.Errorf("sent: %v", err)
	}
	r, err := serve.NewReader(&out)
	for kind := serve.Kind(0); err == nil && kind != serve.Failed; {
		var f serve.Frame
		var body io.Reader
		if f, body, err = r.Next(); err == nil && f.Kind == serve.Failed {
			text, _ := io.ReadAll(body)
			if p := serve.ParseProblem(text); p.Code != "no-base" {
				t.Errorf("in the stream: %s", text)
			}
		}
		kind = f.Kind
	}
	if err != nil {
		t.Fatal(err)
	}
	early := get(t, s.URL+"/app/stream?after=41")
	w.base()
	w.add(2, 20)
	receive(t, early.Body, 41, 43)
	r, err = serve.NewReader(get(t, s.URL+"/app/stream?to=43").Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []serve.Kind{serve.Heartbeat, serve.Base} {
		if f, _, err := r.Next(); err != nil || f.Kind != want {
			t.Fatalf("a frame of kind %q, want %q: %v", f.Kind, want, err)
		}
	}
}

func file(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
