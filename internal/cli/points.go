package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

type pointsOptions struct {
	trailOptions
	name string
}

func newPoints(env *Env) *cobra.Command {
	o := &pointsOptions{}
	return o.verb(env, trailVerb{
		name:  "points",
		short: "List restore points, or name one",
		examples: []string{
			"pagetrail points app.db",
			"pagetrail points app.db --name before-deploy   # in a script",
			"pagetrail hydrate app.db -o before.db --point before-deploy",
			"# a program names one with: PRAGMA pagetrail_point='before-deploy'",
		},
		long: `List the restore points of a trail: names that a program gave to a state, oldest
first. A name may be given again; hydrate takes the latest.

With --name the last transaction of a database on this machine is named, whether or not
programs have it open.`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&o.name, "name", "", "name the present state `NAME`")
		},
		codes: []Code{Damaged, Gap, Nothing, Locked},
		run:   o.run,
	})
}

func (o *pointsOptions) run(ctx context.Context, env *Env) error {
	if o.name != "" {
		return o.add(ctx, env)
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	points, err := t.Points()
	if err != nil {
		return err
	}
	window, err := t.Window(ctx)
	if err != nil {
		return err
	}
	all, err := stretches(ctx, t)
	if err != nil {
		return err
	}
	lost := lost(all)
	if o.json {
		answer := pointsJSON{[]pointJSON{}}
		for _, p := range points {
			answer.Points = append(answer.Points, pointJSON{p.Name, p.TXID, jsonTime(p.Time.Time()), restorable(window, p.TXID)})
		}
		if err := writeJSON(env.Out, answer); err != nil {
			return err
		}
		return o.whole(env, lost)
	}
	if len(points) == 0 {
		env.notice("%s has no restore points; a program names one with PRAGMA pagetrail_point='NAME', a script with points --name", t.Dir())
		return o.whole(env, lost)
	}
	table := ui.NewTable(env.Out, env.painter(env.OutTerm), env.tableWidth(),
		ui.Column{Title: "TXID", Right: true}, ui.Column{Title: "NAMED AT"}, ui.Column{Title: "NAME"})
	for _, p := range points {
		name := ui.Cell{Text: ui.Clean(p.Name), Style: ui.Mark}
		if !restorable(window, p.TXID) {
			name = ui.Cell{Text: ui.Clean(p.Name) + "  (no longer restorable)", Style: ui.Warn}
		}
		err := table.Row(ui.Cell{Text: fmt.Sprint(p.TXID), Style: ui.Bold}, ui.Cell{Text: env.showTime(p.Time.Time())}, name)
		if err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return o.whole(env, lost)
}

// add names the present state of a database.
func (o *pointsOptions) add(ctx context.Context, env *Env) error {
	if isURL(o.trail) {
		return usagef("%s is an archive; what is named is the state of a database on this machine", o.trail)
	}
	dir, err := trailDir(o.trail)
	if err != nil {
		return err
	}
	db := databaseOf(dir)
	switch {
	case db == "":
		return &hintError{usagef("which database the trail %s is of is not known", dir), "a program can name it: PRAGMA pagetrail_point='NAME'"}
	case replica.Is(db):
		return &hintError{usagef("%s is a replica: it follows its primary", db), "name the point there"}
	}
	p, err := vfs.NamePoint(ctx, db, o.name)
	if vfs.Busy(err) {
		return kindf(journal.ErrLocked, "%s: a program is in the middle of a transaction", db)
	}
	if err != nil {
		return fmt.Errorf("name a state of %s: %w", db, err)
	}
	if o.json {
		return writeJSON(env.Out, pointsJSON{[]pointJSON{{p.Name, p.TXID, jsonTime(p.Time.Time()), true}}})
	}
	env.notice("transaction %d is %s", p.TXID, ui.Clean(p.Name))
	return nil
}

// whole says so when there may have been more.
func (o *pointsOptions) whole(env *Env, lost error) error {
	if lost == nil {
		return nil
	}
	env.notice("there may have been more: %s", reasonOf(lost))
	env.notice("what can be restored: %s", commandLine("window", o.trail))
	return &quietCode{codeOf(lost), lost}
}

// restorable says whether a TXID lies in a span of the window.
func restorable(w journal.Window, id journal.TXID) bool {
	for _, s := range w.Spans {
		if s.First <= id && id <= s.Last {
			return true
		}
	}
	return false
}
