package follow

import (
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/journal"
)

// join makes the replica's own trail one of the source's timeline, or returns why that cannot be. Where it has
// transactions that are not in the source's history they are kept as a branch of the trail, if they begin in its tail.
func (k *keeper) join(ctx context.Context) (string, error) {
	const apart = "the replica is on another timeline"
	id, next := k.w.Identity(), k.r.src.Identity()
	if next.Timeline < id.Timeline || next.Parent == nil {
		return apart, nil
	}
	if err := k.w.Reset(); err != nil {
		return k.verdict(ctx, apart, err)
	}
	last, parent := k.w.Last(), *next.Parent
	err := k.has(ctx, parent, last)
	switch {
	case err != nil:
	case last.TXID <= parent.TXID:
		err = k.w.Join(next)
	default:
		if parent.Timeline == id.Timeline {
			err = k.w.Fork(parent.TXID)
		}
		// A timeline that left an earlier one than the trail's: which of its transactions are shared is not looked for.
		if err == nil && k.w.Identity().Timeline != next.Timeline {
			err = journal.ErrDiverged
		}
	}
	return k.verdict(ctx, apart, err)
}

// has says whether the trail and the source's history are the same up to the last transaction that both may share: the
// trail's last, or the one where the source's timeline began.
func (k *keeper) has(ctx context.Context, parent journal.Position, last journal.Tx) error {
	if last.TXID <= parent.TXID {
		return k.r.sameHistory(ctx, mark{Position: journal.Position{TXID: last.TXID, Sum: last.Sum}})
	}
	before := k.w.Before()
	if before.TXID == parent.TXID {
		return matches(&before, parent.Sum)
	}
	t, err := journal.Open(k.dir, nil)
	if err != nil {
		return err
	}
	tx, err := t.Find(ctx, parent.TXID)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	return matches(&tx, parent.Sum)
}
