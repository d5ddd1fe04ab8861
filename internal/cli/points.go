package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type pointsOptions struct{ trailOptions }

func newPoints(env *Env) *cobra.Command {
	o := &pointsOptions{}
	return o.verb(env, trailVerb{
		name:  "points",
		short: "List restore points",
		examples: []string{
			"pagetrail points app.db",
			"pagetrail hydrate app.db -o before.db --point before-deploy",
			"# a program names one with: PRAGMA pagetrail_point='before-deploy'",
		},
		long: `List the restore points of a trail: names that a program gave to a state, oldest
first. A name may be given again; hydrate takes the latest.`,
		run: o.run,
	})
}

func (o *pointsOptions) run(ctx context.Context, env *Env) error {
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
		env.notice("%s has no restore points; a program names one with PRAGMA pagetrail_point='NAME'", t.Dir())
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
