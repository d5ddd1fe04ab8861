//go:build linux || darwin

package remote_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
