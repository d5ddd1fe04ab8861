//go:build linux || darwin

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// shipTo brings an archive to where the primary is.
func (p *primary) shipTo(s objstore.Store) {
	p.t.Helper()
	p.txid()
	if _, err := ship.Run(context.Background(), p.path+"-pagetrail", &ship.Options{Store: s, Once: true}); err != nil {
		p.t.Fatal(err)
	}
}

// TestFollowArchive follows what is shipped, and asks the store for the next
// batch by its name: after the archive was opened there is no list any more.
func TestFollowArchive(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	store, meter := new(mem.Store), new(objstore.Meter)
	p.shipTo(store)
	a, err := archive.Open(t.Context(), objstore.Metered(store, meter), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	path := filepath.Join(t.TempDir(), "replica.db")
	r := openReplica(t, path, follow.TrailSource(a.Trail, ""), nil)
	for i := range 20 {
		for j := range i%3 + 1 {
			p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", 10*i+j))
		}
		p.shipTo(store)
		if n := catchUp(t, r); n != i%3+1 {
			t.Fatalf("round %d: %d applied", i, n)
		}
		before, _ := meter.Counts()
		if n := catchUp(t, r); n != 0 {
			t.Fatalf("round %d: %d applied that were not shipped", i, n)
		}
		after, _ := meter.Counts()
		if n := after[objstore.OpGet].Requests - before[objstore.OpGet].Requests; n != 1 {
			t.Fatalf("to look for the next batch took %d requests", n)
		}
	}
	if calls, _ := meter.Counts(); calls[objstore.OpList].Requests != 1 {
		t.Errorf("%d lists", calls[objstore.OpList].Requests)
	}
	closeReplica(t, r)
	alone(t, path)
	same(t, "replica", read(t, path), p.content())
}

// TestArchiveOutage: the store refuses for a while. The follower says so, waits
// ever longer, and goes on where it was.
func TestArchiveOutage(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)")
	store := new(mem.Store)
	p.shipTo(store)
	var down atomic.Bool
	faults := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if down.Load() {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	a, err := archive.Open(t.Context(), objstore.Faulty(store, faults), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	path := filepath.Join(t.TempDir(), "replica.db")
	ctx, cancel := context.WithCancel(t.Context())
	var pauses []time.Duration
	caught := 0
	o := &follow.Options{
		Retry: func(err error) bool { return errors.Is(err, objstore.ErrInjected) },
		Wait:  func(ctx context.Context, _ time.Duration) error { return ctx.Err() },
	}
	o.Events.CaughtUp = func(journal.Position) {
		switch caught++; caught {
		case 1:
			p.exec("INSERT INTO t VALUES(1)")
			p.shipTo(store)
			down.Store(true)
		default:
			cancel()
		}
	}
	o.Events.Unreachable = func(_ error, pause time.Duration) {
		if pauses = append(pauses, pause); len(pauses) == 10 {
			down.Store(false)
		}
	}
	if err := follow.Run(ctx, path, follow.TrailSource(a.Trail, ""), o); err != nil {
		t.Fatal(err)
	}
	if faults.Fired() == 0 || len(pauses) != 10 {
		t.Fatalf("%d faults, pauses %v", faults.Fired(), pauses)
	}
	for i, pause := range pauses {
		full := min(100*time.Millisecond<<i, 10*time.Second)
		if pause < full/2 || pause > full {
			t.Errorf("pause %d is %v, want up to %v", i, pause, full)
		}
	}
	same(t, "replica", read(t, path), p.content())
}
