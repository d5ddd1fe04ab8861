package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/journal"
)

// stretch is a run of transactions that are alike in whether they can be restored.
type stretch struct {
	journal.Span
	kind   stretchKind
	reason error // why it is lost, or begins with a base that is
}

type stretchKind uint8

const (
	restorableStretch stretchKind = iota
	// lostStretch: files should hold these transactions and do not, or hold them damaged.
	lostStretch
	// strandedStretch: the transactions are there, but what they build on is lost, up to the next base.
	strandedStretch
)

// stretches lays a trail out from its first transaction to its last.
func stretches(ctx context.Context, t *openedTrail) ([]stretch, error) {
	w, err := t.Window(ctx)
	if err != nil {
		return nil, err
	}
	last, err := t.Last()
	if err != nil {
		return nil, err
	}
	var all []stretch
	for _, s := range w.Spans {
		if s.Last == 0 {
			continue // an empty database in a trail without transactions is nothing to restore
		}
		if s.First == 0 {
			// The empty database has no time of its own; it was empty until its first transaction.
			if tx, err := t.Find(ctx, 1); err == nil {
				s.FirstTime = tx.Time
			}
		}
		all = append(all, stretch{Span: s, kind: restorableStretch})
	}
	for _, g := range w.Gaps {
		all = append(all, stretch{Span: g, kind: lostStretch, reason: whyUnreadable(ctx, t.Trail, g.First)})
	}
	if span, lost := t.lostBeginning(); lost {
		all = append(all, stretch{Span: span, kind: lostStretch, reason: t.beginning})
	}
	all = strand(ctx, t.Trail, all, last.TXID)
	if t.damage != nil {
		// Where it would have ended nobody can say.
		next := journal.Span{First: last.TXID + 1, FirstTime: last.Time}
		all = append(all, stretch{Span: next, kind: lostStretch, reason: t.damage})
	}
	return all, nil
}

// strand orders the stretches and fills what is between them.
func strand(ctx context.Context, t *journal.Trail, all []stretch, last journal.TXID) []stretch {
	slices.SortStableFunc(all, func(a, b stretch) int {
		switch {
		case a.First < b.First:
			return -1
		case a.First > b.First:
			return 1
		}
		return 0
	})
	var full []stretch
	next := journal.TXID(1)
	if segments, err := t.Segments(); err == nil && len(segments) > 0 {
		next = segments[0].First
	}
	fill := func(to journal.TXID) {
		if next > to {
			return
		}
		s := stretch{Span: journal.Span{First: next, Last: to}, kind: strandedStretch}
		for id, at := range map[journal.TXID]*journal.Time{next: &s.FirstTime, to: &s.LastTime} {
			if tx, err := t.Find(ctx, id); err == nil {
				*at = tx.Time
				if id == next && tx.Kind == journal.Base {
					s.reason = whyNoBase(t, id)
				}
			}
		}
		full = append(full, s)
	}
	for _, s := range all {
		fill(s.First - min(s.First, 1))
		full = append(full, s)
		next = max(next, s.Last+1)
	}
	fill(last)
	return full
}

// whyUnreadable is the error that reading transaction id meets; nil when it can be read.
func whyUnreadable(ctx context.Context, t *journal.Trail, id journal.TXID) error {
	for _, err := range t.Records(ctx, id) {
		return err
	}
	return nil
}

// whyNoBase is the error that opening the base of a transaction meets; nil when it can be opened.
func whyNoBase(t *journal.Trail, id journal.TXID) error {
	b, err := t.OpenBase(id)
	if errors.Is(err, journal.ErrNotFound) {
		return kindf(journal.ErrGap, "the base of transaction %d is missing", id)
	}
	if err != nil {
		return err
	}
	return b.Close()
}

// lost is what the losses among stretches come to as an outcome: nil when there are none.
func lost(all []stretch) error {
	var worst error
	for _, s := range all {
		if s.kind == lostStretch || s.reason != nil {
			if s.reason == nil {
				s.reason = fmt.Errorf("transactions %d to %d: %w", s.First, s.Last, journal.ErrGap)
			}
			worst = worse(worst, s.reason)
		}
	}
	return worst
}
