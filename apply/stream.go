package apply

import (
	"context"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// Reading, decompressing and parsing records is as much work as applying
// them, so one goroutine does the one and another the other. A record is only
// valid until the reader's next step: what is small is copied into batches,
// which go around in a ring; what is large is lent, and the reader waits
// until it is applied.
const (
	batchBytes = 256 << 10 // of patches in a batch
	batchSteps = 512       // in a batch
	ringSize   = 3         // one being filled, one on its way, one being applied
)

// step is a transaction, or one group of a large one.
type step struct {
	tx    *journal.Tx // on the first step of a transaction, else nil
	body  diff.Body
	size  int  // of the body in the trail
	group bool // body is set
	last  bool // of its transaction
}

// batch is some steps in order, with the memory they lie in.
type batch struct {
	steps []step
	txs   []journal.Tx // never beyond its capacity: steps point into it
	arena []byte       // never beyond its capacity: bodies point into it
	err   error        // the reader's, after the steps
	lent  bool         // the last body is the reader's own
	back  chan struct{}
}

// keep copies a stream into the batch.
func (b *batch) keep(p []byte) []byte {
	n := len(b.arena)
	b.arena = append(b.arena, p...)
	return b.arena[n:len(b.arena):len(b.arena)]
}

// leftFunc says what of the body of a transaction is still to be applied, valid
// until the next.
type leftFunc func(tx *journal.Tx, body diff.Body) (diff.Body, error)

// reader fills batches from a trail.
type reader struct {
	out  chan<- *batch
	stop <-chan struct{}
	left leftFunc // nil: all of it
	ring [ringSize]*batch
	at   int
}

// next takes the next batch of the ring, once it is back.
func (r *reader) next() (*batch, bool) {
	if r.ring[r.at] == nil {
		r.ring[r.at] = &batch{
			steps: make([]step, 0, batchSteps),
			txs:   make([]journal.Tx, 0, batchSteps),
			arena: make([]byte, 0, batchBytes),
			back:  make(chan struct{}, 1),
		}
		return r.ring[r.at], true
	}
	b := r.ring[r.at]
	select {
	case <-b.back:
	case <-r.stop:
		return nil, false
	}
	clear(b.steps)
	clear(b.txs)
	b.steps, b.txs, b.arena, b.err, b.lent = b.steps[:0], b.txs[:0], b.arena[:0], nil, false
	return b, true
}

// send passes a batch on and returns an empty one; false when nobody wants
// more.
func (r *reader) send(b *batch) (*batch, bool) {
	select {
	case r.out <- b:
	case <-r.stop:
		return nil, false
	}
	if !b.lent {
		r.at = (r.at + 1) % ringSize
	}
	return r.next()
}

// read sends the transactions after from, up to to.
func (r *reader) read(ctx context.Context, trail *journal.Trail, from, to journal.TXID) {
	b, ok := r.next()
	if from < to {
		for rec, err := range trail.RecordsTo(ctx, from+1, to) {
			if err != nil {
				b.err = err
				break
			}
			if b, ok = r.record(b, rec); !ok {
				return
			}
			if b.err != nil || rec.TXID >= to {
				break
			}
		}
	}
	if ok {
		r.send(b)
	}
}

// record adds one record to the batches.
func (r *reader) record(b *batch, rec *journal.Record) (*batch, bool) {
	ok := true
	if len(b.steps) == cap(b.steps) {
		if b, ok = r.send(b); !ok {
			return nil, false
		}
	}
	b.txs = append(b.txs, rec.Tx)
	tx := &b.txs[len(b.txs)-1]
	if rec.Kind != journal.Base {
		for body, err := range rec.Groups() {
			if err != nil {
				b.err = err
				return b, true
			}
			size := body.Len()
			if r.left != nil {
				if body, b.err = r.left(&rec.Tx, body); b.err != nil {
					return b, true
				}
			}
			if b, ok = r.group(b, step{tx: tx, body: body, size: size, group: true}); !ok {
				return nil, false
			}
			tx = nil
		}
	}
	if n := len(b.steps); tx == nil && n > 0 {
		b.steps[n-1].last = true // its group is still here
		return b, true
	}
	b.steps = append(b.steps, step{tx: tx, last: true})
	return b, true
}

// group adds one group, copied or lent.
func (r *reader) group(b *batch, s step) (*batch, bool) {
	ok, body := true, s.body
	fits := body.Len() <= cap(b.arena)-len(b.arena)
	if len(b.steps) == cap(b.steps) || !fits && len(b.steps) > 0 {
		// The description moves along with the transaction's first step.
		var moved []journal.Tx
		if s.tx != nil {
			moved = []journal.Tx{*s.tx}
			b.txs = b.txs[:len(b.txs)-1]
		}
		if b, ok = r.send(b); !ok {
			return nil, false
		}
		if s.tx != nil {
			b.txs = append(b.txs, moved...)
			s.tx = &b.txs[0]
		}
	}
	if body.Len() > cap(b.arena) {
		b.steps, b.lent = append(b.steps, s), true
		return r.send(b)
	}
	s.body = diff.Body{Pages: b.keep(body.Pages), Tokens: b.keep(body.Tokens), Literals: b.keep(body.Literals)}
	b.steps = append(b.steps, s)
	return b, true
}

// stream hands the transactions after from, up to to, to apply, a batch at a
// time, or if left is given, what it leaves of their bodies; that is called by
// another goroutine. It returns when all have been applied, at the first error
// of any side, or when the context ends.
func stream(ctx context.Context, trail *journal.Trail, from, to journal.TXID, left leftFunc, apply func(*batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	out := make(chan *batch, 1)
	go func() {
		defer close(out)
		r := reader{out: out, stop: ctx.Done(), left: left}
		r.read(ctx, trail, from, to)
	}()
	// The reader must be gone before the caller closes the trail.
	defer func() {
		cancel()
		for range out {
		}
	}()
	for b := range out {
		if err := apply(b); err != nil {
			return err
		}
		if b.err != nil && ctx.Err() == nil {
			return b.err
		}
		b.back <- struct{}{}
	}
	return context.Cause(ctx)
}

// applyBatch applies the steps of a batch; a transaction may go on in the
// next one.
func (s *State) applyBatch(ctx context.Context, b *batch) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	c := &s.current
	for i := range b.steps {
		step := &b.steps[i]
		if step.tx != nil {
			var err error
			if *c, err = s.begin(ctx, step.tx); err != nil {
				return err
			}
			s.ahead.begun(c)
		}
		if step.group {
			if err := s.group(ctx, c, step.body); err != nil {
				return err
			}
		}
		if step.last {
			if err := s.finish(ctx, c); err != nil {
				return err
			}
		}
	}
	if b.err != nil {
		s.abandon(c, b.err)
	}
	return nil
}

// replay moves the state forward to transaction to. Progress counts from the
// TXID first, where the work as a whole began.
func (s *State) replay(ctx context.Context, trail *journal.Trail, to journal.TXID, p Progress) error {
	p.Phase = PhaseReplay
	start := s.tx.TXID
	p.TransactionsTotal = uint64(to - start)
	var left leftFunc
	if s.ahead != nil {
		left = s.ahead.left
	}
	err := stream(ctx, trail, start, to, left, func(b *batch) error {
		err := s.applyBatch(ctx, b)
		for i := range b.steps {
			p.Bytes += int64(b.steps[i].size)
		}
		p.Transactions = uint64(s.tx.TXID - start)
		s.progress.report(p, s.tx.TXID == to)
		return err
	})
	s.ahead = nil
	if err == nil && s.tx.TXID != to {
		err = &journal.Error{Path: trail.Dir(), Offset: -1, TXID: s.tx.TXID + 1, Err: fmt.Errorf("ends before transaction %d: %w", to, journal.ErrGap)}
	}
	return err
}
