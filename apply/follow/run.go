package follow

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Run keeps the file at path in step with the source until the context ends,
// which is no error, or something cannot be put right. With Options.Once it
// returns as soon as the replica is where the source is.
func Run(ctx context.Context, path string, src Source, o *Options) error {
	opt := o.withDefaults()
	poll := poller{o: &opt}
	var r *Replica
	nothing := false // was said
	for {
		var n int
		var err error
		if r == nil {
			r, err = Open(ctx, path, src, &opt)
		}
		if err == nil {
			n, err = r.CatchUp(ctx)
		}
		switch {
		case ctx.Err() != nil && !opt.Once:
			return closed(r, nil)
		case err != nil && !opt.Once && opt.passes(err):
			if poll.unreachable(ctx, err) != nil {
				return closed(r, nil)
			}
			continue
		case errors.Is(err, ErrNothing) && !opt.Once:
			if f := opt.Events.Waiting; f != nil && !nothing {
				f("the source has no transaction yet")
			}
			r, nothing = nil, true
		case errors.Is(err, ErrChanged):
			err = r.release()
			r = nil
			if err != nil {
				return err
			}
			continue
		case err != nil, opt.Once:
			return closed(r, err)
		}
		if err := poll.wait(ctx, src, n > 0); err != nil {
			return closed(r, nil)
		}
	}
}

func closed(r *Replica, err error) error {
	if r == nil {
		return err
	}
	return errors.Join(err, r.Close())
}

// poller looks often after something came, and ever less often when nothing
// does or the source cannot be reached.
type poller struct {
	o      *Options
	pause  time.Duration
	retry  time.Duration
	behind time.Time // since when the source has been behind the replica; zero: it is not
	said   bool      // that it has been for long
}

func (p *poller) wait(ctx context.Context, src Source, busy bool) error {
	p.retry, p.behind, p.said = 0, time.Time{}, false
	if w, ok := src.(Waiter); ok {
		return w.Await(ctx, p.o.PollMax)
	}
	if busy {
		p.pause = p.o.PollMin
	} else {
		p.pause = min(max(p.pause+p.pause/16, p.o.PollMin), p.o.PollMax)
	}
	return p.o.Wait(ctx, p.pause)
}

// unreachable waits before the source is asked again: twice as long each time,
// and between half of that and all of it at random, so that followers that lost
// the same source do not all come back at once.
func (p *poller) unreachable(ctx context.Context, err error) error {
	p.retry = min(max(2*p.retry, p.o.RetryMin), p.o.RetryMax)
	pause := p.retry/2 + rand.N(p.retry/2+1)
	if f := p.o.Events.Unreachable; f != nil {
		f(err, pause)
	}
	p.lags(err)
	return p.o.Wait(ctx, pause)
}

// lags says, once, that the source has been behind the replica for longer than a
// relay should be.
func (p *poller) lags(err error) {
	var e *BehindError
	if !errors.As(err, &e) {
		return
	}
	now := p.o.Now()
	if p.behind.IsZero() {
		p.behind = now
	}
	if f := p.o.Events.Waiting; f != nil && !p.said && now.Sub(p.behind) >= p.o.BehindWait {
		p.said = true
		f(fmt.Sprintf("the source has been behind for %v, and is at transaction %d: it stands still, or it lost what the replica has",
			now.Sub(p.behind).Round(time.Second), e.Source))
	}
}

// CatchUp applies what the source has, and returns how many transactions that
// were. Nothing to apply is no error.
func (r *Replica) CatchUp(ctx context.Context) (int, error) {
	if r.failed != nil {
		return 0, r.failed
	}
	if err := r.intact(); err != nil {
		return 0, err
	}
	asked := r.o.Now()
	last, err := r.src.Refresh(ctx)
	if err != nil {
		return 0, err
	}
	r.known = last.TXID
	asked, bytes := r.informed(asked)
	r.o.Monitor.note(r, bytes, time.Time{})
	from := r.pos.TXID
	if last.TXID < r.pos.TXID && !r.o.Rewind && r.damaged == "" {
		err := r.lags(ctx, last)
		if !errors.Is(err, ErrNotReady) {
			err = fmt.Errorf("replica %s: %w", r.path, err)
		}
		return 0, err
	}
	if r.damaged != "" {
		if err := r.repair(ctx, last.TXID, r.damaged); err != nil {
			return 0, fmt.Errorf("repair of replica %s: %w", r.path, err)
		}
	}
	if err := r.keep.open(ctx); err != nil {
		return 0, err
	}
	if last.TXID < r.pos.TXID || last.TXID == r.pos.TXID && last.SumKnown && last.Sum != r.pos.Sum {
		if err := r.rewind(ctx, last); err != nil {
			return 0, err
		}
		return 0, nil
	}
	for r.pos.TXID < last.TXID {
		if err := r.follow(ctx, last); err != nil {
			return int(r.pos.TXID - from), err
		}
	}
	if err := r.keep.open(ctx); err != nil { // if it has to begin anew
		return int(r.pos.TXID - from), err
	}
	if bytes > 0 {
		bytes = 0
	}
	r.o.Monitor.note(r, bytes, asked)
	if f := r.o.Events.CaughtUp; f != nil {
		f(r.pos.Position)
	}
	return int(r.pos.TXID - from), nil
}

// rewind makes the source's last state that of a replica whose own is not in
// the source's history, if that is wanted.
func (r *Replica) rewind(ctx context.Context, last journal.Tx) error {
	if !r.o.Rewind {
		if err := r.sameHistory(ctx, r.pos); err != nil {
			return fmt.Errorf("replica %s: %w", r.path, err)
		}
		return nil // the source has it after all
	}
	return r.repair(ctx, last.TXID, fmt.Sprintf("its transaction %d is not in the source's history", r.pos.TXID))
}

// follow applies records until they end, or something other than a record is
// needed, which it does. What it applied before an error is committed.
func (r *Replica) follow(ctx context.Context, last journal.Tx) error {
	s := &r.stage
	for rec, err := range r.src.Records(ctx, r.pos.TXID+1) {
		if err == nil && rec.Kind == journal.Base {
			return r.rebase(ctx, rec.Tx)
		}
		if err == nil && rec.PageSize != s.size {
			err = r.commit(ctx)
		}
		if err == nil {
			err = s.add(ctx, rec)
		}
		if err == nil {
			if err := r.keep.add(rec, s.pos.Sum); err != nil {
				return errors.Join(err, r.abandon())
			}
		}
		if err != nil {
			return r.settleError(ctx, last, err)
		}
		if s.txs >= r.o.BatchTransactions || len(s.dirty)*s.size >= r.o.BatchBytes || s.size != r.hdr.PageSize {
			if err := r.commit(ctx); err != nil {
				return err
			}
		}
	}
	return r.commit(ctx)
}

// rebase takes a transaction that is not made by patches: its state as a whole.
func (r *Replica) rebase(ctx context.Context, tx journal.Tx) error {
	if err := r.commit(ctx); err != nil {
		return err
	}
	before := r.keep.w
	r.keep.w = nil // repair is not to take it for a jump
	err := r.repair(ctx, tx.TXID, "")
	if r.keep.w = before; err != nil {
		return err
	}
	return r.keep.jumped(ctx, &tx, "")
}

// abandon forgets what is staged.
func (r *Replica) abandon() error {
	r.stage.reset(r)
	return r.keep.cut()
}

// settleError commits what came before the error, and decides what it means.
func (r *Replica) settleError(ctx context.Context, last journal.Tx, err error) error {
	at := r.stage.pos.TXID + 1
	if e := r.commit(ctx); e != nil {
		return e
	}
	switch {
	case isRange(err):
		var e *journal.RangeError
		if errors.As(err, &e) && e.First > at {
			return r.repair(ctx, last.TXID, fmt.Sprintf("the source no longer holds transaction %d", at))
		}
		if _, folded := errors.AsType[*journal.FoldedError](err); folded {
			return r.repair(ctx, last.TXID, fmt.Sprintf("the source has folded transaction %d into a later one", at))
		}
	case isMismatch(err):
		// Either the record is wrong, or the pages it was applied to are.
		sum, e := r.checksum(ctx)
		if e != nil {
			return e
		}
		if sum != r.pos.Sum {
			return r.repair(ctx, last.TXID, "another program changed the replica's file")
		}
		if e := r.sameHistory(ctx, r.pos); errors.Is(e, journal.ErrDiverged) {
			return r.rewind(ctx, last)
		}
	}
	return fmt.Errorf("replica %s stays at transaction %d: %w", r.path, r.pos.TXID, err)
}
