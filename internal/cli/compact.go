package cli

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

type compactOptions struct {
	url                 string
	all, minutes, hours string
	grace               string
	hold                string
	release, dryRun     bool
	json                bool
	retention           archive.Retention
	graceFor            time.Duration
}

func (o *compactOptions) addFlags(f *pflag.FlagSet) {
	f.StringVar(&o.all, "keep-all", "", "keep every transaction for so `LONG` (7d), and without the others nothing older")
	f.StringVar(&o.minutes, "keep-minutes", "", "keep the last transaction of each minute for so `LONG` (30d)")
	f.StringVar(&o.hours, "keep-hours", "", "keep the last transaction of each hour for so `LONG` (365d)")
	f.StringVar(&o.hold, "hold", "", "from now on keep everything up to `MOMENT`: a transaction's number, a restore point, or a TIME")
	f.BoolVar(&o.release, "release", false, "end the hold")
	f.StringVar(&o.grace, "grace", "1h", "leave what was replaced there for so `LONG`, for those who are reading it")
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be done, and do nothing")
	f.BoolVar(&o.json, "json", false, "say it as one JSON object on stdout")
}

func newCompact(env *Env) *cobra.Command {
	o := &compactOptions{}
	cmd := &cobra.Command{
		Use:   "compact URL [FLAG]...",
		Short: "Keep an archive small: merge, fold into minutes and hours, forget",
		Example: examples(
			"pagetrail compact s3://backups/app   # fewer objects, nothing is lost",
			"pagetrail compact s3://backups/app --keep-all 7d --keep-minutes 30d --dry-run",
			"pagetrail compact s3://backups/app --hold 2026-11-21T14:05:00Z   # evidence stays",
		),
		Long: `Make an archive smaller. What is kept is said by age:

  --keep-all 7d        every transaction of the last 7 days
  --keep-minutes 30d   of the last 30 days the last transaction of each minute
  --keep-hours 365d    of the last 365 days the last transaction of each hour

Restore points are kept whatever their age, and so is the latest transaction. What is
older than all of these is forgotten: then the history begins with a base, which is
made if need be. Without any of the three nothing is lost; small objects are merged,
those of an hour (UTC) once it is over, and before that where 64 wait: in an archive that
is younger and has fewer there is nothing to do. More may be kept for a while than was
asked for, since a day of transactions, a month of minutes and 360 days of hours are
folded at a time; less never is. Settings under which nothing could be restored are
refused.

--hold keeps everything up to a moment as it is, in all runs from then on, until
--release.

It runs beside the program that ships and beside those who read, from any machine, and
needs room for the database in the directory for temporary files (TMPDIR). First the
plan is written into the archive, then it is carried out; when it is interrupted, the
next run carries it on. What was replaced is deleted by a later run, after --grace;
less than 10m is only for an archive that nobody ships to.

At the end it says what can be restored. ` + "`pagetrail window URL` and `pagetrail log URL`" + `
say so at any time.

` + timeHelp,
		Args: oneTrail,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.url = args[0]
			return o.run(cmd.Context(), env)
		},
		Annotations: codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

// check reads the flags.
func (o *compactOptions) check() error {
	if !isURL(o.url) {
		return &hintError{usagef("%s is not a URL", o.url), "an archive's is s3://BUCKET/PREFIX or file:///DIR; a trail keeps itself small"}
	}
	if o.hold != "" && o.release {
		return usagef("--hold and --release are opposites; give one of them")
	}
	given := false
	for _, f := range []struct {
		flag, text string
		into       *time.Duration
	}{
		{"--keep-all", o.all, &o.retention.All},
		{"--keep-minutes", o.minutes, &o.retention.Minutes},
		{"--keep-hours", o.hours, &o.retention.Hours},
		{"--grace", o.grace, &o.graceFor},
	} {
		if f.text == "" {
			continue
		}
		given = given || f.flag != "--grace"
		age, err := parseLength(f.text)
		if err != nil {
			return usagef("%s %s: %w", f.flag, f.text, err)
		}
		*f.into = age
	}
	if given && o.retention == (archive.Retention{}) {
		return &hintError{usagef("nothing would be kept, so nothing could be restored"), "leave the --keep flags away to keep everything"}
	}
	if o.graceFor == 0 {
		o.graceFor = -1
	}
	return o.retention.Check()
}

func (o *compactOptions) run(ctx context.Context, env *Env) error {
	if err := o.check(); err != nil {
		return err
	}
	store, err := env.openStore(ctx, o.url, func(s objstore.Store) objstore.Store { return objstore.Retry(s, nil) })
	if err != nil {
		return err
	}
	defer store.Close()
	if err := o.holdOrRelease(ctx, env, store); err != nil {
		return err
	}
	done, err := upkeep.Run(ctx, store, &archive.MaintainOptions{
		Archive: storeName(o.url), By: processName(), Retention: o.retention, Grace: o.graceFor, DryRun: o.dryRun, Now: env.Now(),
		Step: func(s archive.Step) {
			if !o.json {
				env.notice("%s", sayStep(s))
			}
		},
	})
	if errors.Is(err, archive.ErrMoved) {
		return withHint(err, "run it again")
	}
	if err != nil {
		return archiveHint(err, o.url)
	}
	return o.tell(ctx, env, done)
}

// holdOrRelease does what --hold and --release say.
func (o *compactOptions) holdOrRelease(ctx context.Context, env *Env, s objstore.Store) error {
	if o.release && !o.dryRun {
		if err := archive.SetHold(ctx, s, storeName(o.url), nil); err != nil {
			return err
		}
		env.notice("the hold is ended")
	}
	if o.hold == "" {
		return nil
	}
	t, err := openArchiveBy(ctx, env, o.url, archive.Options{}, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	target, err := o.holdTarget(env, t.Trail)
	if err != nil {
		return err
	}
	plan, err := apply.Resolve(ctx, t.Trail, target)
	if err != nil {
		return err
	}
	if o.dryRun {
		env.notice("everything up to transaction %d would be held", plan.Tx.TXID)
		return nil
	}
	hold := archive.Hold{TXID: plan.Tx.TXID, What: o.hold, Since: journal.TimeOf(env.Now())}
	if err := archive.SetHold(ctx, s, storeName(o.url), &hold); err != nil {
		return err
	}
	env.notice("everything up to transaction %d is held", hold.TXID)
	return nil
}

// holdTarget is what --hold means: a number, a restore point that is there, or a time.
func (o *compactOptions) holdTarget(env *Env, t *journal.Trail) (apply.Target, error) {
	if id, err := strconv.ParseUint(o.hold, 10, 63); err == nil {
		return apply.AtTXID(journal.TXID(id)), nil
	}
	if _, err := t.FindPoint(o.hold); err == nil {
		return apply.AtPoint(o.hold), nil
	}
	m, err := env.parseMoment("--hold", o.hold)
	if err != nil {
		return apply.Target{}, withHint(err, "or name a restore point: %s", commandLine("points", o.url))
	}
	return apply.AtTime(journal.TimeOf(m.Time)), nil
}

// sayStep is a step in words, with what it is about.
func sayStep(s archive.Step) string {
	text := s.String()
	if s.Objects > 0 {
		text += ", " + ui.Plural(s.Objects, "object", "objects")
	}
	if s.Bytes > 0 {
		text += " of " + ui.Bytes(s.Bytes)
		if s.Objects == 0 {
			text = strings.Replace(text, " of "+ui.Bytes(s.Bytes), ", reading "+ui.Bytes(s.Bytes), 1)
		}
	}
	return text
}

// compactJSON is what compact --json answers.
type compactJSON struct {
	Archive string     `json:"archive"`
	DryRun  bool       `json:"dry_run"`
	Resumed bool       `json:"resumed"`
	Steps   []stepJSON `json:"steps"`
	Spans   []spanJSON `json:"spans"`
}

type stepJSON struct {
	Op      string       `json:"op"`
	Text    string       `json:"text"`
	First   journal.TXID `json:"first,omitempty"`
	Last    journal.TXID `json:"last,omitempty"`
	Base    journal.TXID `json:"base,omitempty"`
	Objects int          `json:"objects"`
	Bytes   int64        `json:"bytes"`
}

// tell says what was done, or would be, and what can be restored.
func (o *compactOptions) tell(ctx context.Context, env *Env, done archive.Maintained) error {
	j := compactJSON{Archive: storeName(o.url), DryRun: o.dryRun, Resumed: done.Resumed, Steps: []stepJSON{}, Spans: []spanJSON{}}
	for _, plan := range done.Plans {
		for _, s := range plan.Steps[plan.Done:] {
			j.Steps = append(j.Steps, stepJSON{s.Op, s.String(), s.First, s.Last, s.Base, s.Objects, s.Bytes})
			if o.dryRun && !o.json {
				env.notice("would %s", sayStep(s))
			}
		}
	}
	t, err := openArchiveBy(ctx, env, o.url, archive.Options{}, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	window, err := t.Window(ctx)
	if err != nil {
		return err
	}
	for _, s := range window.Spans {
		j.Spans = append(j.Spans, newSpanJSON(s))
	}
	if o.json {
		return writeJSON(env.Out, j)
	}
	switch {
	case len(j.Steps) == 0:
		env.notice("nothing to do")
	case !o.dryRun:
		env.notice("wrote %s, %s, and deleted %s, %s", ui.Plural(done.Written, "object", "objects"), ui.Bytes(done.WrittenBytes),
			ui.Plural(done.Deleted, "object", "objects"), ui.Bytes(done.DeletedBytes))
	}
	for _, s := range window.Spans {
		env.notice("%s", saySpan(env, s))
	}
	return nil
}

// saySpan says in a sentence what of a span can be restored.
func saySpan(env *Env, s journal.Span) string {
	first, from := s.First, ""
	if first == 0 && s.Last > 0 {
		first = 1
	}
	if s.FirstTime != 0 {
		from = " of " + env.showTime(s.FirstTime.Time())
	}
	text := fmt.Sprintf("restorable: from transaction %d%s to %d of %s", first, from, s.Last, env.showTime(s.LastTime.Time()))
	if s.Folded > 0 {
		left, of := leftOf(s)
		return text + fmt.Sprintf(", %d of %d", left, of)
	}
	return text + ", every one"
}

// leftOf is how many of the transactions of a span can be restored, the empty database apart.
func leftOf(s journal.Span) (left, of uint64) {
	of = uint64(s.Last-max(s.First, 1)) + 1
	return of - s.Folded, of
}
