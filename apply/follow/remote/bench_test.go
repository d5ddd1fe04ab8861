//go:build linux || darwin

package remote_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// BenchmarkCatchUp asks how many small transactions a second a follower that is behind gets over HTTP and applies,
// server and follower in one process: out of a tail, and out of sealed segments.
func BenchmarkCatchUp(b *testing.B) {
	const txs = 5000
	p := newPrimary(b, "PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT)", "CREATE INDEX i ON t(a)")
	p.txid()
	_, url := server(b, p.trail(), nil)
	start := filepath.Join(b.TempDir(), "start.db")
	closeReplica(b, openReplica(b, start, open(b, url, nil), nil))
	for i := range txs {
		p.exec(fmt.Sprintf("INSERT INTO t(a, b) VALUES(%d, 'some text of a row %d')", i*7919%10007, i))
	}
	p.txid()
	run := func(b *testing.B) {
		n := 0
		for b.Loop() {
			b.StopTimer()
			path := filepath.Join(b.TempDir(), "replica.db")
			if err := os.WriteFile(path, read(b, start), 0o600); err != nil {
				b.Fatal(err)
			}
			src := open(b, url, nil)
			r := openReplica(b, path, src, nil)
			b.StartTimer()
			m, err := r.CatchUp(context.Background())
			if err != nil {
				b.Fatal(err)
			}
			n += m
			b.StopTimer()
			closeReplica(b, r)
			src.Close()
			b.StartTimer()
		}
		b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tx/s")
	}
	b.Run("tail", run)
	w, err := journal.OpenWriter(p.dir(), nil)
	if err == nil {
		_, err = w.Lock()
	}
	if err == nil {
		err = w.Rotate()
	}
	if err == nil {
		w.Close()
		_, err = journal.Seal(context.Background(), p.dir(), nil)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Run("sealed", run)
}

// TestLag measures, when asked to (PAGETRAIL_TEST_LAG=seconds), how long after its commit a transaction is visible in
// the last of so many replicas over HTTP on this machine, at 1,000 a second.
func TestLag(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("PAGETRAIL_TEST_LAG"))
	if err != nil {
		t.Skip("a measurement: set PAGETRAIL_TEST_LAG to the seconds it may take")
	}
	for _, followers := range []int{1, 10} {
		lags := measure(t, seconds, followers)
		n := len(lags)
		t.Logf("%d followers, commit to visible over %d transactions: p50 %v, p90 %v, p99 %v, max %v",
			followers, n, lags[n/2], lags[n*9/10], lags[n*99/100], lags[n-1])
	}
}

func measure(t *testing.T, seconds, followers int) []time.Duration {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT)")
	first := p.txid()
	_, url := server(t, p.trail(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	visible := map[journal.TXID]time.Time{} // in the last of them
	behind := sync.NewCond(&mu)
	at := make([]journal.TXID, followers)
	var running sync.WaitGroup
	for i := range followers {
		src := open(t, url, nil)
		o := &follow.Options{Events: follow.Events{
			Attached: func(pos journal.Position) { at[i] = pos.TXID },
			Applied: func(a follow.Applied) {
				mu.Lock()
				defer mu.Unlock()
				for id := at[i] + 1; id <= a.Position.TXID; id++ {
					visible[id] = time.Now()
				}
				at[i] = a.Position.TXID
				behind.Signal()
			},
		}}
		path := filepath.Join(t.TempDir(), "replica.db")
		closeReplica(t, openReplica(t, path, src, nil))
		running.Go(func() {
			if err := follow.Run(ctx, path, src, o); err != nil {
				t.Error(err)
			}
		})
	}
	committed := make([]time.Time, 0, seconds*1000)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for range seconds * 1000 {
		<-tick.C
		p.exec("INSERT INTO t(b) VALUES('some text of a row')")
		committed = append(committed, time.Now())
	}
	end := p.txid()
	mu.Lock()
	for slices.Min(at) < end {
		behind.Wait()
	}
	mu.Unlock()
	cancel()
	running.Wait()
	var lags []time.Duration
	for i, c := range committed {
		lags = append(lags, visible[first+1+journal.TXID(i)].Sub(c))
	}
	slices.Sort(lags)
	return lags
}
