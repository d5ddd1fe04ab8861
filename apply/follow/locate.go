package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// locatePosition finds out which state the replica is in, by its content: all
// of it is read once, and its checksum must be that of a transaction. Nothing
// less notices what another program wrote to the file while nobody followed.
func (r *Replica) locatePosition(ctx context.Context, _ *waiter) (err error) {
	if r.slots, err = openSlots(r.name("-pos"), false, r.perm, &r.o); err != nil {
		return err
	}
	sum, err := r.checksum(ctx)
	if err != nil {
		return err
	}
	id := r.src.Identity()
	m, ok := r.frameMark()
	known := ok && m.Database == id.Database
	if known && m.Sum == sum {
		return r.settle(ctx, m)
	}
	bound := journal.TXID(1)
	if r.slots != nil && r.slots.last.seq > 0 {
		last := r.slots.last
		if last.Database != id.Database {
			return fmt.Errorf("it follows database %v, and the source is of %v: %w", last.Database, id.Database, journal.ErrForeign)
		}
		if last.Sum == sum {
			return r.settle(ctx, last)
		}
		known, bound = true, max(1, last.TXID)
	}
	// The last commit's frame is gone when readers checkpointed and closed
	// after the follower had died: then the content alone tells.
	m, ok, err = r.search(ctx, sum, bound)
	if err != nil {
		return err
	}
	if ok {
		return r.settle(ctx, m)
	}
	if !known {
		return fmt.Errorf("it exists, and is in no state of this database's history: name a file that does not exist, or remove it: %w", fs.ErrExist)
	}
	r.damaged = "another program changed it while nobody followed"
	return r.ensureSlots()
}

// frameMark is what the last frame of the WAL says.
func (r *Replica) frameMark() (mark, bool) {
	if r.hdr.MxFrame == 0 || r.frames[r.hdr.MxFrame-1] != positionPage {
		return mark{}, false
	}
	b := make([]byte, r.hdr.PageSize)
	if err := r.readPage(positionPage, b); err != nil {
		return mark{}, false
	}
	return parseMark(b)
}

// search looks for a transaction that left the given checksum. Two that did
// are the same bytes, so the first is as good as the last.
func (r *Replica) search(ctx context.Context, sum diff.Sum, from journal.TXID) (mark, bool, error) {
	if _, err := r.src.Refresh(ctx); err != nil {
		return mark{}, false, err
	}
	id := r.src.Identity()
	for rec, err := range r.src.Records(ctx, from) {
		var e *journal.RangeError
		if errors.As(err, &e) && e.First > from && e.First <= e.Last {
			if m, ok := r.beginning(ctx, e.First-1); ok && m.Sum == sum {
				return m, true, nil
			}
			return r.search(ctx, sum, e.First)
		}
		if isRange(err) {
			break
		}
		if err != nil {
			return mark{}, false, err
		}
		if rec.PageSize != r.hdr.PageSize || rec.PageCount != r.hdr.PageCount || matches(&rec.Tx, sum) != nil {
			continue
		}
		pos := journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: rec.TXID, Sum: sum}
		return mark{Position: pos, time: rec.Time}, true, nil
	}
	return mark{}, false, nil
}

// beginning is the state that the source's first transaction, the one after id,
// goes on from, if it is known: a trail that was pruned knows it.
func (r *Replica) beginning(ctx context.Context, id journal.TXID) (mark, bool) {
	s, ok := r.src.(*trailSource)
	if !ok {
		return mark{}, false
	}
	b, err := s.trail.Boundary(ctx, id)
	if err != nil || b.Last != id {
		return mark{}, false
	}
	return mark{Position: b.After(s.Identity()), time: b.LastTime}, true
}

// settle makes m the position, after a look at whether the source has the same
// history up to there.
func (r *Replica) settle(ctx context.Context, m mark) error {
	r.pos, r.damaged = m, ""
	r.past.note(m.TXID, m.Sum)
	last, err := r.src.Refresh(ctx)
	if err != nil {
		return err
	}
	err = r.inHistory(ctx, last, m)
	if last.TXID < m.TXID && !r.o.Rewind {
		if err = r.lags(ctx, last); errors.Is(err, ErrNotReady) {
			err = nil // CatchUp says it, when that is still so
		}
	}
	if err != nil {
		if !r.o.Rewind || !errors.Is(err, journal.ErrDiverged) {
			return err
		}
		r.damaged = fmt.Sprintf("its transaction %d is not in the source's history", m.TXID)
	}
	if err := r.ensureSlots(); err != nil {
		return err
	}
	return r.slots.write(m) // from now on the file is known to be a replica
}

func (r *Replica) ensureSlots() (err error) {
	if r.slots == nil {
		r.slots, err = openSlots(r.name("-pos"), true, r.perm, &r.o)
	}
	return err
}

// sameHistory compares the replica's position with the source's transaction of
// that number, if it still has it.
func (r *Replica) sameHistory(ctx context.Context, m mark) error {
	last, err := r.src.Refresh(ctx)
	if err != nil {
		return err
	}
	return r.inHistory(ctx, last, m)
}

// inHistory is sameHistory with a source that ends at last.
func (r *Replica) inHistory(ctx context.Context, last journal.Tx, m mark) error {
	if last.TXID < m.TXID {
		return fmt.Errorf("it is at transaction %d, and the source ends at %d: rewind it, or follow another source: %w",
			m.TXID, last.TXID, journal.ErrDiverged)
	}
	for rec, err := range r.src.Records(ctx, m.TXID) {
		if isRange(err) {
			return nil // no longer held, which is nothing to be said against it
		}
		if err != nil {
			return err
		}
		if rec.TXID > m.TXID {
			return nil // folded into a later one, likewise
		}
		if err := matches(&rec.Tx, m.Sum); err != nil {
			return fmt.Errorf("it is beside the source's history: rewind it, or follow another source: %w", err)
		}
		break
	}
	return nil
}
