package follow

import (
	"context"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// BehindError says that the source is behind the replica and, as far as that can
// be told, in the same history: a relay that lags, say, which a load balancer
// chose. It is an [ErrNotReady]: Run asks again until the source is where the
// replica is. A source that lost transactions looks the same, until it has as
// many again: then they are compared.
type BehindError struct {
	Replica, Source journal.TXID // where they are; without a replica, where another answer said that the source is
}

func (e *BehindError) Error() string {
	return fmt.Sprintf("the source is only at transaction %d, and %d is known already", e.Source, e.Replica)
}

// Is makes a BehindError an ErrNotReady.
func (e *BehindError) Is(target error) bool { return target == ErrNotReady }

// lags says what it means that the source's last transaction is one before the
// replica's: a [*BehindError], unless the source cannot get there. For that the
// timeline must be the same, and the transaction the one that led to the
// replica's state, as far as that is remembered.
func (r *Replica) lags(ctx context.Context, last journal.Tx) error {
	err := r.inHistory(ctx, last, r.pos) // it is not
	if r.o.BehindWait < 0 || r.pos.Timeline != r.src.Identity().Timeline {
		return err
	}
	said := last.SumKnown || last.SumCut != 0
	if sum, ok := r.sumAt(ctx, last.TXID); ok && said && matches(&last, sum) != nil {
		return fmt.Errorf("%w; and the two differ at transaction %d", err, last.TXID)
	}
	return &BehindError{Replica: r.pos.TXID, Source: last.TXID}
}

// sumAt is the state checksum after a transaction that the replica had before,
// if it is remembered: by this process, with the position, or by its own trail.
func (r *Replica) sumAt(ctx context.Context, id journal.TXID) (diff.Sum, bool) {
	if sum, ok := r.past.at(id); ok {
		return sum, true
	}
	if r.slots != nil && r.slots.last.seq > 0 && r.slots.last.TXID == id {
		return r.slots.last.Sum, true
	}
	if r.keep.dir == "" {
		return diff.Sum{}, false
	}
	t, err := journal.Open(r.keep.dir, nil)
	if err != nil {
		return diff.Sum{}, false
	}
	defer t.Close()
	tx, err := t.Find(ctx, id)
	return tx.Sum, err == nil && tx.SumKnown
}

// pastTransactions are remembered by their checksums: what a relay may lag by
// that is not out of order.
const pastTransactions = 1024

// past remembers the checksums of the last transactions.
type past struct {
	sums [pastTransactions]struct {
		id  journal.TXID
		sum diff.Sum
	}
}

func (p *past) note(id journal.TXID, sum diff.Sum) {
	e := &p.sums[id%pastTransactions]
	e.id, e.sum = id, sum
}

func (p *past) at(id journal.TXID) (diff.Sum, bool) {
	e := &p.sums[id%pastTransactions]
	return e.sum, e.id == id && id > 0
}
