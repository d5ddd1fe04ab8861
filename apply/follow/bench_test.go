//go:build linux || darwin

package follow_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
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
