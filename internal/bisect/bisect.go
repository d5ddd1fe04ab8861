// Package bisect finds the transaction with which the answer to a question became what it is now: the moment before which
// somebody wants to go back.
//
// It restores one state after the other to a scratch file and asks there, in SQL. From the last state it looks back in steps
// that double, until the answer is another, and halves the rest. So a moment that is not long ago is found first, by few
// restores, and an answer that was the same once before, as that of a table that was empty at the beginning, does not mislead it.
// What it finds is always a change to the present answer; the last one, if the answer did not flap in between.
package bisect

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// Options of Find. The zero value works; nil means it.
type Options struct {
	// From and To are the transactions between which the answer changed. Default 0: the first state that can be restored
	// without a gap before To, and the last transaction.
	From, To journal.TXID
	// Progress is told how far the restore of a state is; may be nil.
	Progress func(apply.Progress)
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
	file  string // where states are restored to
	asked int
	// failed says that the last answer was that there is none: the text is why.
	failed bool
}

// Find finds the transaction with which the answer to query, one SQL statement that only reads, became what it is at o.To.
// An error of SQLite, as about a table that is not there yet, is an answer too, save at o.To. It needs room for the database
// in the directory for temporary files. Errors are ErrSame, ErrQuestion, *apply.RangeError, and those of restoring.
func Find(ctx context.Context, trail *journal.Trail, query string, o *Options) (r Result, err error) {
	s := search{trail: trail, query: query}
	if o != nil {
		s.opt = *o
	}
	dir, err := os.MkdirTemp("", "pagetrail-bisect-")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	s.file = filepath.Join(dir, "state.db")
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

// ask restores a state and asks there.
func (s *search) ask(ctx context.Context, id journal.TXID) (string, error) {
	_, err := apply.Hydrate(ctx, s.trail, s.file, apply.AtTXID(id), &apply.Options{Force: true, Progress: s.opt.Progress})
	if err != nil {
		return "", err
	}
	s.asked++
	var text string
	if text, s.failed, err = answer(ctx, s.file, s.query); err != nil {
		return "", err
	}
	return text, nil
}

// answer runs a statement on the database in file, and returns the rows as the sqlite3 shell prints them; or failed, and why.
func answer(ctx context.Context, file, query string) (text string, failed bool, err error) {
	// Nobody else has the file: without a lock or a WAL beside it.
	name := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(file), RawQuery: "mode=ro&immutable=1"}
	c, err := sqlite3.OpenContext(ctx, name.String())
	if err != nil {
		return "", false, err
	}
	defer c.Close()
	c.SetInterrupt(ctx)
	s, tail, err := c.Prepare(query)
	if err != nil {
		return explain(err), true, ctx.Err()
	}
	defer s.Close()
	switch {
	case s == nil:
		return "it is empty", true, nil
	case strings.TrimSpace(tail) != "":
		return "it is more than one statement", true, nil
	case !s.ReadOnly():
		return "it does not only read", true, nil
	}
	var b strings.Builder
	for rows := 0; s.Step(); rows++ {
		if rows > 0 {
			b.WriteByte('\n')
		}
		for i := range s.ColumnCount() {
			if i > 0 {
				b.WriteByte('|')
			}
			b.WriteString(s.ColumnText(i))
		}
		if b.Len() > answerBytes {
			return "the answer is longer than a megabyte: ask for a count(*) or a sum()", true, nil
		}
	}
	if err := s.Err(); err != nil {
		return explain(err), true, ctx.Err()
	}
	return b.String(), false, nil
}

// explain is what SQLite says of a statement, without the names of its layers.
func explain(err error) string {
	return strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sqlite3: "), "SQL logic error: ")
}
