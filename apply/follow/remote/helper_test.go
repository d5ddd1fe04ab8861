//go:build linux || darwin

package remote_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/remote"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// primary is a database that is written through the VFS.
type primary struct {
	t    testing.TB
	path string
	conn *sqlite3.Conn
}

func newPrimary(t testing.TB, setup ...string) *primary {
	t.Helper()
	p := &primary{t: t, path: filepath.Join(t.TempDir(), "primary.db")}
	c, err := sqlite3.Open("file:" + p.path + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	p.conn = c
	t.Cleanup(func() { c.Close() })
	p.exec(append([]string{"PRAGMA synchronous=OFF"}, setup...)...)
	return p
}

func (p *primary) exec(sqls ...string) {
	p.t.Helper()
	for _, sql := range sqls {
		if err := p.conn.Exec(sql); err != nil {
			p.t.Fatalf("%.80s: %v", sql, err)
		}
	}
}

// txid asks for the last transaction, which the trail holds from then on.
func (p *primary) txid() journal.TXID {
	p.t.Helper()
	s, _, err := p.conn.Prepare("PRAGMA pagetrail_txid")
	if err != nil {
		p.t.Fatal(err)
	}
	defer s.Close()
	s.Step()
	return journal.TXID(s.ColumnInt64(0))
}

func (p *primary) dir() string { return p.path + "-pagetrail" }

func (p *primary) trail() *journal.Trail { return openTrail(p.t, p.dir()) }

func openTrail(t testing.TB, dir string) *journal.Trail {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return trail
}

// at is the database after a transaction.
func at(t testing.TB, trail *journal.Trail, id journal.TXID) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := trail.Refresh(); err != nil {
		t.Fatal(err)
	}
	if _, err := apply.HydrateTo(context.Background(), trail, &out, apply.AtTXID(id), nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// server serves a trail as "app".
func server(t testing.TB, trail *journal.Trail, o *serve.Options) (*serve.Handler, string) {
	t.Helper()
	if o == nil {
		o = new(serve.Options)
	}
	o.Databases = map[string]*journal.Trail{"app": trail}
	h := serve.New(o)
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		h.Close()
		s.Close()
	})
	return h, s.URL + "/app"
}

func open(t testing.TB, url string, o *remote.Options) *remote.Source {
	t.Helper()
	if o == nil {
		o = new(remote.Options)
	}
	if o.Client == nil {
		tr := &http.Transport{}
		t.Cleanup(tr.CloseIdleConnections)
		o.Client = &http.Client{Transport: tr}
	}
	s, err := remote.Open(context.Background(), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openReplica(t testing.TB, path string, src follow.Source, o *follow.Options) *follow.Replica {
	t.Helper()
	r, err := follow.Open(context.Background(), path, src, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reach catches up to a transaction, which the stream may still be bringing.
func reach(t testing.TB, r *follow.Replica, src *remote.Source, id journal.TXID) {
	t.Helper()
	for {
		if _, err := r.CatchUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if r.Position().TXID >= id {
			return
		}
		if err := src.Await(t.Context(), 1<<40); err != nil {
			t.Fatal(err)
		}
	}
}

func closeReplica(t testing.TB, r *follow.Replica) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func same(t testing.TB, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: %d bytes are not the %d wanted", what, len(got), len(want))
	}
}
