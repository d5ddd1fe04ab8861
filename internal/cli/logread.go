package cli

import (
	"context"
	"errors"
	"slices"

	"github.com/pagetrail/pagetrail/journal"
)

// logReader reads the descriptions of transactions and goes on where it can: a file that is damaged
// or missing takes the transactions in it and no others.
type logReader struct {
	trail  *journal.Trail
	starts []journal.TXID // where reading can begin, see logStarts
	worst  error          // what was met on the way
	usual  usual
}

// logRow is one line of a log.
type logRow struct {
	tx    journal.Tx
	large large
	// lost is set on a row that stands for transactions that could not be read: those from lostFrom to
	// lostTo, or where lostTo is 0, from lostFrom to an end that nobody knows.
	lost             error
	lostFrom, lostTo journal.TXID
}

func newLogReader(ctx context.Context, t *journal.Trail) (*logReader, error) {
	starts, err := logStarts(ctx, t)
	if err != nil && len(starts) == 0 {
		return nil, err
	}
	return &logReader{trail: t, starts: starts, worst: err}, nil
}

// logStarts are the first TXIDs of the segments and of what is lost, ascending. A segment whose header or footer is
// damaged is among the latter only.
func logStarts(ctx context.Context, t *journal.Trail) ([]journal.TXID, error) {
	segments, err := t.Segments()
	var starts []journal.TXID
	for _, s := range segments {
		starts = append(starts, s.First)
	}
	if w, werr := t.Window(ctx); werr == nil {
		for _, gap := range w.Gaps {
			starts = append(starts, gap.First)
		}
	}
	slices.Sort(starts)
	return slices.Compact(starts), err
}

// lookBack is how many transactions before the first shown teach what is usual.
const lookBack = 64

// read calls each for every transaction from first to last. Those just before first are read too,
// to know what is usual.
func (r *logReader) read(ctx context.Context, first, last journal.TXID, each func(logRow) error) error {
	next := first - min(first-1, lookBack)
	if len(r.starts) > 0 {
		next = max(next, r.starts[0])
	}
	for next <= last {
		err := r.run(ctx, &next, first, last, each)
		if err == nil {
			return nil
		}
		var stop *stopError
		if errors.As(err, &stop) {
			return stop.err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		resume := r.after(next)
		row := logRow{lost: err, lostFrom: max(next, first), lostTo: min(resume-1, last)}
		if row.lostFrom <= row.lostTo { // else it was only to know what is usual
			r.worst = worse(r.worst, err)
			if err := each(row); err != nil {
				return err
			}
		}
		next = resume
	}
	return nil
}

// stopError carries an error of the callback past the reader's own.
type stopError struct{ err error }

func (e *stopError) Error() string { return e.err.Error() }

// run reads on from next until last or an error, and leaves in next the first TXID not read.
func (r *logReader) run(ctx context.Context, next *journal.TXID, first, last journal.TXID, each func(logRow) error) error {
	for rec, err := range r.trail.Records(ctx, *next) {
		if err != nil {
			return err
		}
		if rec.TXID > last {
			return nil
		}
		row := logRow{tx: rec.Tx, large: r.usual.judge(rec.Tx)}
		*next = rec.TXID + 1
		if rec.TXID < first {
			continue
		}
		if err := each(row); err != nil {
			return &stopError{err}
		}
	}
	return nil
}

// after is the first TXID after id at which a segment begins; beyond all TXIDs when there is none.
func (r *logReader) after(id journal.TXID) journal.TXID {
	for _, s := range r.starts {
		if s > id {
			return s
		}
	}
	return ^journal.TXID(0)
}

// large says in which respect a transaction stands out.
type large struct{ pages, bytes bool }

func (l large) any() bool { return l.pages || l.bytes }

// usual learns what transactions of a trail are like, from the last ones seen, to tell when one is
// unlike them: a DELETE without WHERE among single-row updates is what a reader of a log looks for.
type usual struct {
	pages, bytes []int64 // the last ones, as a ring
	next         int
}

// A transaction is large when it is largeFactor times the median of those before it, and large in
// itself: eight times nothing is nothing.
const (
	largeFactor   = 8
	largePages    = 32
	largeBytes    = 16 << 10
	usualMinimum  = 8 // fewer transactions than this say nothing about what is usual
	usualCapacity = lookBack
)

// judge says whether tx stands out among those judged before, and remembers it.
func (u *usual) judge(tx journal.Tx) large {
	var l large
	if len(u.pages) >= usualMinimum && tx.Kind != journal.Base {
		l.pages = int64(tx.Pages) >= max(largePages, largeFactor*median(u.pages))
		l.bytes = tx.Bytes >= max(largeBytes, largeFactor*median(u.bytes))
	}
	if len(u.pages) < usualCapacity {
		u.pages = append(u.pages, int64(tx.Pages))
		u.bytes = append(u.bytes, tx.Bytes)
		return l
	}
	u.pages[u.next], u.bytes[u.next] = int64(tx.Pages), tx.Bytes
	u.next = (u.next + 1) % usualCapacity
	return l
}

func median(v []int64) int64 {
	var sorted [usualCapacity]int64
	n := copy(sorted[:], v)
	slices.Sort(sorted[:n])
	return sorted[n/2]
}
