package sidecar_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
	"github.com/pagetrail/pagetrail/vfs"
)

// With sync=remote a transaction is in the archive when its commit returns, and when shipping has ended nobody waits
// in vain.
func TestSyncRemote(t *testing.T) {
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) { syncRemote(t, mode) })
	}
}

func syncRemote(t *testing.T, mode string) {
	acks, store := new(ship.Acks), new(mem.Store)
	if err := vfs.Register("remote", &vfs.Options{Sync: vfs.SyncRemote, SyncTimeout: time.Minute, Acknowledge: acks.Acknowledge}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "app.db")
	open := func(params string) *sqlite3.Conn {
		c, err := sqlite3.Open("file:" + path + params)
		if err == nil {
			err = c.Exec("PRAGMA busy_timeout=60000; PRAGMA journal_mode=" + mode + "; " + schema)
		}
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	open("?vfs=remote&sync=local").Close() // so that there is a trail to ship
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan ship.Result, 1)
	go func() {
		r, err := ship.Run(ctx, path+"-pagetrail", &ship.Options{Store: store, Acks: acks})
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		ended <- r
	}()
	var all sync.WaitGroup
	const writers, each = 4, 10
	for range writers {
		all.Go(func() {
			c := open("?vfs=remote")
			defer c.Close()
			for i := range each {
				if err := c.Exec(fmt.Sprintf("INSERT INTO t(a) VALUES(randomblob(%d))", i)); err != nil {
					t.Error(err)
					return
				}
				s, _, err := c.Prepare("SELECT count(*) FROM t")
				if err != nil {
					t.Error(err)
					return
				}
				s.Step()
				rows := s.ColumnInt(0)
				s.Close()
				if i == each/2 && rowsIn(t, store) < i+1 {
					t.Errorf("after %d rows of a writer, %d in all, the archive has fewer", i+1, rows)
				}
			}
		})
	}
	all.Wait()
	if n := rowsIn(t, store); n != writers*each {
		t.Errorf("%d rows were committed, the archive has %d", writers*each, n)
	}
	stop()
	r := <-ended
	t.Logf("%d transactions in %d batches", r.Transactions, r.Batches)
	d, err := sqlite3.Open("file:" + path + "?vfs=remote")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Exec("INSERT INTO t(a) VALUES('nobody ships')"); !errors.Is(err, vfs.ErrUnacknowledged) {
		t.Errorf("nobody ships: %v", err)
	}
}

// rowsIn counts the rows of the database in an archive.
func rowsIn(t *testing.T, store *mem.Store) int {
	t.Helper()
	r, err := archive.Open(t.Context(), store, nil)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer r.Close()
	out := filepath.Join(t.TempDir(), "rows"+strconv.Itoa(int(r.Identity().Timeline))+".db")
	if _, err := apply.Hydrate(t.Context(), r.Trail, out, apply.Latest(), &apply.Options{Force: true}); err != nil {
		t.Error(err)
		return 0
	}
	c, err := sqlite3.Open("file:" + out)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer c.Close()
	s, _, err := c.Prepare("SELECT count(*) FROM t")
	if err != nil {
		t.Error(err)
		return 0
	}
	defer s.Close()
	s.Step()
	return s.ColumnInt(0)
}
