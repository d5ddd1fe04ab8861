package cli

import (
	"context"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type windowOptions struct{ trailOptions }

func newWindow(env *Env) *cobra.Command {
	o := &windowOptions{}
	return o.verb(env, trailVerb{
		name:  "window",
		short: "Say what can be restored, from when to when",
		examples: []string{
			"pagetrail window app.db",
			"pagetrail window app.db --json | jq '.gaps | length'",
		},
		long: `Say which transactions can be restored, from when to when, and what is lost. A span
begins with the empty database or a base; every transaction in it can be hydrated.
Lost are transactions that files should hold and do not, or hold damaged; then the
exit code is 4 or 3. Those after a loss are stranded up to the next base: they can
be listed, and restored when what is lost comes back. So are those of a trail that goes
on with an archive's history (hydrate --continue, exec), or was pruned once shipped: they
can be restored from the archive; when nothing else is there, the exit code is 10. What
was cut, since the database had lost it, is a trail of its own: see status --help.

The answer comes from names, headers and indexes of files. That every byte is right
is for pagetrail verify to say.`,
		run: o.run,
	})
}

// windowJSON is what window --json answers.
type windowJSON struct {
	Trail    string     `json:"trail"`
	Spans    []spanJSON `json:"spans"`
	Gaps     []gapJSON  `json:"gaps"`
	Stranded []spanJSON `json:"stranded"`
	Cuts     []cutJSON  `json:"cuts,omitempty"`
}

// gapJSON is a run of transactions that are lost.
type gapJSON struct {
	spanJSON
	Reason string `json:"reason,omitempty"`
}

func newWindowJSON(trail string, all []stretch) windowJSON {
	j := windowJSON{Trail: trail, Spans: []spanJSON{}, Gaps: []gapJSON{}, Stranded: []spanJSON{}}
	for _, s := range all {
		span := newSpanJSON(s.Span)
		switch s.kind {
		case restorableStretch:
			j.Spans = append(j.Spans, span)
		case strandedStretch:
			j.Stranded = append(j.Stranded, span)
		case lostStretch:
			gap := gapJSON{spanJSON: span}
			if s.reason != nil {
				gap.Reason = reasonOf(s.reason)
			}
			j.Gaps = append(j.Gaps, gap)
		}
	}
	return j
}

func (o *windowOptions) run(ctx context.Context, env *Env) error {
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	all, err := stretches(ctx, t)
	if err != nil {
		return err
	}
	cuts, err := t.Cuts()
	if err != nil {
		return err
	}
	if o.json {
		answer := newWindowJSON(t.Dir(), all)
		answer.Cuts = cutsJSON(cuts)
		err = writeJSON(env.Out, answer)
	} else {
		err = o.table(env, all)
		env.noticeCuts("log", o.trail, cuts)
	}
	if err != nil {
		return err
	}
	worst := archiveHint(lost(all), o.trail)
	switch {
	case worst != nil:
		env.notice("the reason: %s", reasonOf(worst))
		if hint := hintFor(worst); hint != "" {
			env.notice("  %s", hint)
		}
		return &quietCode{codeOf(worst), worst}
	case len(all) == 0:
		return &quietCode{Nothing, env.say("%s: nothing can be restored yet, it holds no transactions", t.Dir())}
	}
	if !slices.ContainsFunc(all, func(s stretch) bool { return s.kind == restorableStretch }) {
		if cutOf(o.trail) != "" {
			return &quietCode{Nothing, env.say("%s: nothing can be restored from it alone: %s", t.Dir(), bridge(o.trail, all[0].First))}
		}
		return &quietCode{Nothing, env.say("%s: nothing can be restored from it alone: what comes before transaction %d is in the archive that it was restored from, or shipped to: hydrate from there; %s makes a base of the database as it is now",
			t.Dir(), all[0].First, commandLine("repair", o.trail))}
	}
	if !o.json {
		env.notice("restore with: %s -o FILE --at TIME", commandLine("hydrate", o.trail))
	}
	return nil
}

// stretchLabels say what a stretch is, for its first line and its last.
var stretchLabels = map[stretchKind]struct {
	from, to string
	style    ui.Style
}{
	restorableStretch: {"from", "to", ui.Good},
	lostStretch:       {"lost from", "lost to", ui.Bad},
	strandedStretch:   {"stranded", "", ui.Warn},
}

func (o *windowOptions) table(env *Env, all []stretch) error {
	table := ui.NewTable(env.Out, env.painter(env.OutTerm), env.tableWidth(),
		ui.Column{Title: "RESTORABLE"}, ui.Column{Title: "TXID", Right: true}, ui.Column{Title: "TIME"}, ui.Column{Title: "AGE"})
	row := func(label string, style ui.Style, id journal.TXID, at journal.Time, note string) error {
		age := ""
		if at != 0 {
			note += env.showTime(at.Time())
			age = ui.Duration(env.since(at.Time()))
		}
		return table.Row(ui.Cell{Text: label, Style: style}, ui.Cell{Text: fmt.Sprint(id), Style: ui.Bold},
			ui.Cell{Text: note}, ui.Cell{Text: age, Style: ui.Dim})
	}
	for _, s := range all {
		l := stretchLabels[s.kind]
		note := ""
		switch {
		case s.First == 0 && s.FirstTime == 0: // its first transaction cannot be read
			note = "empty"
		case s.First == 0:
			note = "empty until "
		}
		if s.kind == lostStretch && s.FirstTime != 0 {
			note = "after "
		}
		if err := row(l.from, l.style, s.First, s.FirstTime, note); err != nil {
			return err
		}
		if s.Last == s.First || s.Last == 0 {
			continue
		}
		if err := row(l.to, l.style, s.Last, s.LastTime, ""); err != nil {
			return err
		}
		if s.Folded > 0 {
			left, of := leftOf(s.Span)
			text := fmt.Sprintf("%d of these %d; the others were folded, pagetrail log lists those that are left", left, of)
			if err := table.Line(ui.Cell{Text: text, Style: ui.Dim}); err != nil {
				return err
			}
		}
	}
	return table.Flush()
}
