//go:build linux || darwin

package remote_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// TestFollow follows over HTTP, from nothing, through everything that a trail
// can hold: bases, other page sizes, large transactions, rotated and sealed
// segments; with a break in the connection now and then.
func TestFollow(t *testing.T) {
	large := 1_000_000
	if testing.Short() {
		large = 200_000
	}
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			p := newPrimary(t, "PRAGMA journal_mode="+mode, "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
			p.txid()
			h, url := server(t, p.trail(), nil)
			src := open(t, url, nil)
			path := filepath.Join(t.TempDir(), "replica.db")
			r := openReplica(t, path, src, nil)
			steps := []string{
				"INSERT INTO t(b) VALUES('one')",
				"INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<500) SELECT randomblob(500) FROM n",
				"DELETE FROM t WHERE id%3=0",
				"VACUUM",
				"UPDATE t SET b=randomblob(3000) WHERE id%7=0",
				fmt.Sprintf("INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<5) SELECT randomblob(%d) FROM n", large),
				"PRAGMA journal_mode=DELETE", "PRAGMA page_size=8192", "VACUUM",
				"DELETE FROM t WHERE id%2=0",
				"PRAGMA journal_mode=WAL",
				"INSERT INTO t(b) VALUES('last')",
			}
			for i, sql := range steps {
				p.exec(sql)
				id := p.txid()
				if i%3 == 2 {
					src.Close() // the next look connects again
				}
				reach(t, r, src, id)
			}
			closeReplica(t, r)
			same(t, "replica", read(t, path), at(t, p.trail(), p.txid()))
			if n := h.Streams(); n > 1 {
				t.Errorf("%d streams for one follower", n)
			}
		})
	}
}

// TestContinue: a follower that was away goes on where it was, without the base.
func TestContinue(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	p.txid()
	_, url := server(t, p.trail(), nil)
	path := filepath.Join(t.TempDir(), "replica.db")
	for i := range 5 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
		id := p.txid()
		src := open(t, url, nil)
		r := openReplica(t, path, src, nil)
		n, err := r.CatchUp(t.Context())
		if err != nil || i > 0 && n != 1 || r.Position().TXID != id {
			t.Fatalf("round %d: %d applied, at %d, want 1 and %d: %v", i, n, r.Position().TXID, id, err)
		}
		closeReplica(t, r)
		same(t, "replica", read(t, path), at(t, p.trail(), id))
		src.Close()
	}
}

// TestRelay: a follower serves its own trail to the next, and so on: the last
// of the chain gets what is committed at its beginning while all of them run.
func TestRelay(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	p.txid()
	_, url := server(t, p.trail(), nil)
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	var ended []chan error
	reached := make(chan journal.TXID, 1000)
	for i := range 3 {
		path := filepath.Join(dir, fmt.Sprintf("replica%d.db", i))
		o := &follow.Options{Trail: path + "-pagetrail"}
		caught := make(chan struct{}, 1)
		o.Events.CaughtUp = func(pos journal.Position) {
			select {
			case caught <- struct{}{}:
			default:
			}
			if i == 2 {
				reached <- pos.TXID
			}
		}
		src, done := open(t, url, nil), make(chan error, 1)
		go func() { done <- follow.Run(ctx, path, src, o) }()
		ended = append(ended, done)
		select {
		case <-caught:
		case err := <-done:
			t.Fatal(err)
		}
		_, url = server(t, openTrail(t, o.Trail), nil)
	}
	for i := range 10 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
	}
	for id := p.txid(); <-reached < id; {
	}
	cancel()
	for i, done := range ended {
		if err := <-done; err != nil {
			t.Error(i, err)
		}
		same(t, "replica", read(t, filepath.Join(dir, fmt.Sprintf("replica%d.db", i))), at(t, p.trail(), p.txid()))
	}
}
