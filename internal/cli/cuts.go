package cli

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// cutJSON is a cut of a trail: where it is, and what it has that the trail has not.
type cutJSON struct {
	Cut   string       `json:"cut"` // directory
	Time  string       `json:"time"`
	After journal.TXID `json:"after"` // the last transaction that is the trail's too
	Lost  journal.TXID `json:"lost"`  // how many more it has
	Error string       `json:"error,omitempty"`
}

func newCutJSON(c journal.Cut) cutJSON {
	j := cutJSON{Cut: c.Dir, Time: c.At.String()}
	if c.Err != nil {
		j.Error = reasonOf(c.Err)
		return j
	}
	j.After, j.Lost = c.After, c.Last.TXID-c.After
	return j
}

// cutsJSON are all cuts of a trail.
func cutsJSON(cuts []journal.Cut) (all []cutJSON) {
	for _, c := range cuts {
		all = append(all, newCutJSON(c))
	}
	return all
}

// cutText says what was cut, and where it is.
func cutText(env *Env, c journal.Cut) string {
	at, name := env.showTime(c.At.Time()), filepath.Base(c.Dir)
	if c.Err != nil {
		return fmt.Sprintf("what was cut at %s, in %s, cannot be read: %s", at, name, reasonOf(c.Err))
	}
	row, them := logRow{lostFrom: c.After + 1, lostTo: c.Last.TXID}, "them"
	if row.lostFrom == row.lostTo {
		them = "it"
	}
	return fmt.Sprintf("%s, at %s, since the database had lost %s; kept in %s", row.lostRange(), at, them, name)
}

// cutNotices is how many cuts are told of one by one, the last ones.
const cutNotices = 3

// noticeCuts says with which command what was cut can be read: verb is its name.
func (e *Env) noticeCuts(verb, trail string, cuts []journal.Cut) {
	if n := len(cuts) - cutNotices; n > 0 {
		e.notice("%d more were cut before; see: %s", n, commandLine("status", trail))
		cuts = cuts[n:]
	}
	for _, c := range cuts {
		if c.Err == nil {
			row := logRow{lostFrom: c.After + 1, lostTo: c.Last.TXID}
			e.notice("what was cut is a trail of its own, with %s as it was: %s", row.lostRange(), commandLine(verb, c.Dir))
		}
	}
}

// inCut looks for a transaction that is meant and that was cut: the last cut that has it, and it. got is what the trail
// has instead, zero for nothing.
func (o *targetOptions) inCut(ctx context.Context, t *openedTrail, got journal.Tx) (*journal.Cut, journal.Tx) {
	cuts, err := t.Cuts()
	if err != nil || o.txid == "" && o.point == "" && o.at == "" {
		return nil, journal.Tx{}
	}
	for i := len(cuts) - 1; i >= 0; i-- {
		c := &cuts[i]
		if c.Err != nil || o.at != "" && journal.TimeOf(o.moment.Time) >= c.At {
			continue // the trail was another by then
		}
		if tx, err := resolveIn(ctx, c.Dir, o.is); err == nil && tx.TXID > c.After && (o.at == "" || tx.Time > got.Time) {
			return c, tx
		}
	}
	return nil, journal.Tx{}
}

// resolveIn is the transaction that a target means in a trail.
func resolveIn(ctx context.Context, dir string, target apply.Target) (journal.Tx, error) {
	t, err := openWhole(dir)
	if err != nil {
		return journal.Tx{}, err
	}
	plan, err := apply.Resolve(ctx, t.Trail, target)
	return plan.Tx, errors.Join(err, t.Close())
}

// cutHint is for a target that a cut has: the command that gets it from there, made of the cut's directory and the
// transaction; "" when none has it.
func (o *targetOptions) cutHint(ctx context.Context, env *Env, t *openedTrail, got journal.Tx, command func(dir, id string) string) string {
	c, tx := o.inCut(ctx, t, got)
	if c == nil {
		return ""
	}
	another := ""
	if tx.TXID == got.TXID {
		another = "another "
	}
	return fmt.Sprintf("%stransaction %d of %s was cut, since the database had lost it: %s",
		another, tx.TXID, env.showTime(tx.Time.Time()), command(c.Dir, tx.TXID.String()))
}

// cutOf is the trail that a path is a cut of, or a branch; "" when it is none.
func cutOf(trail string) string {
	dir, err := trailDir(trail)
	if err != nil {
		return ""
	}
	name := filepath.Base(dir)
	if !strings.HasPrefix(name, "cut-") && !strings.HasPrefix(name, "branch-") {
		return ""
	}
	return filepath.Dir(dir)
}

// bridge says how a cut or branch is restored whose beginning is not in its trail any more: first is its first
// transaction.
func bridge(trail string, first journal.TXID) string {
	return fmt.Sprintf("what it builds on was taken out of the trail, once it was shipped: %s, and then %s",
		commandLine("hydrate", "URL", "-o", "FILE", "--txid", (first-1).String()), commandLine("follow", trail, "FILE", "--once"))
}
