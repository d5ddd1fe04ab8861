package cli

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

// targetOptions say which moment is meant, in one of three ways.
type targetOptions struct {
	txid  string
	at    string
	point string

	moment ui.Moment    // what --at means, once resolved
	is     apply.Target // likewise, what they mean
}

func (o *targetOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.txid, "txid", "", "after transaction `N`; 0 is the empty database before any")
	f.StringVar(&o.at, "at", "", "at `TIME`: after the last transaction at or before it")
	f.StringVar(&o.point, "point", "", "at the restore point `NAME`")
}

// resolve turns the flags into a target.
func (o *targetOptions) resolve(env *Env) (t apply.Target, err error) {
	o.is, err = o.parse(env)
	return o.is, err
}

func (o *targetOptions) parse(env *Env) (apply.Target, error) {
	given := 0
	for _, s := range []string{o.txid, o.at, o.point} {
		if s != "" {
			given++
		}
	}
	switch {
	case given > 1:
		return apply.Target{}, usagef("--txid, --at and --point each name a moment; give one of them")
	case o.txid != "":
		id, err := parseTXID(o.txid)
		if err != nil {
			return apply.Target{}, usagef("--txid: %w", err)
		}
		return apply.AtTXID(id), nil
	case o.at != "":
		m, err := env.parseMoment("--at", o.at)
		if err != nil {
			if _, e := parseTXID(o.at); e == nil {
				return apply.Target{}, &hintError{err, "for transaction " + o.at + " write: --txid " + o.at}
			}
			return apply.Target{}, err
		}
		o.moment = m
		// What is finer than the microseconds of the trail is cut off, which is right for "at or before".
		return apply.AtTime(journal.TimeOf(m.Time)), nil
	case o.point != "":
		return apply.AtPoint(o.point), nil
	}
	return apply.Latest(), nil
}

// parseTXID reads a transaction number in decimal, as it is shown everywhere.
func parseTXID(s string) (journal.TXID, error) {
	id, err := strconv.ParseUint(s, 10, 63)
	if err != nil {
		return 0, fmt.Errorf("%q is not a transaction number: digits, as pagetrail log shows them", s)
	}
	return journal.TXID(id), nil
}

// exact says that the target is a transaction or a point, and no matter of what else there is.
func (o *targetOptions) exact() bool { return o.txid != "" || o.point != "" }

// before says how far the transaction is from the time asked for.
func (o *targetOptions) before(tx journal.Tx) string {
	if o.moment.Time.IsZero() {
		return ""
	}
	d := o.moment.Time.Sub(tx.Time.Time())
	if d < time.Microsecond {
		return ", that very moment"
	}
	return fmt.Sprintf(", %s before that", ui.Duration(d))
}

// nearest is the hint for a target outside of the window: the commands for what can be had instead.
func (o *targetOptions) nearest(env *Env, e *apply.RangeError, command string) string {
	hint := ""
	for _, tx := range []*journal.Tx{e.Before, e.After} {
		if tx == nil {
			continue
		}
		if hint != "" {
			hint += "\n  or:  "
		} else {
			hint = "try: "
		}
		hint += fmt.Sprintf("%s --txid %d", command, tx.TXID)
		if tx.TXID != 0 && tx.Time != 0 {
			hint += "  # " + env.showTime(tx.Time.Time())
		}
	}
	return hint
}

// withBaseHint says how a trail of which nothing can be restored, because it goes on with what an archive has, comes to
// have a base.
func withBaseHint(err error, trail string) error {
	out, ok := errors.AsType[*apply.RangeError](err)
	if !ok || out.Before != nil || out.After != nil || isURL(trail) || isServer(trail) {
		return err
	}
	if cutOf(trail) != "" {
		if t, e := openDir(trail, openWhole); e == nil {
			defer t.Close()
			if segments, e := t.Segments(); e == nil && len(segments) > 0 {
				return withHint(err, "%s", bridge(trail, segments[0].First))
			}
		}
	}
	return withHint(err, "what it goes on from is in an archive; %s makes a base of the database as it is now", commandLine("repair", trail))
}
