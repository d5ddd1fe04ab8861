package follow

import (
	"bytes"
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// repair makes the replica the source's last state, whatever it is now, by
// writing the pages that differ, in one commit. It is how a replica that
// another program wrote to is put right, how one that was away for too long
// jumps forward, and how a record of kind Base is applied.
func (r *Replica) repair(ctx context.Context, id journal.TXID, reason string) error {
	state, err := r.src.State(ctx, id)
	if err != nil {
		return err
	}
	pages, err := r.become(ctx, state)
	if err = errors.Join(err, state.Close()); err != nil {
		return err
	}
	r.damaged = ""
	if err := r.keep.jumped(ctx, nil, reason); err != nil {
		return err
	}
	if f := r.o.Events.Repaired; f != nil && reason != "" {
		f(reason, pages)
	}
	return nil
}

// become commits the difference between the replica and a state.
func (r *Replica) become(ctx context.Context, state *apply.State) (int, error) {
	s := &r.stage
	if err := r.stageDifference(ctx, state); err != nil {
		s.reset(r)
		return 0, err
	}
	tx, id := state.Tx(), r.src.Identity()
	r.past = past{} // what comes before may be another history
	s.count, s.txs = state.PageCount(), 1
	s.pos = mark{
		Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: state.Sum()},
		time:     tx.Time,
	}
	if r.slots.last.seq > 0 && r.slots.last.TXID > tx.TXID {
		// The bound must not be above the position at any moment.
		if err := r.slots.write(s.pos); err != nil {
			return 0, r.fail(err)
		}
	}
	n := len(s.dirty)
	if err := r.commit(ctx); err != nil {
		s.reset(r)
		return 0, err
	}
	return n, nil
}

// stageDifference stages the pages of a state that the replica has not.
func (r *Replica) stageDifference(ctx context.Context, state *apply.State) error {
	s := &r.stage
	s.reset(r)
	if state.PageSize() != s.size {
		s.resize(state.PageSize(), 0)
	}
	s.pending = 0
	own := make([]byte, s.size)
	lock := diff.LockPage(s.size)
	for no := uint32(1); no <= state.PageCount(); no++ {
		if no == lock {
			continue
		}
		if no%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b := s.buffer()
		err := state.ReadPage(no, b)
		if err == nil && no <= s.count {
			err = r.readPage(no, own)
		}
		if err != nil {
			return err
		}
		if no <= s.count && bytes.Equal(b, own) {
			s.recycle(b)
			continue
		}
		s.put(staged{no: no, buf: b})
		if s.pending += s.size; s.pending > r.o.MemoryBytes {
			s.pending = 0
			for _, no := range s.dirty {
				if err := s.spill(s.pages[no]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
