//go:build linux || darwin

package remote_test

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/changes"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// beginning makes a trail that begins after the primary's last transaction, as a relay's does, and returns what gives
// it its base.
func beginning(t testing.TB, p *primary) (dir string, base func()) {
	t.Helper()
	id := p.txid()
	trail := p.trail()
	after, err := trail.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	pos, err := trail.Position()
	if err != nil {
		t.Fatal(err)
	}
	after.Sum = pos.Sum // of the last transaction
	dir = filepath.Join(t.TempDir(), "relay.db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Begin: &journal.Beginning{Identity: trail.Identity(), After: after}})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return dir, func() {
		t.Helper()
		b, err := w.CreateBase(after.PageSize, after.PageCount, 0, false)
		if err == nil {
			err = b.WritePages(1, at(t, trail, id))
		}
		if err == nil {
			_, err = b.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestTrailBegins: who follows a trail that has just begun, and whose base is being written still, waits for that, and
// says so.
func TestTrailBegins(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	for _, how := range []string{"served", "read"} {
		dir, base := beginning(t, p)
		src := follow.TrailSource(openTrail(t, dir), "")
		if how == "served" {
			_, url := server(t, openTrail(t, dir), nil)
			src = open(t, url, nil)
		}
		var said []error
		path := filepath.Join(t.TempDir(), "replica.db")
		ctx, cancel := context.WithCancel(t.Context())
		err := follow.Run(ctx, path, src, &follow.Options{
			Wait: func(context.Context, time.Duration) error { return nil },
			Events: follow.Events{
				Unreachable: func(err error, _ time.Duration) {
					if said = append(said, err); len(said) == 2 {
						base()
					}
				},
				CaughtUp: func(journal.Position) { cancel() },
			},
		})
		if err != nil || len(said) != 2 {
			t.Fatalf("%s: %v; it said %v", how, err, said)
		}
		for _, err := range said {
			if !errors.Is(err, follow.ErrNotReady) || how == "served" && !errors.Is(err, serve.ErrNoBase) {
				t.Errorf("%s: it said %v", how, err)
			}
		}
		same(t, how, read(t, path), at(t, p.trail(), p.txid()))
	}
}

// TestWatchBegins: a feed waits for the base as well, unless it is to end with what there is.
func TestWatchBegins(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)")
	dir, base := beginning(t, p)
	src := follow.TrailSource(openTrail(t, dir), "")
	o := &changes.Options{Once: true, Retry: func(error) bool { return false }}
	for _, err := range changes.Feed(t.Context(), src, o) {
		if !errors.Is(err, follow.ErrNotReady) {
			t.Error(err)
		}
	}
	base()
	for _, err := range changes.Feed(t.Context(), src, o) {
		t.Error(err)
	}
}
