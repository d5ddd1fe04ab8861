package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/bisect"
	"github.com/pagetrail/pagetrail/internal/ui"
)

type bisectOptions struct {
	trail, query string
	since, until string
	json         bool
}

func (o *bisectOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.since, "since", "", "not before `TIME|TXID`")
	f.StringVar(&o.until, "until", "", "what it was up to `TIME|TXID`, instead of what it is now")
	f.BoolVar(&o.json, "json", false, "one JSON object")
}

func newBisect(env *Env) *cobra.Command {
	o := &bisectOptions{}
	cmd := &cobra.Command{
		Use:   "bisect TRAIL|DB QUERY [FLAG]...",
		Short: "Find the transaction that changed the answer to a query",
		Example: examples(
			`pagetrail bisect app.db "SELECT count(*) FROM account WHERE name='ann'"`,
			`pagetrail bisect app.db 'SELECT max(price) > 1e6 FROM item' --until 14:05`,
		),
		Long: `Find the transaction with which the answer to QUERY became what it is now: the bad
moment, and so the state to go back to, which is the one before. Ask for what went wrong,
and not for more: whether a row is there, how many there are, whether a sum is right.

States are asked one after the other: first those just before the end, in steps that
double, then by halving; some twenty for a thousand transactions, forty for a million.
Each is read as pagetrail query reads it. What is read of an archive is kept in the
directory for temporary files (TMPDIR), and fetched once. That a table is not there is an
answer too. If the answer went to and fro, it is one of the transactions that changed it
to what it is.

` + timeHelp + "\n\n" + trailHelp,
		Args: between(2, 2, "a trail and a query, in quotes:"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail, o.query = args[0], args[1]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *bisectOptions) run(ctx context.Context, env *Env) error {
	t, end, err := openOften(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer func() { _ = end() }() // it was only read
	roomForView()
	opt := &bisect.Options{CacheBytes: viewBytes}
	if o.since != "" {
		if opt.From, err = bound(ctx, env, t.Trail, "--since", o.since); err != nil {
			return err
		}
	}
	if o.until != "" {
		if opt.To, err = bound(ctx, env, t.Trail, "--until", o.until); err != nil {
			return err
		}
	}
	progress := env.progress(ctx, "hydrating")
	opt.Progress = progress.apply
	r, err := bisect.Find(ctx, t.Trail, o.query, opt)
	progress.finish()
	switch out, ranged := errors.AsType[*apply.RangeError](err); {
	case errors.Is(err, bisect.ErrQuestion):
		return &usageError{err}
	case errors.Is(err, bisect.ErrSame):
		return &quietCode{Nothing, env.say("%v, as far as %s: %s", err, ui.Plural(r.Asked, "state that was asked", "states that were asked"), oneLine(r.Answer))}
	case ranged && (out.Before != nil || out.After != nil):
		return withHint(err, "see: %s", commandLine("window", o.trail))
	case err != nil:
		return withBaseHint(err, o.trail)
	}
	if o.json {
		return writeJSON(env.Out, bisectJSON{newTxJSON(r.Tx), uint64(r.Before), r.Other, r.Answer, r.Asked})
	}
	return o.tell(env, &r)
}

// bisectJSON is what bisect --json answers.
type bisectJSON struct {
	Transaction  *txJSON `json:"transaction"`
	Before       uint64  `json:"before_txid"`
	AnswerBefore string  `json:"answer_before"`
	Answer       string  `json:"answer"`
	Asked        int     `json:"asked"`
}

func (o *bisectOptions) tell(env *Env, r *bisect.Result) error {
	paint := env.painter(env.OutTerm)
	fmt.Fprintf(env.Out, "%s\n", paint.Paint(ui.Good, "changed by "+describeTx(r.Tx)))
	f := newFacts(env.Out, paint)
	at := r.Tx.Time.Time()
	f.add("recorded", "%s, %s", env.showTime(at), env.ago(at))
	f.add("kind", "%s", kindName(r.Tx.Kind))
	if r.Tx.Note != "" {
		f.styled(ui.Bold, "note", "%s", ui.Clean(r.Tx.Note))
	}
	f.add("before", "%s", oneLine(r.Other))
	f.add("after", "%s", oneLine(r.Answer))
	f.add("asked", "%s", ui.Plural(r.Asked, "state", "states"))
	f.add("look", "%s", commandLine("show", o.trail, fmt.Sprint(r.Tx.TXID)))
	f.add("restore", "%s", commandLine("hydrate", o.trail, "-o", "FILE", "--txid", fmt.Sprint(r.Before)))
	if back := rewindCommand(o.trail, r.Before); back != "" {
		f.add("or back", "%s", back)
	}
	return f.flush()
}

// oneLine shows an answer in a line.
func oneLine(answer string) string {
	if answer == "" {
		return "(no row, or nothing in it)"
	}
	line, rest, more := strings.Cut(answer, "\n")
	line = ui.Clean(ui.Cut(line, 100))
	if more {
		line += fmt.Sprintf(" … (%s)", ui.Plural(strings.Count(rest, "\n")+2, "row", "rows"))
	}
	return line
}
