//go:build linux || darwin

package follow_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// mute is a source that stops to answer.
type mute struct {
	follow.Source
	silent bool
}

func (m *mute) Refresh(ctx context.Context) (journal.Tx, error) {
	if m.silent {
		return journal.Tx{}, fmt.Errorf("nobody there: %w", follow.ErrUnreachable)
	}
	return m.Source.Refresh(ctx)
}

// TestLagIsHonest: while the source answers, what readers see is as old as the last
// answer; when it falls silent, that grows, and nobody says that all is well.
func TestLagIsHonest(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)")
	p.txid()
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	src, mon := &mute{Source: p.source()}, new(follow.Monitor)
	o := &follow.Options{BatchTransactions: 1, Monitor: mon, Now: func() time.Time { return now }}
	var behind []uint64
	o.Events.Applied = func(a follow.Applied) {
		lag := mon.Lag()
		behind = append(behind, lag.Transactions)
		if lag.Position != a.Position || lag.Staleness(now) != time.Minute {
			t.Errorf("at %d: %+v", a.Position.TXID, lag)
		}
	}
	r := openReplica(t, filepath.Join(t.TempDir(), "replica.db"), src, o)
	catchUp(t, r)
	if lag := mon.Lag(); lag.Staleness(now) != 0 || lag.Transactions != 0 {
		t.Fatalf("level: %+v", lag)
	}
	now = now.Add(time.Minute)
	for i := range 3 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
	}
	p.txid()
	catchUp(t, r)
	if lag := mon.Lag(); lag.Staleness(now) != 0 || fmt.Sprint(behind) != "[2 1 0]" {
		t.Errorf("%+v, behind by %v", lag, behind)
	}
	src.silent = true
	now = now.Add(time.Hour)
	if _, err := r.CatchUp(t.Context()); err == nil {
		t.Error("a silent source is no error")
	}
	if lag := mon.Lag(); lag.Staleness(now) != time.Hour {
		t.Errorf("after an hour of silence: %+v", lag)
	}
	closeReplica(t, r)
}
