package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type hydrateOptions struct {
	trail  string
	output string
	force  bool
	json   bool
	dryRun bool
	goOn   bool
	target targetOptions
}

func (o *hydrateOptions) addFlags(f *pflag.FlagSet) {
	f.StringVarP(&o.output, "output", "o", "", "write the database to `FILE`; - streams it to stdout")
	f.BoolVar(&o.force, "force", false, "replace FILE if it exists")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be read, and how long it takes")
	f.BoolVar(&o.goOn, "continue", false, "begin a trail that goes on with the archive's history")
	f.BoolVar(&o.json, "json", false, "say what was restored as one JSON object on stdout")
	o.target.addFlags(f)
}

func newHydrate(env *Env) *cobra.Command {
	o := &hydrateOptions{}
	cmd := &cobra.Command{
		Use:   "hydrate TRAIL|DB -o FILE [--txid N | --at TIME | --point NAME] [FLAG]...",
		Short: "Make the database of any transaction, time or restore point",
		Example: examples(
			"pagetrail hydrate app.db -o was.db --at 14:05      # as it was at 14:05",
			"pagetrail hydrate app.db -o was.db --txid 41203    # after transaction 41203",
			"pagetrail hydrate app.db -o was.db --point deploy  # where a program said so",
			"pagetrail hydrate app.db-pagetrail -o app.db       # the latest, when app.db is lost",
			"pagetrail hydrate s3://backups/app -o app.db --continue   # and ship to there again",
			"pagetrail hydrate app.db -o - | ssh backup 'cat > app.db'",
		),
		Long: `Make the database file of one moment out of a trail, byte for byte what SQLite had
then, checked against the state checksum of that transaction before it gets its
name. Without --txid, --at or --point: the latest.

A time between two transactions means the last one at or before it; which that was
and what came next is said on stderr (--json: on stdout).

FILE must not exist unless --force is given, and then is replaced in one step. The
trail's own database is never replaced (see rewind), nor is a database with a -wal or
-journal beside it. On any failure FILE is what it was and nothing else is left behind;
what kill -9 leaves beside FILE, the next hydrate to FILE removes.
With -o - the database goes to stdout once it is checked; its scratch file is in
the directory for temporary files (TMPDIR), which needs room for it.

--continue is for a database that takes the place of one that was shipped: FILE gets a
trail that begins after the transaction restored, and pagetrail ship to the same URL
goes on with the archive's history on a new timeline, without sending anything of it
again. Whoever shipped to it before is stopped.

Progress is drawn on a terminal; elsewhere SIGUSR1 makes it say how far it is.

` + timeHelp + "\n\n" + trailHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(nil),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	mustComplete(cmd, "txid", recentTXIDs)
	mustComplete(cmd, "point", pointNames)
	return cmd
}

// stream says that the database goes to stdout.
func (o *hydrateOptions) stream() bool { return o.output == "-" }

// check refuses a command that was written wrongly.
func (o *hydrateOptions) check(env *Env) error {
	switch stream := o.stream(); {
	case o.goOn && (stream || o.dryRun):
		return usagef("--continue is for a database that is written to FILE")
	case o.dryRun:
	case o.output == "":
		return &hintError{usagef("where to? -o FILE is missing"), "try: " + commandLine("hydrate", o.trail, "-o", "restored.db")}
	case stream && o.json:
		return usagef("-o - and --json both want stdout")
	case stream && env.OutTerm:
		return &hintError{usagef("a database does not belong on a terminal"), "send stdout to a file or a pipe, or name a file with -o"}
	}
	return nil
}

func (o *hydrateOptions) run(ctx context.Context, env *Env) error {
	if err := o.check(env); err != nil {
		return err
	}
	target, err := o.target.resolve(env)
	if err != nil {
		return err
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	command := commandLine("hydrate", o.trail, "-o", o.output)
	if t.damage != nil {
		plan, err := apply.Resolve(ctx, t.Trail, target)
		if err == nil {
			err = t.beforeDamage(plan, o.target.exact(), command)
		}
		if err != nil {
			return o.explain(ctx, env, t, err)
		}
	}
	if o.dryRun {
		return o.plan(ctx, env, t, target)
	}
	if o.goOn && exists(o.output+trailSuffix) {
		return withHint(kindf(journal.ErrExists, "%s has a trail already: %s", o.output, o.output+trailSuffix), "move that away, and a database of that name with it")
	}
	progress := env.progress(ctx, "hydrating")
	opts := &apply.Options{Force: o.force, Progress: progress.apply}
	var result apply.Result
	if o.stream() {
		result, err = apply.HydrateTo(ctx, t.Trail, env.Out, target, opts)
	} else {
		result, err = apply.Hydrate(ctx, t.Trail, o.output, target, opts)
	}
	progress.finish()
	if err != nil {
		return o.explain(ctx, env, t, err)
	}
	if o.goOn {
		if err := o.beginTrail(env, result); err != nil {
			return err
		}
	}
	if o.json {
		return writeJSON(env.Out, o.answer(result))
	}
	o.tell(env, t, result)
	if cut := o.cutHint(ctx, env, t, result.Tx); cut != "" {
		env.notice("%s", cut)
	}
	return nil
}

// cutHint is for a transaction that was cut: how to hydrate it.
func (o *hydrateOptions) cutHint(ctx context.Context, env *Env, t *openedTrail, got journal.Tx) string {
	return o.target.cutHint(ctx, env, t, got, func(dir, id string) string {
		return commandLine("hydrate", dir, "-o", o.output, "--txid", id)
	})
}

// explain adds the command to type next to an error of hydrating.
func (o *hydrateOptions) explain(ctx context.Context, env *Env, t *openedTrail, err error) error {
	var output *apply.OutputError
	var out *apply.RangeError
	switch {
	case errors.As(err, &output) && errors.Is(err, fs.ErrExist) && !output.InUse:
		return withHint(err, "--force replaces it")
	case errors.As(err, &output):
		return err
	case errors.As(err, &out):
		hint := o.target.nearest(env, out, commandLine("hydrate", o.trail, "-o", o.output))
		if cut := o.cutHint(ctx, env, t, journal.Tx{}); cut != "" {
			return &hintError{err, strings.TrimSuffix(cut+"\n  or "+hint, "\n  or ")}
		}
		if t.damage != nil && (out.After == nil || out.Before == nil) {
			return &hintError{&kindError{fmt.Sprintf("%v\n  what comes after is lost: %s", err, reasonOf(t.damage)), t.damage}, hint}
		}
		if out.Before == nil && out.After == nil {
			if all, e := stretches(ctx, t); e == nil && lost(all) != nil {
				why := lost(all)
				return &hintError{&kindError{fmt.Sprintf("%v\n  the reason: %s", err, reasonOf(why)), why}, hintFor(why)}
			}
		}
		// Beyond what can be restored there may be more that cannot, and then the reason matters.
		if last, e := t.Last(); e == nil && out.Before != nil && out.Before.TXID < last.TXID {
			if why := whyUnreadable(ctx, t.Trail, out.Before.TXID+1); why != nil {
				err = &kindError{fmt.Sprintf("%v\n  transaction %d is lost: %s", err, out.Before.TXID+1, reasonOf(why)), why}
			}
		}
		if hint == "" {
			return withBaseHint(err, o.trail)
		}
		return &hintError{err, hint}
	case errors.Is(err, journal.ErrNotFound) && o.target.point != "":
		if cut := o.cutHint(ctx, env, t, journal.Tx{}); cut != "" {
			return &hintError{err, cut}
		}
		return withHint(err, "see: %s", commandLine("points", o.trail))
	case codeOf(err) == Damaged || codeOf(err) == Gap:
		return withHint(err, "see what is left: %s; how bad it is: %s", commandLine("window", o.trail), commandLine("verify", o.trail))
	}
	return err
}

// hydrateJSON is what hydrate --json answers.
type hydrateJSON struct {
	Output      string  `json:"output"`
	Database    string  `json:"database"`
	Timeline    uint32  `json:"timeline"`
	Transaction *txJSON `json:"transaction"`
	Next        *txJSON `json:"next"`
	Asked       string  `json:"asked,omitempty"`
	Base        *uint64 `json:"base_txid"`
	Replayed    uint64  `json:"replayed"`
	SizeBytes   int64   `json:"size_bytes"`
	Sum         string  `json:"sum"`
	Seconds     float64 `json:"seconds"`
}

func (o *hydrateOptions) answer(r apply.Result) hydrateJSON {
	j := hydrateJSON{
		Output: o.output, Database: r.Position.Database.String(), Timeline: uint32(r.Position.Timeline),
		Transaction: newTxJSON(r.Tx), Replayed: r.Transactions, SizeBytes: r.Size, Sum: r.Position.Sum.String(), Seconds: r.Elapsed.Seconds(),
	}
	if r.Next != nil {
		j.Next = newTxJSON(*r.Next)
	}
	if r.Base != nil {
		id := uint64(r.Base.TXID)
		j.Base = &id
	}
	if !o.target.moment.Time.IsZero() {
		j.Asked = jsonTime(o.target.moment.Time)
	}
	return j
}

// tell says which moment was restored and what came next.
func (o *hydrateOptions) tell(env *Env, t *openedTrail, r apply.Result) {
	if env.quiet {
		return
	}
	name := o.output
	if name == "-" {
		name = "stdout"
	}
	paint := env.painter(env.ErrTerm)
	fmt.Fprintf(env.Err, "%s\n", paint.Paint(ui.Good, ui.Clean(name)+" is "+describeTx(r.Tx)))
	f := newFacts(env.Err, paint)
	if asked := o.target.moment.Time; !asked.IsZero() {
		// With its zone, so that nobody wonders in which it was taken.
		f.add("asked", "%s", showTime(asked, asked.Location()))
	}
	if r.Tx.TXID != 0 {
		f.add("recorded", "%s%s", env.showTime(r.Tx.Time.Time()), o.target.before(r.Tx))
	}
	if r.Tx.Note != "" {
		f.add("note", "%s", ui.Clean(r.Tx.Note))
	}
	switch {
	case r.Next == nil && t.torn() > 0:
		f.styled(ui.Warn, "next", "nothing whole: %s", t.tornText())
	case r.Next == nil:
		f.add("next", "nothing yet: this is the latest")
	case r.Tx.TXID == 0:
		f.add("next", "%s of %s", describeTx(*r.Next), env.showTime(r.Next.Time.Time()))
	default:
		f.add("next", "%s %s later: %s%s", describeTx(*r.Next), ui.Duration(r.Next.Time.Time().Sub(r.Tx.Time.Time())),
			ui.Plural(r.Next.Pages, "page", "pages"), noteOf(*r.Next))
	}
	if r.Size > 0 {
		f.add("size", "%s, %s of %d bytes", ui.Bytes(r.Size), ui.Plural(r.PageCount, "page", "pages"), r.PageSize)
	}
	f.add("checked", "checksum %s", r.Position.Sum)
	if r.Again {
		f.styled(ui.Warn, "again", "the shorter way led to another state, and only going by the order of transactions to this one: please report it")
	}
	from := "the empty database"
	if r.Base != nil {
		from = fmt.Sprintf("the base of %d", r.Base.TXID)
	}
	f.add("took", "%s, from %s and %s", ui.Duration(r.Elapsed), from, ui.Plural(r.Transactions, "transaction", "transactions"))
	f.flush()
}

// describeTx names a transaction in a sentence.
func describeTx(tx journal.Tx) string {
	if tx.TXID == 0 {
		return "the empty database before transaction 1"
	}
	return fmt.Sprintf("transaction %d", tx.TXID)
}

// noteOf is a transaction's note, quoted, to follow in a sentence.
func noteOf(tx journal.Tx) string {
	if tx.Note == "" {
		return ""
	}
	return fmt.Sprintf(", note %q", ui.Clean(tx.Note))
}
