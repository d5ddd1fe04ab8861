package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

// lockWait is how long a writer is waited for: longer than a commit takes, shorter than a person's patience.
const lockWait = time.Second

type repairOptions struct {
	trailOptions
	dryRun   bool
	database string
}

func (o *repairOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.dryRun, "dry-run", "n", false, "say what would be done, and do nothing")
	f.StringVar(&o.database, "database", "", "the database: `FILE`, when it is not beside its trail")
}

func newRepair(env *Env) *cobra.Command {
	o := &repairOptions{}
	return o.verb(env, trailVerb{
		name:  "repair",
		short: "Heal what can be healed of a damaged trail",
		examples: []string{
			"pagetrail repair app.db --dry-run   # what would be done, and what is gone",
			"pagetrail repair app.db",
		},
		long: `Heal a trail, and say what is gone. Nothing is deleted: damaged files, and what crashes
left half made, are moved to a directory evidence-N in the trail.

  - A torn or damaged end of the tail is cut after its last whole transaction.
  - Of a damaged segment the whole blocks are kept; the transactions of the others are
    a gap, and stay one.
  - A base that is damaged, or of no transaction, and files of other databases are moved.
  - A file identity that is missing is made again from the other files.
  - When the last transaction can no longer be restored, because what it builds on is
    gone, a base of the database as it is now bridges the gap: from there on everything
    can be restored again. For that the database must be in the state of the last
    transaction.
  - The page table, a cache, is made anew when it is missing or wrong.

Programs may have the database open; their commits wait meanwhile. While one is writing,
repair refuses. It can be stopped and begun again at any point; with nothing to do it
says so. The database itself is only read.`,
		flags: o.addFlags,
		codes: []Code{Damaged, Gap, Nothing, Locked},
		run:   o.run,
	})
}

func (o *repairOptions) run(ctx context.Context, env *Env) error {
	if isURL(o.trail) {
		return &hintError{usagef("an archive is not repaired in place"), "what is whole of it can be restored: " + commandLine("window", o.trail)}
	}
	dir, err := trailDir(o.trail)
	if err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	opts := &journal.RepairOptions{Mode: info.Mode().Perm() & 0o666, Wait: lockWait}
	do := journal.Repair
	if o.dryRun {
		do = journal.PlanRepair
	}
	plan, err := do(ctx, dir, opts)
	if err != nil {
		return o.explain(dir, err)
	}
	a := &repaired{dir: dir, plan: plan, mode: opts.Mode}
	a.database, a.noDatabase = liveDatabase(o.trail, dir, o.database)
	if a.noDatabase != nil && o.database != "" {
		return a.noDatabase
	}
	if err := a.live(ctx, env, o.dryRun); err != nil {
		return err
	}
	if o.json {
		err = writeJSON(env.Out, o.answer(a))
	} else {
		err = o.show(env, a)
	}
	if err != nil {
		return err
	}
	return o.outcome(env, a)
}

// explain puts what to do about it to an error.
func (o *repairOptions) explain(dir string, err error) error {
	if errors.Is(err, journal.ErrLocked) {
		return withHint(err, "a program is writing to the trail, or seals it: try again in a moment")
	}
	if errors.Is(err, journal.ErrNotFound) {
		return &hintError{kindf(journal.ErrNotFound, "%s is no trail: it has no file identity, and no segment to make one of", dir), neighbours(dir, beginnings(dir))}
	}
	return err
}

// outcome is what the command ends with.
func (o *repairOptions) outcome(env *Env, a *repaired) error {
	for _, e := range a.plan.Unhealed {
		env.notice("not healed: %s", reasonOf(e))
	}
	if len(a.plan.Unhealed) > 0 {
		return &quietCode{codeOf(a.plan.Unhealed[0]), a.plan.Unhealed[0]}
	}
	if a.unbridged == nil {
		return nil
	}
	env.notice("transaction %d cannot be restored, and no base of the database bridges the gap: %s", a.plan.Last, reasonOf(a.unbridged))
	if hint := hintFor(a.unbridged); hint != "" {
		env.notice("  %s", hint)
	}
	code := codeOf(a.unbridged)
	if code != Locked && code != Interrupted {
		code = Gap
	}
	return &quietCode{code, a.unbridged}
}

// nothing says that there was nothing to do.
func (a *repaired) nothing() bool { return len(a.plan.Steps) == 0 && len(a.done) == 0 }

func (o *repairOptions) show(env *Env, a *repaired) error {
	paint := env.painter(env.OutTerm)
	head := "repaired"
	switch {
	case a.nothing() && len(a.plan.Unhealed) == 0 && a.unbridged == nil:
		head = "needs no repair"
	case a.nothing():
		head = "is as far repaired as it can be"
	case o.dryRun:
		head = "would be repaired so"
	}
	if _, err := fmt.Fprintln(env.Out, paint.Paint(ui.Bold, ui.Clean(a.dir)+" "+head)); err != nil {
		return err
	}
	f := newFacts(env.Out, paint)
	var said string
	for _, s := range a.plan.Steps {
		if s.Why != nil {
			if why := a.short(reasonOf(s.Why)); why != said {
				f.styled(ui.Bad, "wrong", "%s", ui.Clean(why))
				said = why
			}
		}
		f.add("step", "%s: %s", s.File, s.Do)
	}
	for _, s := range a.done {
		f.add("step", "%s", s)
	}
	for _, g := range a.plan.After.Gaps {
		row := logRow{lostFrom: g.First, lostTo: g.Last}
		f.styled(ui.Bad, "GONE", "%s", row.lostRange())
	}
	if a.plan.Again {
		f.styled(ui.Warn, "note", "numbers after %d may have been given before: an archive or follower that has them will not go on from here", a.plan.Last)
	}
	for _, s := range a.stranded() {
		f.styled(ui.Warn, "stranded", "%d to %d: there, and not restorable without what is gone", s.First, s.Last)
	}
	for _, s := range a.spans() {
		f.styled(ui.Good, "restorable", "%d to %d", s.First, s.Last)
	}
	if a.plan.Evidence != "" {
		f.add("evidence", "%s", ui.Clean(filepath.Join(a.dir, a.plan.Evidence)))
	}
	return f.flush()
}

// short leaves the trail's directory out of a message that is about files in it.
func (a *repaired) short(text string) string { return shorten(text, a.dir) }

// repairJSON is what repair --json answers.
type repairJSON struct {
	Trail      string           `json:"trail"`
	DryRun     bool             `json:"dry_run"`
	Needed     bool             `json:"needed"`
	Steps      []repairStepJSON `json:"steps"`
	Evidence   string           `json:"evidence,omitempty"`
	Last       journal.TXID     `json:"last_txid"`
	Spans      []spanJSON       `json:"spans"`
	Gaps       []spanJSON       `json:"gaps"`
	Stranded   []spanJSON       `json:"stranded"`
	Unbridged  string           `json:"unbridged,omitempty"`
	Unhealed   []string         `json:"unhealed"`
	ReusesTXID bool             `json:"reuses_txids,omitempty"`
}

type repairStepJSON struct {
	File string `json:"file"`
	Do   string `json:"do"`
	Why  string `json:"why,omitempty"`
}

func (o *repairOptions) answer(a *repaired) repairJSON {
	j := repairJSON{
		Trail: a.dir, DryRun: o.dryRun, Needed: !a.nothing(), Steps: []repairStepJSON{}, Evidence: a.plan.Evidence, Last: a.plan.Last,
		Spans: []spanJSON{}, Gaps: []spanJSON{}, Stranded: []spanJSON{}, Unhealed: []string{}, ReusesTXID: a.plan.Again,
	}
	for _, s := range a.plan.Steps {
		step := repairStepJSON{File: s.File, Do: s.Do}
		if s.Why != nil {
			step.Why = reasonOf(s.Why)
		}
		j.Steps = append(j.Steps, step)
	}
	for _, s := range a.done {
		j.Steps = append(j.Steps, repairStepJSON{File: s.file, Do: s.do})
	}
	for _, s := range a.spans() {
		j.Spans = append(j.Spans, newSpanJSON(s))
	}
	for _, g := range a.plan.After.Gaps {
		j.Gaps = append(j.Gaps, newSpanJSON(g))
	}
	for _, s := range a.stranded() {
		j.Stranded = append(j.Stranded, newSpanJSON(s))
	}
	for _, e := range a.plan.Unhealed {
		j.Unhealed = append(j.Unhealed, reasonOf(e))
	}
	if a.unbridged != nil {
		j.Unbridged = reasonOf(a.unbridged)
	}
	return j
}
