//go:build linux || darwin

package remote_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// lie is what a server says that is not so, in answer to a follower that has all
// transactions but the last two.
type lie struct {
	what   string
	status func(*serve.Status)     // nil: the truth
	page   string                  // instead of a status
	stream func(*recording) []byte // nil: the truth
	want   func(error) bool        // of the error
	upTo   journal.TXID            // what the follower has then, from the last; 0: everything
}

func is(targets ...error) func(error) bool {
	return func(err error) bool {
		return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
	}
}

// frames are a stream of a head, a word about how far the server is, and frames.
func (f *recording) frames(last journal.TXID, frames ...[]byte) []byte {
	return slices.Concat(f.stream[:48], frame(serve.Heartbeat, last, nil), slices.Concat(frames...))
}

// part is the recorded batch of a transaction.
func (f *recording) part(id journal.TXID) []byte {
	i := int(id - f.first)
	return f.stream[f.ends[i+1]:f.ends[i+2]]
}

// lies are told one after the other, each to a replica of its own.
var lies = []lie{
	{
		what: "transactions that never come", upTo: 0, want: is(follow.ErrUnreachable),
		status: func(s *serve.Status) { s.Position.TXID += 1000 },
	},
	{
		what: "transactions that never come, in the stream", upTo: 0, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte { return f.frames(f.last+1000, f.stream[f.ends[1]:]) },
	},
	{
		what: "fewer transactions than the replica has", upTo: 2, want: is(journal.ErrDiverged),
		status: func(s *serve.Status) { s.Position.TXID -= 5 },
	},
	{
		what: "another timeline", upTo: 2, want: is(journal.ErrForeign),
		status: func(s *serve.Status) { s.Position.Timeline++ },
	},
	{
		what: "a page that asks for a password", upTo: 2, want: is(follow.ErrUnreachable),
		page: "<html>Please accept our conditions</html>",
	},
	{
		what: "the stream is such a page", upTo: 2, want: is(follow.ErrUnreachable),
		stream: func(*recording) []byte {
			return []byte("<html><h1>Please accept our conditions</h1></html>" + strings.Repeat(" ", 100))
		},
	},
	{
		what: "the end, before it is there", upTo: 1, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte {
			return f.frames(f.last, f.part(f.last-2), f.part(f.last-1), frame(serve.Ended, f.last, nil))
		},
	},
	{
		what: "a failure, in words that are no JSON", upTo: 1, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte {
			return f.frames(f.last, f.part(f.last-2), f.part(f.last-1), frame(serve.Failed, f.last, []byte("\x00\xff{")))
		},
	},
	{
		what: "a batch as a base", upTo: 1, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte {
			as := bytes.Clone(f.part(f.last))
			return f.frames(f.last, f.part(f.last-2), f.part(f.last-1), frame(serve.Base, f.last, as[56:]))
		},
	},
	{
		what: "a transaction that is left out", upTo: 2, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte { return f.frames(f.last, f.part(f.last-2), f.part(f.last)) },
	},
	{
		what: "a content without an end", upTo: 1, want: is(follow.ErrUnreachable),
		stream: func(f *recording) []byte {
			endless := &serve.Frame{Kind: serve.Batch, Size: 1 << 60, Last: f.last}
			return f.frames(f.last, f.part(f.last-2), f.part(f.last-1), endless.Append(nil), f.part(f.last))
		},
	},
	{
		what: "a state that the patches do not lead to", upTo: 1, want: is(journal.ErrDiverged),
		stream: func(f *recording) []byte {
			return f.forged(func(tx *journal.Tx, _ *[]diff.Page) { tx.Sum.Hi++; tx.SumCut = tx.Sum.Cut() })
		},
	},
	{
		what: "pages that the patches do not have", upTo: 1, want: is(journal.ErrDiverged),
		stream: func(f *recording) []byte { return f.forged(func(tx *journal.Tx, _ *[]diff.Page) { tx.PageCount += 3 }) },
	},
	{
		what: "a database that ends earlier", upTo: 1, want: is(journal.ErrDiverged, journal.ErrCorrupt),
		stream: func(f *recording) []byte {
			return f.forged(func(tx *journal.Tx, p *[]diff.Page) { tx.PageCount, *p = 1, nil })
		},
	},
	{
		what: "pages of another size", upTo: 1, want: is(journal.ErrDiverged, journal.ErrCorrupt),
		stream: func(f *recording) []byte {
			return f.forged(func(tx *journal.Tx, p *[]diff.Page) {
				tx.PageSize, *p = 1024, []diff.Page{{No: 1, New: make([]byte, 1024)}}
			})
		},
	},
}

// forged are the true transactions up to the one before the last, and then one
// whose every checksum is right, but for that of the state, and that lies.
func (f *recording) forged(edit func(*journal.Tx, *[]diff.Page)) []byte {
	return f.frames(f.last, f.part(f.last-2), f.part(f.last-1), forge(f.p.t, f.p.trail(), f.last, edit))
}

// liar puts its lies in the place of the server's answers.
type liar struct {
	*network
	*lie
}

func (l *liar) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := l.network.RoundTrip(r)
	if err != nil || strings.HasSuffix(r.URL.Path, "/stream") || l.lie == nil {
		return resp, err
	}
	if l.page != "" {
		return answer(strings.NewReader(l.page)), nil
	}
	if l.status == nil {
		return resp, nil
	}
	var st serve.Status
	if err := json.NewDecoder(resp.Body).Decode(&st); err != nil {
		return nil, err
	}
	l.status(&st)
	b, err := json.Marshal(st)
	return answer(bytes.NewReader(b)), err
}

// TestLyingServer: whatever a server says, the replica is at a whole transaction
// that leads to the state that its record names, and the error says what is wrong.
// When the server comes to its senses the replica goes on.
func TestLyingServer(t *testing.T) {
	f := record(t)
	truth := func(b []byte) io.Reader { return bytes.NewReader(b) }
	for i := range lies {
		l := &lies[i]
		path := f.replica(t, "replica.db")
		net := &liar{network: f.net}
		src := open(t, "http://primary/app", &remote.Options{Client: &http.Client{Transport: net}})
		f.net.mangle = func([]byte) io.Reader { return bytes.NewReader(f.stream[:f.ends[len(f.ends)-3]]) }
		r := openReplica(t, path, src, nil)
		for r.Position().TXID < f.last-2 {
			if _, err := r.CatchUp(t.Context()); err != nil && !errors.Is(err, follow.ErrUnreachable) {
				t.Fatal(err)
			}
		}
		src.Close()
		net.lie, f.net.mangle = l, truth
		if l.stream != nil {
			told := l.stream(f)
			f.net.mangle = func([]byte) io.Reader { return bytes.NewReader(told) }
		}
		var err error
		// Where everything comes, that the stream ends too early may be met a while after its last transaction.
		for err == nil && (l.upTo == 0 || r.Position().TXID < f.last) || l.upTo == 0 && r.Position().TXID < f.last {
			_, err = r.CatchUp(t.Context())
		}
		if got := r.Position().TXID; !l.want(err) || got != f.last-l.upTo {
			t.Errorf("%s: at %d of %d: %v", l.what, got, f.last, err)
		}
		before := files(t, path)
		src.Close()
		if _, err := r.CatchUp(t.Context()); !l.want(err) && (err != nil || l.upTo > 0) || !bytes.Equal(files(t, path), before) {
			t.Errorf("%s, again: %v; the replica's files are the same: %v", l.what, err, bytes.Equal(files(t, path), before))
		}
		net.lie, f.net.mangle = nil, truth
		src.Close()
		for r.Position().TXID < f.last {
			if _, err := r.CatchUp(t.Context()); err != nil && !errors.Is(err, follow.ErrUnreachable) {
				t.Fatalf("%s, and then the truth: %v", l.what, err)
			}
		}
		closeReplica(t, r)
		same(t, l.what, read(t, path), f.states[f.last])
	}
}

// TestPrimaryAsReplica: the file that is served is no place for a replica of it,
// wherever its trail is, while a program may write to it.
func TestPrimaryAsReplica(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		for _, elsewhere := range []bool{false, true} {
			dir := t.TempDir()
			p := &primary{t: t, path: filepath.Join(dir, "app.db")}
			dsn, trail := "file:"+p.path+"?vfs=pagetrail", p.dir()
			if elsewhere {
				trail = filepath.Join(dir, "history")
				dsn += "&trail=" + trail
			}
			var err error
			if p.conn, err = sqlite3.Open(dsn); err != nil {
				t.Fatal(err)
			}
			p.exec("PRAGMA journal_mode="+mode, "CREATE TABLE t(a)")
			p.txid()
			_, url := server(t, openTrail(t, trail), nil)
			if mode == "DELETE" { // where a program that does nothing holds no lock
				p.exec("BEGIN; SELECT * FROM t")
			}
			_, err = follow.Open(t.Context(), p.path, open(t, url, nil), &follow.Options{BusyTimeout: 1})
			if !elsewhere && err == nil || elsewhere && !errors.Is(err, journal.ErrLocked) {
				t.Errorf("%s, trail elsewhere %v: %v", mode, elsewhere, err)
			}
			if mode == "DELETE" {
				p.exec("COMMIT")
			}
			p.exec("INSERT INTO t VALUES(1)")
			p.txid()
			if left, _ := filepath.Glob(p.path + "-pos"); len(left) > 0 {
				t.Errorf("%s, trail elsewhere %v: it was made a replica", mode, elsewhere)
			}
			p.conn.Close()
		}
	}
}

// TestHTTP2 follows over one connection of HTTP/2, which the stream and all
// requests share.
func TestHTTP2(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	p.txid()
	h := serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": p.trail()}, Heartbeat: 10 * time.Millisecond})
	var mu sync.Mutex
	protocols := map[string]int{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		protocols[r.Proto]++
		mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(func() {
		h.Close()
		s.Close()
	})
	src := open(t, s.URL+"/app", &remote.Options{Client: s.Client()})
	path := filepath.Join(t.TempDir(), "replica.db")
	r := openReplica(t, path, src, nil)
	for i := range 10 {
		p.exec("INSERT INTO t VALUES(randomblob(200000))")
		if i%4 == 3 {
			src.Close()
		}
		reach(t, r, src, p.txid())
	}
	closeReplica(t, r)
	same(t, "replica", read(t, path), at(t, p.trail(), p.txid()))
	mu.Lock()
	defer mu.Unlock()
	if protocols["HTTP/2.0"] < 3 || len(protocols) > 1 {
		t.Errorf("requests: %v", protocols)
	}
}

// TestSilentServer: what a replica says of its age comes from the server's own
// word. While that is missing the age grows, although the connection stands and
// nothing is wrong with it.
func TestSilentServer(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)")
	p.txid()
	h := serve.New(&serve.Options{Databases: map[string]*journal.Trail{"app": p.trail()}, Heartbeat: 20 * time.Minute})
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		s.Close()
	})
	now := time.Now()
	mon, src := new(follow.Monitor), open(t, s.URL+"/app", nil)
	r := openReplica(t, filepath.Join(t.TempDir(), "replica.db"), src, &follow.Options{Monitor: mon, Now: func() time.Time { return now }})
	p.exec("INSERT INTO t VALUES(1)")
	reach(t, r, src, p.txid())
	now = time.Now()
	if lag := mon.Lag(); lag.Staleness(now) > time.Minute || lag.Transactions != 0 {
		t.Errorf("after the last transaction: %+v", lag)
	}
	now = now.Add(time.Hour)
	if _, err := r.CatchUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if lag := mon.Lag(); lag.Staleness(now) < 59*time.Minute {
		t.Errorf("nothing was heard for an hour, and what readers see is at most %v old", lag.Staleness(now))
	}
	now = time.Now()
	p.exec("INSERT INTO t VALUES(2)")
	reach(t, r, src, p.txid())
	if lag := mon.Lag(); lag.Staleness(time.Now()) > time.Minute {
		t.Errorf("heard again: %+v", lag)
	}
	closeReplica(t, r)
}
