//go:build linux || darwin

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// lagging is what a load balancer shows: now one server, now another.
type lagging struct {
	follow.Source
	timeline journal.Timeline // 0: that of the source
}

func (s *lagging) Identity() journal.Identity {
	id := s.Source.Identity()
	if s.timeline != 0 {
		id.Timeline = s.timeline
	}
	return id
}

// copied is the primary's trail as it is now, which stays so.
func (p *primary) copied() (dir string) {
	p.t.Helper()
	p.txid()
	dir = filepath.Join(p.t.TempDir(), "copy.db-pagetrail")
	if err := os.CopyFS(dir, os.DirFS(p.path+"-pagetrail")); err != nil {
		p.t.Fatal(err)
	}
	return dir
}

// TestSourceLags: a source that is behind the replica, which is in the same history, is waited for, and that is said;
// it is said again when it takes long. So it is after a restart, with a trail of the replica's own and without.
func TestSourceLags(t *testing.T) {
	for _, trail := range []bool{false, true} {
		for _, restart := range []bool{false, true} {
			p := newPrimary(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES(0)")
			old := p.copied()
			p.exec("INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)")
			at := p.txid()
			path := filepath.Join(t.TempDir(), "replica.db")
			src, now := &lagging{Source: p.source()}, time.Unix(1_790_000_000, 0)
			ctx, cancel := context.WithCancel(t.Context())
			var behind, long []string
			var begun int
			o := &follow.Options{Now: func() time.Time { return now }}
			if trail {
				o.Trail = path + "-pagetrail"
			}
			o.Wait = func(_ context.Context, d time.Duration) error {
				switch now = now.Add(25 * time.Second); {
				case len(behind) == 0:
					src.Source = openSource(t, old)
				case len(behind) == 5:
					p.exec("INSERT INTO t VALUES(3)")
					p.txid()
					src.Source = p.source()
				}
				return ctx.Err()
			}
			o.Events = follow.Events{
				Unreachable: func(err error, _ time.Duration) {
					var e *follow.BehindError
					if !errors.As(err, &e) || e.Replica != at || e.Source != at-2 {
						t.Errorf("waiting because of %v", err)
					}
					behind = append(behind, err.Error())
				},
				Waiting:    func(what string) { long = append(long, fmt.Sprint(len(behind), ": ", what)) },
				TrailBegun: func(string, string) { begun++ },
				CaughtUp: func(pos journal.Position) {
					if pos.TXID > at {
						cancel()
					}
				},
			}
			if restart {
				first := *o
				first.Once = true
				if err := follow.Run(ctx, path, src, &first); err != nil {
					t.Fatal(err)
				}
				src.Source = openSource(t, old)
			}
			if err := follow.Run(ctx, path, src, o); err != nil {
				t.Fatalf("trail %v, restart %v: %v", trail, restart, err)
			}
			same(t, "replica", read(t, path), p.content())
			if len(behind) != 5 || len(long) != 1 || long[0][0] != '4' || begun != 0 {
				t.Errorf("trail %v, restart %v: behind %q, for long %q, %d trails begun", trail, restart, behind, long, begun)
			}
		}
	}
}

// TestSourceBeside: a source with fewer transactions than the replica that is in another history, or on another timeline,
// is no source that lags. Where nothing is remembered that says so it is found when the source has as many.
func TestSourceBeside(t *testing.T) {
	for _, how := range []string{"remembered", "in the trail", "forgotten", "no more", "timeline", "at once"} {
		p := newPrimary(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES(0)")
		other := p.twin()
		other.open()
		defer other.conn.Close()
		lags := how == "timeline" || how == "at once"
		if !lags {
			other.exec("INSERT INTO t VALUES('other 1')")
		}
		other.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		o := &follow.Options{BatchTransactions: 1}
		if how == "in the trail" {
			o.Trail = path + "-pagetrail"
		}
		src := &lagging{Source: p.source()}
		r := openReplica(t, path, src, o)
		catchUp(t, r) // which begins its trail
		p.exec("INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)", "INSERT INTO t VALUES(3)")
		at := p.txid()
		catchUp(t, r)
		src.Source = other.source()
		switch how {
		case "timeline":
			src.timeline = 2
		case "in the trail", "forgotten", "no more", "at once":
			closeReplica(t, r)
			if how == "at once" {
				o.BehindWait = -1
			}
			var err error
			if r, err = follow.Open(t.Context(), path, src, o); how == "in the trail" || how == "at once" {
				if !errors.Is(err, journal.ErrDiverged) {
					t.Errorf("%s: %v", how, err)
				}
				continue
			} else if err != nil {
				t.Fatal(how, err)
			}
			var behind *follow.BehindError
			if _, err := r.CatchUp(t.Context()); !errors.As(err, &behind) || errors.Is(err, journal.ErrDiverged) {
				t.Errorf("%s: %v", how, err)
			}
			for other.txid() < at {
				other.exec("INSERT INTO t VALUES('other')")
			}
			if how == "forgotten" {
				other.exec("INSERT INTO t VALUES('other')")
				other.txid()
			}
		}
		before := files(t, path)
		if _, err := r.CatchUp(t.Context()); !errors.Is(err, journal.ErrDiverged) || errors.Is(err, follow.ErrNotReady) {
			t.Errorf("%s: %v", how, err)
		}
		if files(t, path) != before {
			t.Errorf("%s: the replica changed", how)
		}
		closeReplica(t, r)
	}
}

// TestNothingYet: a source without a transaction is waited for, and that is said once.
func TestNothingYet(t *testing.T) {
	header := make([]byte, 512)
	copy(header, newPrimary(t, "PRAGMA page_size=512", "CREATE TABLE t(a)").content())
	m, path := newImages(t, 10), filepath.Join(t.TempDir(), "replica.db")
	ctx, cancel := context.WithCancel(t.Context())
	said, asked := 0, 0
	o := &follow.Options{Wait: func(ctx context.Context, _ time.Duration) error {
		if asked++; asked == 3 {
			m.commit([][]byte{header})
		}
		return ctx.Err()
	}}
	o.Events.Waiting = func(string) { said++ }
	o.Events.CaughtUp = func(journal.Position) { cancel() }
	if err := follow.Run(ctx, path, openSource(t, m.dir), o); err != nil || said != 1 {
		t.Fatalf("%v; it said so %d times", err, said)
	}
	same(t, "replica", read(t, path), header)
}
