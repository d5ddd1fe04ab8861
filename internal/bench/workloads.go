package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/internal/workload"
)

// runner is one of the workloads.
type runner interface {
	Run(context.Context) error
	Close() error
}

const tiny = 1 // job.N for a workload at its smallest, for tests

// workloadJob runs a workload and says how many transactions it made.
func workloadJob(start func(conn *sqlite3.Conn, n int, hooks workload.Hooks) runner) func(*job) (map[string]float64, error) {
	return func(j *job) (_ map[string]float64, err error) {
		conn, err := j.open()
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, conn.Close()) }()
		transactions := 0
		w := start(conn, j.N, workload.Hooks{Committed: func(*sqlite3.Conn, workload.Commit) error {
			transactions++
			return nil
		}})
		defer func() { err = errors.Join(w.Close(), err) }()
		err = w.Run(context.Background())
		return map[string]float64{"transactions": float64(transactions)}, err
	}
}

func bucketStore(conn *sqlite3.Conn, n int, hooks workload.Hooks) runner {
	scale := workload.BucketSmall
	if n == tiny {
		scale = workload.BucketTiny
	}
	return workload.NewBucket(conn, scale, 7, hooks)
}

func documentStore(conn *sqlite3.Conn, n int, hooks workload.Hooks) runner {
	scale := workload.DocumentSmall
	if n == tiny {
		scale = workload.DocumentTiny
	}
	return workload.NewDocument(conn, scale, 7, hooks)
}

// askWorkloads runs both workloads at scale S. The limits are what was measured for workloads of
// the same shape when the format was chosen, with each transaction compressed by itself: 22.4 MB
// for 13,282 transactions and 34.5 MB for 5,797.
func askWorkloads(b *bench) error {
	for _, w := range []struct {
		name  string
		limit float64 // bytes a transaction
	}{{"bucket", 22.4e6 / 13_282}, {"document", 34.5e6 / 5_797}} {
		j := job{Name: w.name, N: max(tiny, 100/b.share)}
		reps := b.reps
		b.reps = min(reps, 3)
		pairs, err := b.compare(j, "pagetrail", "")
		b.reps = reps
		if err != nil {
			return err
		}
		b.ratio(w.name+" store, scale S, wall", 0, pairs, wall)
		b.ratio(w.name+" store, scale S, CPU", 0, pairs, cpu)
		j.DB, j.VFS = b.path("bytes.db"), "pagetrail"
		c, err := b.measure(j)
		if err != nil {
			return err
		}
		size := segmentBytes(j.DB)
		each := float64(size) / c.out["transactions"]
		b.rows = append(b.rows, row{
			Question: w.name + " store, trail a transaction", Ours: ui.Bytes(size), Value: each, Shown: fmt.Sprintf("%.0f B", each),
			Target: fmt.Sprintf("≤ %.0f B", w.limit*1.05), OK: each <= w.limit*1.05,
		})
		if err := removeDatabase(j.DB); err != nil {
			return err
		}
	}
	return nil
}
