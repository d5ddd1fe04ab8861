package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type showOptions struct {
	trail string
	txid  string
	all   bool
	json  bool
}

func (o *showOptions) addFlags(f *pflag.FlagSet) {
	f.BoolVarP(&o.all, "all", "a", false, "list every page, not only the first 40")
	f.BoolVar(&o.json, "json", false, "one JSON object, with every page")
}

func newShow(env *Env) *cobra.Command {
	o := &showOptions{}
	cmd := &cobra.Command{
		Use:   "show TRAIL|DB [TXID] [FLAG]...",
		Short: "Take one transaction apart: which pages, of which tables",
		Example: examples(
			"pagetrail show app.db 41203         # what did 41203 touch?",
			"pagetrail show app.db               # the latest",
			"pagetrail show app.db 41203 --json | jq '.tables[].name'",
		),
		Long: `Show one transaction: its description, which tables and indexes it changed, and each
page with the kind of b-tree page it is, the bytes that changed in it and the bytes
of its patch. A patch is measured by itself; within the transaction patches may copy
from each other, so together they take less. PAGES and BEFORE count all pages of a
table or index: SQLite empties a table without writing most of them, and only these
numbers show it. A ! marks one that lost more than half of its pages.

To know what a page is, the state before the transaction is restored into a scratch
file in the directory for temporary files (TMPDIR), which needs room for the database
and takes as long as hydrating it; the file is removed again.

` + trailHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 2:
				return nil
			case len(args) > 2:
				return &hintError{usagef("a trail and a transaction are enough, and there are %d arguments: %s", len(args), strings.Join(args, " ")), "see: pagetrail show --help"}
			}
			return oneTrail(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			o.trail = args[0]
			if len(args) == 2 {
				o.txid = args[1]
			}
			return o.run(cmd.Context(), env)
		},
		ValidArgsFunction: completeTrail(recentTXIDs),
		Annotations:       codes(Damaged, Gap, Nothing),
	}
	o.addFlags(cmd.Flags())
	return cmd
}

func (o *showOptions) run(ctx context.Context, env *Env) error {
	var id journal.TXID
	if o.txid != "" {
		var err error
		if id, err = parseTXID(o.txid); err != nil {
			if _, e := parseTXID(o.trail); e == nil {
				return &hintError{&usageError{err}, "the trail comes first: " + commandLine("show", o.txid, o.trail)}
			}
			return &usageError{err}
		}
	}
	t, err := openTrail(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	if o.txid == "" {
		last, err := t.Last()
		if err != nil {
			return err
		}
		if t.damage != nil {
			if last.TXID == 0 {
				return o.explain(ctx, env, t, 0, t.damage)
			}
			return &hintError{t.damage, "the last before the damage: " + commandLine("show", o.trail, last.TXID.String())}
		}
		id = last.TXID
	}
	if id == 0 {
		return withHint(kindf(journal.ErrRange, "transaction 0 is the empty database before any; there is nothing to show"),
			"see: %s", commandLine("log", o.trail))
	}
	bar := env.progress(ctx, "restoring")
	a, err := dissect(ctx, t.Trail, id, bar)
	bar.finish()
	if last, e := t.Last(); errors.Is(err, journal.ErrRange) && t.damage != nil && e == nil && id > last.TXID {
		err = t.damage // perhaps in what is lost
	}
	if err != nil {
		return o.explain(ctx, env, t, id, err)
	}
	points, err := pointsByTXID(t.Trail)
	if err != nil {
		return err
	}
	if o.json {
		return writeJSON(env.Out, newShowJSON(a, points[id]))
	}
	if err := o.show(env, t.Trail, a, points[id]); err != nil || a.before == nil {
		return err
	}
	env.notice("the database as it was before: %s", commandLine("hydrate", o.trail, "-o", "FILE", "--txid", a.before.TXID.String()))
	if back := rewindCommand(o.trail, a.before.TXID); back != "" {
		env.notice("the database itself taken back: %s", back)
	}
	return nil
}

func (o *showOptions) explain(ctx context.Context, env *Env, t *openedTrail, id journal.TXID, err error) error {
	meant := targetOptions{txid: id.String(), is: apply.AtTXID(id)}
	if cut := meant.cutHint(ctx, env, t, journal.Tx{}, func(dir, id string) string { return commandLine("show", dir, id) }); cut != "" && codeOf(err) == Nothing {
		return &hintError{err, cut}
	}
	err = withBaseHint(err, o.trail)
	var out *journal.RangeError
	if errors.As(err, &out) && out.First <= out.Last {
		near := min(max(out.Want, out.First), out.Last)
		return withHint(err, "the nearest is: %s", commandLine("show", o.trail, near.String()))
	}
	if errors.Is(err, journal.ErrGap) || errors.Is(err, journal.ErrCorrupt) {
		return withHint(err, "see what is left: %s", commandLine("window", o.trail))
	}
	return err
}

// showPages is how many pages are listed unless all are asked for: what fits a screen with the
// summary above it.
const showPages = 40

func (o *showOptions) show(env *Env, t *journal.Trail, a *anatomy, points []journal.Point) error {
	paint := env.painter(env.OutTerm)
	head := fmt.Sprintf("transaction %d of %s", a.tx.TXID, ui.Clean(t.Dir()))
	if _, err := fmt.Fprintln(env.Out, paint.Paint(ui.Bold, head)); err != nil {
		return err
	}
	f := newFacts(env.Out, paint)
	a.describe(env, f, points)
	if err := f.flush(); err != nil || len(a.pages) == 0 {
		return err
	}
	if err := o.shares(env, a); err != nil {
		return err
	}
	return o.pages(env, a)
}

// describe adds the facts of the transaction as a whole.
func (a *anatomy) describe(env *Env, f *facts, points []journal.Point) {
	at := a.tx.Time.Time()
	recorded := fmt.Sprintf("%s, %s", env.showTime(at), env.ago(at))
	if a.before != nil {
		recorded += fmt.Sprintf("; %s after %d", ui.Duration(at.Sub(a.before.Time.Time())), a.before.TXID)
	}
	f.add("recorded", "%s", recorded)
	f.add("kind", "%s", kindName(a.tx.Kind))
	if a.tx.Note != "" {
		f.styled(ui.Bold, "note", "%s", ui.Clean(a.tx.Note))
	}
	for _, p := range points {
		f.styled(ui.Mark, "point", "%s", ui.Clean(p.Name))
	}
	if a.tx.Super != "" {
		f.add("with", "other databases, by the super-journal %s", ui.Clean(a.tx.Super))
	}
	f.add("database", "%s, %s of %d bytes%s", ui.Bytes(sizeOf(a.tx)), ui.Plural(a.tx.PageCount, "page", "pages"), a.tx.PageSize, a.growth())
	if a.tx.Kind == journal.Base {
		f.add("patches", "none: the whole database is in the base file")
	} else {
		raw := int64(a.tx.Pages) * int64(a.tx.PageSize)
		f.add("patches", "%s for %s of %s (%s)", ui.Bytes(a.tx.Bytes), ui.Plural(a.tx.Pages, "page", "pages"), ui.Bytes(raw), ui.Percent(a.tx.Bytes, raw))
	}
	if a.tx.SumKnown {
		f.add("checksum", "%s", a.tx.Sum)
	} else {
		f.add("checksum", "…%08x", a.tx.SumCut)
	}
}

// growth says how the database's size changed.
func (a *anatomy) growth() string {
	if a.before == nil {
		return ""
	}
	if a.before.PageSize != a.tx.PageSize {
		return fmt.Sprintf(" (before: %s of %d)", ui.Plural(a.before.PageCount, "page", "pages"), a.before.PageSize)
	}
	switch d := int64(a.tx.PageCount) - int64(a.before.PageCount); {
	case d > 0:
		return fmt.Sprintf(" (+%s)", ui.Count(d))
	case d < 0:
		return fmt.Sprintf(" (%s)", ui.Count(d))
	}
	return ""
}

// shares prints what each table and index has of the transaction.
func (o *showOptions) shares(env *Env, a *anatomy) error {
	fmt.Fprintln(env.Out)
	table := ui.NewTable(env.Out, env.painter(env.OutTerm), env.tableWidth(),
		ui.Column{Title: "PATCHED", Right: true}, ui.Column{Title: "CHANGED", Right: true}, ui.Column{Title: "PATCH", Right: true},
		ui.Column{Title: "PAGES", Right: true}, ui.Column{Title: "BEFORE", Right: true}, ui.Column{Title: "TABLE OR INDEX"})
	for _, s := range a.shares() {
		before := ui.Cell{}
		if a.compared && s.had != s.has {
			before.Text = ui.Count(s.had)
			if s.has < s.had/2 {
				before = ui.Cell{Text: "! " + before.Text, Style: ui.Warn}
			}
		}
		err := table.Row(ui.Cell{Text: ui.Count(s.patched), Style: ui.Bold}, a.measured(s.changed), a.measured(s.patch),
			ui.Cell{Text: ui.Count(s.has)}, before, ui.Cell{Text: ui.Clean(s.name)})
		if err != nil {
			return err
		}
	}
	return table.Flush()
}

// measured is a number of bytes, or nothing when it could not be measured.
func (a *anatomy) measured(n int64) ui.Cell {
	if !a.compared {
		return ui.Cell{Text: "?"}
	}
	return ui.Cell{Text: ui.BytesColumn(n)}
}

// pages prints the pages one by one.
func (o *showOptions) pages(env *Env, a *anatomy) error {
	fmt.Fprintln(env.Out)
	table := ui.NewTable(env.Out, env.painter(env.OutTerm), env.tableWidth(),
		ui.Column{Title: "PAGE", Right: true}, ui.Column{Title: "CHANGED", Right: true}, ui.Column{Title: "PATCH", Right: true},
		ui.Column{Title: "KIND"}, ui.Column{Title: "OF"})
	for i := range a.pages {
		if i == showPages && !o.all {
			break
		}
		p := &a.pages[i]
		of := p.of()
		if strings.HasPrefix(of, "(") {
			of = ""
		}
		err := table.Row(ui.Cell{Text: fmt.Sprint(p.no), Style: ui.Bold}, a.measured(int64(p.changed)), a.measured(int64(p.patch)),
			ui.Cell{Text: p.role(a.compared)}, ui.Cell{Text: ui.Clean(of)})
		if err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if rest := len(a.pages) - showPages; rest > 0 && !o.all {
		env.notice("and %s more; --all lists them", ui.Plural(rest, "page", "pages"))
	}
	return nil
}

// showJSON is what show --json answers.
type showJSON struct {
	*txJSON
	Before *journal.TXID `json:"before_txid"`
	Tables []shareJSON   `json:"tables"`
	Patch  []pageJSON    `json:"patched"`
}

type shareJSON struct {
	Name         string `json:"name"`
	Patched      int    `json:"patched_pages"`
	Pages        int    `json:"pages"`
	PagesBefore  *int   `json:"pages_before,omitempty"`
	ChangedBytes *int64 `json:"changed_bytes,omitempty"`
	PatchBytes   *int64 `json:"patch_bytes,omitempty"`
}

type pageJSON struct {
	Page         uint32 `json:"page"`
	Kind         string `json:"kind"`
	Name         string `json:"name,omitempty"`
	Table        string `json:"table,omitempty"`
	Was          string `json:"was,omitempty"`
	WasName      string `json:"was_name,omitempty"`
	New          bool   `json:"new,omitempty"`
	Full         bool   `json:"full,omitempty"`
	ChangedBytes *int64 `json:"changed_bytes,omitempty"`
	PatchBytes   *int64 `json:"patch_bytes,omitempty"`
}

func newShowJSON(a *anatomy, points []journal.Point) showJSON {
	j := showJSON{txJSON: newTxJSON(a.tx), Tables: []shareJSON{}, Patch: []pageJSON{}}
	for _, p := range points {
		j.Points = append(j.Points, p.Name)
	}
	if a.before != nil {
		j.Before = &a.before.TXID
	}
	for _, s := range a.shares() {
		table := shareJSON{Name: s.name, Patched: s.patched, Pages: s.has, ChangedBytes: a.known(s.changed), PatchBytes: a.known(s.patch)}
		if a.compared {
			table.PagesBefore = &s.had
		}
		j.Tables = append(j.Tables, table)
	}
	for i := range a.pages {
		p := &a.pages[i]
		page := pageJSON{Page: p.no, Kind: p.is.kind.String(), New: p.fresh, Full: p.full, ChangedBytes: a.known(int64(p.changed)), PatchBytes: a.known(int64(p.patch))}
		if p.is.owner != nil {
			page.Name, page.Table = p.is.owner.name, p.is.owner.table
		}
		if a.compared && !p.fresh {
			page.Was = p.was.kind.String()
			if p.was.owner != nil {
				page.WasName = p.was.owner.name
			}
		}
		j.Patch = append(j.Patch, page)
	}
	return j
}

// known is a measure for JSON, absent when it could not be taken.
func (a *anatomy) known(n int64) *int64 {
	if !a.compared {
		return nil
	}
	return &n
}
