//go:build linux || darwin

package follow_test

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

// BenchmarkCatchUp asks how many small transactions a second a follower that is
// behind applies: with the batches of the default, and each by itself.
func BenchmarkCatchUp(b *testing.B) {
	const txs = 5000
	p := newPrimary(b, "PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT)", "CREATE INDEX i ON t(a)")
	p.txid()
	start := filepath.Join(b.TempDir(), "start.db")
	closeReplica(b, openReplica(b, start, p.source(), nil))
	for i := range txs {
		p.exec(fmt.Sprintf("INSERT INTO t(a, b) VALUES(%d, 'some text of a row %d')", i*7919%10007, i))
	}
	p.txid()
	for _, batch := range []int{128, 16, 1} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			n, pages := 0, 0
			o := &follow.Options{BatchTransactions: batch, Events: follow.Events{Applied: func(a follow.Applied) { pages += a.Pages }}}
			for b.Loop() {
				b.StopTimer()
				path := filepath.Join(b.TempDir(), "replica.db")
				write(b, path, read(b, start))
				r := openReplica(b, path, p.source(), o)
				b.StartTimer()
				n += catchUp(b, r)
				b.StopTimer()
				closeReplica(b, r)
				b.StartTimer()
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "tx/s")
			b.ReportMetric(float64(pages)/float64(n), "pages/tx")
		})
	}
}

// TestLag measures, when asked to (PAGETRAIL_TEST_LAG=seconds), how long after
// its commit a transaction is visible in the replica, at 1,000 a second.
func TestLag(t *testing.T) {
	seconds, err := strconv.Atoi(os.Getenv("PAGETRAIL_TEST_LAG"))
	if err != nil {
		t.Skip("a measurement: set PAGETRAIL_TEST_LAG to the seconds it may take")
	}
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, b TEXT)")
	first := p.txid()
	path := filepath.Join(t.TempDir(), "replica.db")
	ctx, cancel := context.WithCancel(context.Background())
	var mu sync.Mutex
	visible := map[journal.TXID]time.Time{}
	var last journal.TXID
	o := &follow.Options{Events: follow.Events{
		Attached: func(pos journal.Position) { last = pos.TXID },
		Applied: func(a follow.Applied) {
			now := time.Now()
			mu.Lock()
			defer mu.Unlock()
			for id := last + 1; id <= a.Position.TXID; id++ {
				visible[id] = now
			}
			last = a.Position.TXID
		},
	}}
	done := make(chan error)
	go func() { done <- follow.Run(ctx, path, p.source(), o) }()
	committed := make([]time.Time, 0, seconds*1000)
	tick := time.NewTicker(time.Millisecond)
	for range seconds * 1000 {
		<-tick.C
		p.exec("INSERT INTO t(b) VALUES('some text of a row')")
		committed = append(committed, time.Now())
	}
	end := p.txid()
	for start := time.Now(); time.Since(start) < 10*time.Second; time.Sleep(time.Millisecond) {
		mu.Lock()
		arrived := last >= end
		mu.Unlock()
		if arrived {
			break
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var lags []time.Duration
	for i, at := range committed {
		lags = append(lags, visible[first+1+journal.TXID(i)].Sub(at))
	}
	slices.Sort(lags)
	n := len(lags)
	t.Logf("commit to visible over %d transactions: p50 %v, p90 %v, p99 %v, max %v", n, lags[n/2], lags[n*9/10], lags[n*99/100], lags[n-1])
}
