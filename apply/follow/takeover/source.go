package takeover

import (
	"context"
	"fmt"
	"iter"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// source is what a replica that is promoted catches up with: the archive, or the trail of a primary that was retired,
// and beyond its end what the replica has itself. It looks for nothing new: what there is was there when it was opened.
type source struct {
	id   journal.Identity
	far  *journal.Trail // nil: there is none
	last journal.Tx     // of far
	own  string         // directory of the replica's own trail; "": it keeps none
	at   journal.Tx     // where the replica is known to be, or its own trail; TXID 0: not beyond far
}

var _ follow.Source = (*source)(nil)

// newSource makes a source of far. The replica is at mark, of which time and position count.
func newSource(far *journal.Trail, own string, at journal.Position, time journal.Time) (*source, error) {
	s := &source{far: far, own: own, id: journal.Identity{Format: 1, Database: at.Database, Timeline: at.Timeline}}
	var last journal.Tx
	if own != "" {
		t, err := journal.Open(own, nil)
		if err != nil {
			return nil, fmt.Errorf("trail of the replica: %w", err)
		}
		if id := t.Identity(); id.Database == at.Database && id.Timeline >= at.Timeline {
			s.id = id
			last, err = t.Last()
		}
		if e := t.Close(); err == nil {
			err = e
		}
		if err != nil {
			return nil, fmt.Errorf("trail of the replica: %w", err)
		}
	}
	beyond := s.id.Timeline
	if far != nil {
		var err error
		s.id = far.Identity()
		if s.last, err = far.Last(); err != nil {
			return nil, err
		}
	}
	if beyond != s.id.Timeline { // of a timeline that is over: what is beyond its end is not of this history
		return s, nil
	}
	s.at = last
	if at.TXID > last.TXID {
		s.at = journal.Tx{TXID: at.TXID, Time: time, Sum: at.Sum, SumKnown: true, SumCut: at.Sum.Cut()}
	}
	return s, nil
}

func (s *source) Identity() journal.Identity { return s.id }

func (s *source) Refresh(context.Context) (journal.Tx, error) {
	if s.at.TXID > s.last.TXID {
		return s.at, nil
	}
	return s.last, nil
}

func (s *source) Records(ctx context.Context, from journal.TXID) iter.Seq2[*journal.Record, error] {
	return func(yield func(*journal.Record, error) bool) {
		if s.far != nil && from <= s.last.TXID {
			for rec, err := range s.far.Records(ctx, from) {
				if !yield(rec, err) || err != nil {
					return
				}
				from = rec.TXID + 1
			}
		}
		if from > s.at.TXID {
			return
		}
		if s.own == "" {
			yield(nil, &journal.RangeError{Want: from, First: s.at.TXID + 1, Last: s.at.TXID})
			return
		}
		t, err := journal.Open(s.own, nil)
		if err != nil {
			yield(nil, err)
			return
		}
		defer t.Close()
		for rec, err := range t.Records(ctx, from) {
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

func (s *source) State(ctx context.Context, id journal.TXID) (*apply.State, error) {
	t := s.far
	if id > s.last.TXID || t == nil {
		if s.own == "" {
			return nil, fmt.Errorf("nothing has the state of transaction %d, by which the replica could be put right: %w", id, journal.ErrNotFound)
		}
		own, err := journal.Open(s.own, nil)
		if err != nil {
			return nil, err
		}
		defer own.Close()
		t = own
	}
	state, _, err := apply.Restore(ctx, t, apply.AtTXID(id), nil)
	return state, err
}
