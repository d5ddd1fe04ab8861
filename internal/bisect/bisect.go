// Package bisect finds the transaction with which the answer to a question became what it is now: the moment before which
// somebody wants to go back.
//
// It asks one state after the other, in SQL, without restoring it where the question touches little of it. From the last state it looks back in steps
// that double, until the answer is another, and halves the rest. So a moment that is not long ago is found first, by few
// questions, and an answer that was the same once before, as that of a table that was empty at the beginning, does not mislead it.
// What it finds is always a change to the present answer; the last one, if the answer did not flap in between.
package bisect

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/internal/query"
	"github.com/pagetrail/pagetrail/journal"
)

// Options of Find. The zero value works; nil means it.
type Options struct {
	// From and To are the transactions between which the answer changed. Default 0: the first state that can be restored
	// without a gap before To, and the last transaction.
	From, To journal.TXID
	// CacheBytes and Progress are those of each state's View, see asof.Options.
	CacheBytes int
	Progress   func(apply.Progress)
}

// Result is what was found.
type Result struct {
	Tx            journal.Tx   // with it the answer changed
	Before        journal.TXID // the state before it; more than one transaction before in an archive that folded some
	Answer, Other string       // now, and at Before
	Asked         int          // how many states were asked
}

// ErrSame says that the answer is the same from From to To, as far as was asked.
var ErrSame = errors.New("the answer was always the same")

// ErrQuestion says that there is no answer to the question at To.
var ErrQuestion = errors.New("the question has no answer")

// answerBytes is how long an answer may be: more is not a question but an export.
const answerBytes = 1 << 20

// search is one Find at work.
type search struct {
	trail *journal.Trail
	query string
	opt   Options
	asked int
	// failed says that the last answer was that there is none: the text is why.
	failed bool
}

// Find finds the transaction with which the answer to question, one SQL statement that only reads, became what it is at o.To.
// An error of SQLite, as about a table that is not there yet, is an answer too, save at o.To. It needs room for the database
// in the directory for temporary files if package asof restores it. Errors are ErrSame, ErrQuestion, *apply.RangeError, and
// those of reading the trail.
func Find(ctx context.Context, trail *journal.Trail, question string, o *Options) (r Result, err error) {
	s := search{trail: trail, query: question}
	if o != nil {
		s.opt = *o
	}
	if err := s.bounds(ctx); err != nil {
		return r, err
	}
	if r.Answer, err = s.ask(ctx, s.opt.To); err != nil {
		return r, err
	}
	if s.failed {
		return r, fmt.Errorf("%w: %s", ErrQuestion, r.Answer)
	}
	low, high, err := s.gallop(ctx, &r)
	if err == nil {
		high, err = s.halve(ctx, &r, low, high)
	}
	r.Asked = s.asked
	if err != nil {
		return r, err
	}
	r.Tx, err = trail.Find(ctx, high)
	return r, err
}

// bounds fills in the defaults: the run of states that can be restored and ends with To.
func (s *search) bounds(ctx context.Context) error {
	if s.opt.To == 0 {
		last, err := s.trail.Last()
		if err != nil {
			return err
		}
		s.opt.To = last.TXID
	}
	w, err := s.trail.Window(ctx)
	if err != nil {
		return err
	}
	for _, span := range w.Spans {
		if span.First <= s.opt.To && s.opt.To <= span.Last {
			s.opt.From = max(s.opt.From, span.First)
		}
	}
	return nil
}

// gallop looks back from the end in steps that double until the answer is another. It is at low, and at high it is the present
// one.
func (s *search) gallop(ctx context.Context, r *Result) (low, high journal.TXID, err error) {
	high = s.opt.To
	for step := journal.TXID(1); high > s.opt.From; step *= 2 {
		low = s.opt.From
		if high-s.opt.From > step {
			low = high - step
		}
		if low, err = s.restorable(ctx, low, s.opt.From, high); err != nil {
			return 0, 0, err
		}
		answer, err := s.ask(ctx, low)
		if err != nil {
			return 0, 0, err
		}
		if answer != r.Answer {
			r.Before, r.Other = low, answer
			return low, high, nil
		}
		high = low
	}
	return 0, 0, ErrSame
}

// halve closes in on the change between low and high, and returns the transaction that made it.
func (s *search) halve(ctx context.Context, r *Result, low, high journal.TXID) (journal.TXID, error) {
	for high-low > 1 {
		mid, err := s.restorable(ctx, low+(high-low)/2, low, high)
		if err != nil {
			return 0, err
		}
		if mid == low {
			break // what is between was folded into high
		}
		answer, err := s.ask(ctx, mid)
		if err != nil {
			return 0, err
		}
		if answer == r.Answer {
			high = mid
		} else {
			low, r.Before, r.Other = mid, mid, answer
		}
	}
	return high, nil
}

// restorable is id, or where an archive has folded it a state near it that is there, below high and if possible above low:
// the next one rather than the one before, so that looking back leaves out no more than it means to.
func (s *search) restorable(ctx context.Context, id, low, high journal.TXID) (journal.TXID, error) {
	_, err := apply.Resolve(ctx, s.trail, apply.AtTXID(id))
	out, ok := errors.AsType[*apply.RangeError](err)
	switch {
	case !ok:
		return id, err
	case out.After != nil && out.After.TXID < high:
		return out.After.TXID, nil
	case out.Before != nil && out.Before.TXID >= low:
		return out.Before.TXID, nil
	}
	return 0, err
}

// ask asks a state.
func (s *search) ask(ctx context.Context, id journal.TXID) (string, error) {
	view, err := asof.Open(ctx, s.trail, apply.AtTXID(id), &asof.Options{CacheBytes: s.opt.CacheBytes, Progress: s.opt.Progress})
	if err != nil {
		return "", err
	}
	defer view.Close()
	s.asked++
	text, err := answer(ctx, view, s.query)
	refused, ok := errors.AsType[*query.Refusal](err)
	if s.failed = ok; ok {
		return refused.Reason, nil
	}
	return text, err
}

// answer is the answer to a question in rows as the sqlite3 shell prints them.
func answer(ctx context.Context, view *asof.View, question string) (string, error) {
	var b strings.Builder
	rows := 0
	err := query.Ask(ctx, view, question, func([]string) error { return nil }, func(r query.Row) error {
		if rows++; rows > 1 {
			b.WriteByte('\n')
		}
		for i := range r.Len() {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(r.Text(i))
		}
		if b.Len() > answerBytes {
			return &query.Refusal{Reason: "the answer is longer than a megabyte: ask for a count(*) or a sum()"}
		}
		return nil
	})
	return b.String(), err
}
