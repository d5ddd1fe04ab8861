package cli

import (
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// sampler finds out what the transactions of a trail are in batches.
type sampler struct {
	t            *journal.Trail
	interval     journal.Time
	transactions uint64
	batches      []stretchOfTx
}

// stretchOfTx are transactions that would leave together.
type stretchOfTx struct{ first, last journal.TXID }

// batchBytes of patches end a batch, as those of package ship.
const batchBytes = 1 << 20

// divide makes the batches of all transactions from a time on: one begins with a transaction that finds nothing waiting,
// and ends an interval later, or when it is full.
func (s *sampler) divide(ctx context.Context, since journal.Time, given bool) (first journal.Time, err error) {
	var from journal.TXID
	if given {
		tx, _, err := s.t.FindTime(ctx, since)
		if err != nil {
			return 0, err
		}
		from = tx.TXID + 1
	}
	segments, err := s.t.Segments()
	if err != nil {
		return 0, err
	}
	if len(segments) > 0 {
		from = max(from, segments[0].First)
	}
	var leaves journal.Time // when the last batch does
	var bytes int64
	for r, err := range s.t.Records(ctx, from) {
		if err != nil {
			return 0, err
		}
		if len(s.batches) == 0 {
			first = r.Time
		}
		if len(s.batches) == 0 || r.Time >= leaves || bytes >= batchBytes {
			s.batches = append(s.batches, stretchOfTx{first: r.First()})
			leaves, bytes = r.Time+s.interval, 0
		}
		s.batches[len(s.batches)-1].last = r.TXID
		s.transactions++
		bytes += r.Bytes
	}
	return first, nil
}

// How many runs of batches are measured, and how many batches each has. A trail of fewer is measured whole.
const (
	sampleRuns  = 8
	sampleBatch = 40
)

// measure writes batches, and says what all of them take by that.
func (s *sampler) measure(ctx context.Context) (bytes int64, measured int, err error) {
	n := len(s.batches)
	if n <= sampleRuns*sampleBatch {
		bytes, err = s.write(ctx, s.batches)
		return bytes, n, err
	}
	for i := range sampleRuns {
		at := (n - sampleBatch) * i / (sampleRuns - 1)
		b, err := s.write(ctx, s.batches[at:at+sampleBatch])
		if err != nil {
			return 0, 0, err
		}
		bytes += b
		measured += sampleBatch
	}
	return int64(float64(bytes) / float64(measured) * float64(n)), measured, nil
}

// write writes batches that follow each other, and says how many bytes they have.
func (s *sampler) write(ctx context.Context, run []stretchOfTx) (bytes int64, err error) {
	prev, err := s.t.Boundary(ctx, run[0].first-1)
	if err != nil {
		return 0, err
	}
	if prev.Last+1 < run[0].first { // what is between is of the batch before
		if prev, err = s.one(ctx, &prev, run[0].first-1); err != nil {
			return 0, err
		}
	}
	for _, b := range run {
		if prev, err = s.one(ctx, &prev, b.last); err != nil {
			return 0, err
		}
		bytes += prev.Size
	}
	return bytes, nil
}

func (s *sampler) one(ctx context.Context, prev *journal.Batch, to journal.TXID) (b journal.Batch, err error) {
	f := durable.NewSpool(durable.OS, "", 4<<20)
	b, err = s.t.WriteBatch(ctx, f, prev, 0, &journal.BatchOptions{To: to})
	return b, errors.Join(err, f.Close())
}
