package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type logOptions struct {
	trail        string
	since, until string
	limit        int
	limitSet     bool
	reverse      bool
	json         bool
}

func (o *logOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.since, "since", "", "from `TIME|TXID` on")
	f.StringVar(&o.until, "until", "", "up to `TIME|TXID`, itself included")
	f.IntVarP(&o.limit, "limit", "n", 20, "the last `N` of what is asked for; 0: all of it")
	f.BoolVarP(&o.reverse, "reverse", "r", false, "newest first")
	f.BoolVar(&o.json, "json", false, "one JSON object a line")
}

func newLog(env *Env) *cobra.Command {
	o := &logOptions{}
	cmd := &cobra.Command{
		Use:   "log TRAIL|DB [FLAG]...",
		Short: "List transactions, newest last",
		Example: examples(
			"pagetrail log app.db                        # the last 20 transactions",
			"pagetrail log app.db --since -15m           # all of the last quarter of an hour",
			"pagetrail log app.db --until 14:05 -n 50    # what led up to 14:05",
			"pagetrail log app.db -n 0 | grep '!'          # what was unusually large",
			"pagetrail log app.db --since 41000 --json | jq .note",
		),
		Long: `List the transactions of a trail: number, time, pages changed, bytes of patches,
size of the database after it, kind and note, with restore points in their place.
Newest last, so that what just happened stands above the prompt. Without --since,
--until or --limit the last 20 are listed; with --since or --until all that match.

KIND is commit; catch-up (several commits in one: of a program without pagetrail, or
merged because the trail could not be written, and then NOTE says so); physical (bytes
changed without a commit); base (the database was there before its trail: all pages at
once). A ! marks a transaction with 8 times the pages or bytes of what is usual before
it. Which tables each of them changed is told by watch --from TXID --once, and what one
did, table by table, by show.

A line between transactions says that another timeline begins, or that transactions were
cut which the database had lost, and where they are: see status --help.

Damaged or missing files do not end the list: what they held is reported in place.

` + timeHelp + "\n\n" + trailHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail, o.limitSet = args[0], cmd.Flags().Changed("limit")
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *logOptions) run(ctx context.Context, env *Env) error {
	if o.limit < 0 {
		return usagef("--limit %d: it cannot be negative; 0 lists all", o.limit)
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	first, last, err := o.span(ctx, env, t)
	if err != nil {
		return err
	}
	earlier := journal.TXID(0)
	if n := journal.TXID(o.limit); o.limited() && last-first+1 > n {
		earlier = last - first + 1 - n
		first += earlier
	}
	r, err := newLogReader(ctx, t.Trail)
	if err != nil {
		return err
	}
	out, err := o.printer(env, t.Trail, last)
	if err != nil {
		return err
	}
	if err := o.list(ctx, r, first, last, out); err != nil {
		return errors.Join(out.flush(), err)
	}
	newest, err := t.Last()
	if err != nil {
		return err
	}
	if t.damage != nil && last == newest.TXID {
		r.worst = worse(r.worst, t.damage)
		if err := out.row(logRow{lost: t.damage, lostFrom: last + 1}); err != nil {
			return err
		}
	}
	if err := out.flush(); err != nil {
		return err
	}
	if text := t.tornText(); text != "" && last == newest.TXID {
		env.notice("%d is the last whole one; %s", last, text)
	}
	if cuts, err := t.Cuts(); err == nil && !o.json {
		env.noticeCuts("log", o.trail, slices.DeleteFunc(cuts, func(c journal.Cut) bool { return c.After < first-min(first, 1) || c.After > last }))
	}
	if earlier > 0 {
		env.notice("%s before these; -n 0 lists all", ui.Plural(earlier, "transaction", "transactions"))
	}
	return archiveHint(r.worst, o.trail)
}

// limited: without a range a person wants to see what happened last; with one, all of it.
func (o *logOptions) limited() bool {
	return o.limit > 0 && (o.limitSet || o.since == "" && o.until == "")
}

// list reads the transactions first to last and hands them to out, in the order asked for. Newest
// first is done in pieces from the end, so that it takes no more memory than oldest first.
func (o *logOptions) list(ctx context.Context, r *logReader, first, last journal.TXID, out logPrinter) error {
	if !o.reverse {
		return r.read(ctx, first, last, out.row)
	}
	const piece = 512
	rows := make([]logRow, 0, piece)
	for end := last + 1; end > first; {
		begin := first + (end-first-1)/piece*piece
		rows = rows[:0]
		r.usual = usual{}
		err := r.read(ctx, begin, end-1, func(row logRow) error {
			rows = append(rows, row)
			return nil
		})
		if err != nil {
			return err
		}
		for i := len(rows) - 1; i >= 0; i-- {
			if err := out.row(rows[i]); err != nil {
				return err
			}
		}
		end = begin
	}
	return nil
}

// span turns --since and --until into TXIDs.
func (o *logOptions) span(ctx context.Context, env *Env, t *openedTrail) (first, last journal.TXID, err error) {
	newest, err := t.Last()
	if err != nil && newest.TXID == 0 {
		return 0, 0, err
	}
	if newest.TXID == 0 && t.damage != nil {
		return 1, 0, nil // there were some, and all are lost
	}
	if newest.TXID == 0 {
		return 0, 0, &quietCode{Nothing, env.say("%s holds no transactions yet", t.Dir())}
	}
	first, last = 1, newest.TXID
	if o.since != "" {
		if first, err = bound(ctx, env, t.Trail, "--since", o.since); err != nil {
			return 0, 0, err
		}
	}
	if o.until != "" {
		if last, err = bound(ctx, env, t.Trail, "--until", o.until); err != nil {
			return 0, 0, err
		}
		last = min(last, newest.TXID)
	}
	if starts, err := logStarts(ctx, t.Trail); err == nil && len(starts) > 0 {
		first = max(first, starts[0])
	}
	first = max(first, 1)
	if first > last {
		return 0, 0, &quietCode{Nothing, o.nothing(ctx, env, t.Trail, newest, first)}
	}
	return first, last, nil
}

// bound is the TXID that a time or number in a flag means: for --since the first transaction at or
// after it, for --until the last one at or before it.
func bound(ctx context.Context, env *Env, t *journal.Trail, flag, value string) (journal.TXID, error) {
	if id, err := parseTXID(value); err == nil {
		return id, nil
	}
	m, err := env.parseMoment(flag, value)
	if err != nil {
		return 0, err
	}
	if m.Note == "" && !m.Zoned {
		env.notice("%s %s is %s", flag, value, env.showTime(m.Time))
	}
	at := journal.TimeOf(m.Time)
	tx, next, err := t.FindTime(ctx, at)
	if err != nil {
		return 0, err
	}
	switch {
	case flag == "--until":
		return tx.TXID, nil
	case tx.TXID != 0 && tx.Time == at:
		return tx.TXID, nil
	case next != nil:
		return next.TXID, nil
	}
	return tx.TXID + 1, nil
}

// nothing says that the range holds no transaction, and which are nearest.
func (o *logOptions) nothing(ctx context.Context, env *Env, t *journal.Trail, newest journal.Tx, first journal.TXID) error {
	asked := ""
	if o.since != "" {
		asked += " since " + o.since
	}
	if o.until != "" {
		asked += " until " + o.until
	}
	nearest := fmt.Sprintf("the last is %d of %s", newest.TXID, env.showTime(newest.Time.Time()))
	if first <= newest.TXID {
		if tx, err := t.Find(ctx, first); err == nil {
			nearest = fmt.Sprintf("the next is %d of %s", tx.TXID, env.showTime(tx.Time.Time()))
		}
	}
	return env.say("no transaction%s; %s", asked, nearest)
}

// say prints a sentence on stderr, --quiet or not, and returns it as an error, for answers that are
// no failures but have an exit code.
func (e *Env) say(format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	fmt.Fprintln(e.Err, e.wrap(err.Error()))
	return err
}

// parseMoment reads a time given to a flag, and says how it was understood where that was a choice.
func (e *Env) parseMoment(flag, value string) (ui.Moment, error) {
	m, err := ui.ParseMoment(value, e.Now(), e.Zone)
	if err != nil {
		return m, usagef("%s: %w", flag, err)
	}
	if m.Note != "" {
		e.notice("%s %s is %s (%s)", flag, value, e.showTime(m.Time), m.Note)
	}
	return m, nil
}
