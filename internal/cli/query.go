package cli

import (
	"bufio"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/internal/query"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

type queryOptions struct {
	trail, query string
	target       targetOptions
	csv, json    bool
}

func (o *queryOptions) addFlags(f *pflag.FlagSet) {
	o.target.addFlags(f)
	f.BoolVar(&o.csv, "csv", false, "comma-separated values as of RFC 4180, the names of the columns first")
	f.BoolVar(&o.json, "json", false, "one JSON object a row")
}

func newQuery(env *Env) *cobra.Command {
	o := &queryOptions{}
	cmd := &cobra.Command{
		Use:   "query TRAIL|DB QUERY [FLAG]...",
		Short: "Ask the database as it was, without restoring it",
		Example: examples(
			`pagetrail query app.db "SELECT * FROM account WHERE name='ann'" --at 14:05`,
			`pagetrail query s3://backups/app 'SELECT count(*) FROM orders' --txid 41203`,
			`pagetrail query app.db 'SELECT * FROM price' --point deploy --csv > price.csv`,
		),
		Long: `Run QUERY, one SQL statement that only reads, on the database as it was: at a
transaction, a time or a restore point; without any of these, as it was last. Programs
that use the database are not disturbed, and nothing is written.

The pages that the query touches, and those that they were made of, are read from the
nearest base and the patches since: of an archive only those parts are fetched. A small
database is restored to a scratch file instead, and so is one of which a query has read
so much that this would have cost no more; that needs room in the directory for temporary
files (TMPDIR).

Every block that is read is checked by its checksum. The checksum of the whole database
is compared only when it is restored: for evidence use pagetrail hydrate.

Values that are no text are shown as SQLite converts them, blobs in hexadecimal digits, as
x'0A0B'. A NULL is null in JSON, and else empty.

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

func (o *queryOptions) run(ctx context.Context, env *Env) error {
	if o.csv && o.json {
		return usagef("--csv and --json are two ways to write the answer; give one of them")
	}
	target, err := o.target.resolve(env)
	if err != nil {
		return err
	}
	roomForView()
	t, err := openScattered(ctx, env, o.trail)
	if err != nil {
		return err
	}
	defer t.Close()
	progress := env.progress(ctx, "restoring")
	defer progress.finish()
	view, err := asof.Open(ctx, t.Trail, target, &asof.Options{CacheBytes: viewBytes, Progress: progress.apply})
	if cut := o.cutHint(ctx, env, t, journal.Tx{}); cut != "" && codeOf(err) == Nothing {
		return &hintError{err, cut}
	}
	if out, ok := errors.AsType[*apply.RangeError](err); ok && (out.Before != nil || out.After != nil) {
		return &hintError{err, o.target.nearest(env, out, commandLine("query", o.trail, o.query))}
	}
	if err != nil {
		return withBaseHint(err, o.trail)
	}
	defer view.Close()
	var a answerWriter
	switch {
	case o.json:
		a = &jsonAnswer{out: bufio.NewWriter(env.Out)}
	case o.csv:
		a = &csvAnswer{csv.NewWriter(env.Out)}
	default:
		a = &tableAnswer{env: env}
	}
	err = query.Ask(ctx, view, o.query, a.begin, a.row)
	if e := a.end(); err == nil {
		err = e
	}
	progress.finish()
	if refused, ok := errors.AsType[*query.Refusal](err); ok {
		return &usageError{fmt.Errorf("the query has no answer: %w", refused)}
	}
	if err == nil && !o.json && !o.csv {
		tx := view.Tx()
		env.say("as of %s%s", describeTx(tx), o.target.before(tx))
		if cut := o.cutHint(ctx, env, t, tx); cut != "" {
			env.notice("%s", cut)
		}
	}
	return err
}

// cutHint is for a transaction that was cut: how to ask it.
func (o *queryOptions) cutHint(ctx context.Context, env *Env, t *openedTrail, got journal.Tx) string {
	return o.target.cutHint(ctx, env, t, got, func(dir, id string) string {
		return commandLine("query", dir, o.query, "--txid", id)
	})
}

// answerWriter writes an answer to stdout.
type answerWriter interface {
	begin(columns []string) error
	row(query.Row) error
	end() error // also after an error
}

type tableAnswer struct {
	env   *Env
	table *ui.Table
}

func (a *tableAnswer) begin(columns []string) error {
	titles := make([]ui.Column, len(columns))
	for i, c := range columns {
		titles[i].Title = ui.Clean(c)
	}
	a.table = ui.NewTable(a.env.Out, a.env.painter(a.env.OutTerm), 0, titles...)
	return nil
}

func (a *tableAnswer) row(r query.Row) error {
	cells := make([]ui.Cell, r.Len())
	for i := range cells {
		cells[i].Text = ui.Clean(textOf(r, i))
	}
	return a.table.Row(cells...)
}

func (a *tableAnswer) end() error {
	if a.table == nil {
		return nil
	}
	return a.table.Flush()
}

type csvAnswer struct{ *csv.Writer }

func (a *csvAnswer) begin(columns []string) error { return a.Write(columns) }

func (a *csvAnswer) row(r query.Row) error {
	fields := make([]string, r.Len())
	for i := range fields {
		fields[i] = textOf(r, i)
	}
	return a.Write(fields)
}

func (a *csvAnswer) end() error {
	a.Flush()
	return a.Error()
}

type jsonAnswer struct {
	out  *bufio.Writer
	keys [][]byte // of the columns, in JSON
	line []byte
}

func (a *jsonAnswer) begin(columns []string) error {
	seen := make(map[string]bool)
	for _, c := range columns {
		if seen[c] {
			return usagef("two columns are called %q: name them with AS, since a JSON object has each name once", c)
		}
		seen[c] = true
		key, err := json.Marshal(c)
		if err != nil {
			return err
		}
		a.keys = append(a.keys, key)
	}
	return nil
}

func (a *jsonAnswer) row(r query.Row) error {
	a.line = append(a.line[:0], '{')
	for i, key := range a.keys {
		v := r.Value(i)
		switch x := v.(type) {
		case []byte:
			v = blobText(x)
		case float64:
			if math.IsInf(x, 0) { // which JSON has no number for
				v = r.Text(i)
			}
		}
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if i > 0 {
			a.line = append(a.line, ',')
		}
		a.line = append(append(append(a.line, key...), ':'), text...)
	}
	_, err := a.out.Write(append(a.line, '}', '\n'))
	return err
}

func (a *jsonAnswer) end() error { return a.out.Flush() }

// textOf is a column as text, of which a blob need not be.
func textOf(r query.Row, i int) string {
	if b, ok := r.Value(i).([]byte); ok {
		return blobText(b)
	}
	return r.Text(i)
}

// blobText is a blob as SQL writes it.
func blobText(b []byte) string { return fmt.Sprintf("x'%X'", b) }
