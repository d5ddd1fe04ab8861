package cli

import (
	"bufio"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

// logPrinter shows rows of a log.
type logPrinter interface {
	row(logRow) error
	flush() error
}

// printer makes what shows the rows. last is the largest TXID that will come: its width is that of the
// column, however many rows there are.
func (o *logOptions) printer(env *Env, t *journal.Trail, last journal.TXID) (logPrinter, error) {
	points, err := pointsByTXID(t)
	if err != nil {
		return nil, err
	}
	ends, err := endsByTXID(env, t)
	if err != nil {
		return nil, err
	}
	if o.json {
		return &logJSON{w: bufio.NewWriter(env.Out), points: points, ends: ends, reverse: o.reverse}, nil
	}
	return &logTable{
		env: env, points: points, ends: ends, reverse: o.reverse, days: env.OutTerm,
		table: ui.NewTable(env.Out, env.painter(env.OutTerm), env.tableWidth(),
			ui.Column{Title: "TXID", Right: true, Min: len(fmt.Sprint(last))}, ui.Column{Title: "TIME"},
			ui.Column{Title: "PAGES", Right: true}, ui.Column{Title: "PATCH", Right: true, Min: len("999 kB")},
			ui.Column{Title: "DB SIZE", Right: true}, ui.Column{Title: "KIND"}, ui.Column{Title: "NOTE"}),
	}, nil
}

func pointsByTXID(t *journal.Trail) (map[journal.TXID][]journal.Point, error) {
	points, err := t.Points()
	if err != nil {
		return nil, err
	}
	m := make(map[journal.TXID][]journal.Point)
	for _, p := range points {
		m[p.TXID] = append(m[p.TXID], p)
	}
	return m, nil
}

// logTable shows rows to people. On a terminal a line marks each new day and the rows have the time
// of day, which leaves room for notes; in a pipe each row has all of its time, so that it means the
// same after grep.
type logTable struct {
	env     *Env
	table   *ui.Table
	points  map[journal.TXID][]journal.Point
	ends    map[journal.TXID][]logEnd
	reverse bool
	days    bool
	day     string
}

func (l *logTable) row(r logRow) error {
	if r.lost != nil {
		return l.lost(r)
	}
	at := r.tx.Time.Time().In(l.env.Zone)
	if err := l.newDay(at); err != nil {
		return err
	}
	// A point names the state after its transaction, so it stands on the newer side of it.
	if l.reverse {
		if err := errors.Join(l.endLines(r.tx.TXID), l.pointRows(r.tx.TXID)); err != nil {
			return err
		}
	}
	err := l.table.Row(
		ui.Cell{Text: fmt.Sprint(r.tx.TXID), Style: ui.Bold}, ui.Cell{Text: l.time(at)},
		mark(ui.Count(r.tx.Pages), r.large.pages), mark(ui.BytesColumn(r.tx.Bytes), r.large.bytes),
		ui.Cell{Text: ui.BytesColumn(sizeOf(r.tx))}, kindCell(r.tx.Kind), ui.Cell{Text: foldedNote(r.tx) + ui.Clean(r.tx.Note)},
	)
	if err == nil && !l.reverse {
		err = errors.Join(l.pointRows(r.tx.TXID), l.endLines(r.tx.TXID))
	}
	return err
}

// endLines say that the history parts after a transaction from what it once was.
func (l *logTable) endLines(id journal.TXID) error {
	for _, e := range l.ends[id] {
		if err := l.table.Line(ui.Cell{Text: e.line, Style: ui.Warn}); err != nil {
			return err
		}
	}
	return nil
}

// logEnd stands in a log where history once went another way: a fork or a cut.
type logEnd struct {
	line string
	json any
}

// endsByTXID are those of a trail, by the transaction after which they stand.
func endsByTXID(env *Env, t *journal.Trail) (map[journal.TXID][]logEnd, error) {
	cuts, err := t.Cuts()
	if err != nil {
		return nil, err
	}
	branches, err := t.Branches()
	if err != nil {
		return nil, err
	}
	m := make(map[journal.TXID][]logEnd)
	for _, c := range cuts {
		if c.Err == nil {
			m[c.After] = append(m[c.After], logEnd{fmt.Sprintf("── cut ── %s ──", cutText(env, c)), newCutJSON(c)})
		}
	}
	for _, b := range branches {
		line := fmt.Sprintf("── timeline %d ── %s ──", b.Common.Timeline+1, forkText(b))
		m[b.Common.TXID] = append(m[b.Common.TXID], logEnd{line, newForkJSON(b)})
	}
	return m, nil
}

// forkText says why a timeline ended, and where the rest of it is.
func forkText(b journal.Branch) string {
	if b.Last == b.Common.TXID {
		return fmt.Sprintf("it goes on without what was shipped of timeline %d after %d, which this trail lost too", b.Common.Timeline, b.Common.TXID)
	}
	row := logRow{lostFrom: b.Common.TXID + 1, lostTo: b.Last}
	return fmt.Sprintf("it goes on without %s of timeline %d; kept in %s", row.lostRange(), b.Common.Timeline, filepath.Base(b.Dir))
}

// mark makes a number stand out, with a sign that a pipe keeps.
func mark(s string, large bool) ui.Cell {
	if large {
		return ui.Cell{Text: "! " + s, Style: ui.Warn}
	}
	return ui.Cell{Text: s}
}

func kindCell(k journal.Kind) ui.Cell {
	if k == journal.Ordinary {
		return ui.Cell{Text: kindName(k), Style: ui.Dim}
	}
	return ui.Cell{Text: kindName(k), Style: ui.Warn}
}

// foldedNote says of a record that others were folded into it which they are.
func foldedNote(tx journal.Tx) string {
	switch first := tx.First(); {
	case tx.Folded == 0:
		return ""
	case tx.Folded == 1:
		return fmt.Sprintf("(with %d) ", first)
	default:
		return fmt.Sprintf("(with %d to %d) ", first, tx.TXID-1)
	}
}

func (l *logTable) time(at time.Time) string {
	if l.days {
		return at.Format("15:04:05.000000")
	}
	return at.Format("2006-01-02T15:04:05.000000Z07:00")
}

func (l *logTable) newDay(at time.Time) error {
	if !l.days {
		return nil
	}
	day := at.Format("Monday 2006-01-02 ") + showZone(at)
	if day == l.day {
		return nil
	}
	l.day = day
	return l.table.Line(ui.Cell{Text: "── " + day + " ──", Style: ui.Dim})
}

func (l *logTable) pointRows(id journal.TXID) error {
	for _, p := range l.points[id] {
		err := l.table.Row(ui.Cell{}, ui.Cell{Text: l.time(p.Time.Time().In(l.env.Zone)), Style: ui.Mark}, ui.Cell{}, ui.Cell{}, ui.Cell{},
			ui.Cell{Text: "point", Style: ui.Mark}, ui.Cell{Text: ui.Clean(p.Name), Style: ui.Mark})
		if err != nil {
			return err
		}
	}
	return nil
}

func (l *logTable) lost(r logRow) error {
	return l.table.Line(ui.Cell{Text: fmt.Sprintf("-- %s %s --", r.lostRange(), lossOf(r.lost)), Style: ui.Bad})
}

// lostRange names the transactions that are lost.
func (r *logRow) lostRange() string {
	switch {
	case r.lostTo == 0:
		return fmt.Sprintf("%d and all after it", r.lostFrom)
	case r.lostFrom == r.lostTo:
		return fmt.Sprint(r.lostFrom)
	}
	return fmt.Sprintf("%d to %d", r.lostFrom, r.lostTo)
}

func (l *logTable) flush() error { return l.table.Flush() }

// logJSON writes one object a row. Transactions that cannot be read are an object too, so that a
// program need not count to see that something is missing.
type logJSON struct {
	w       *bufio.Writer
	points  map[journal.TXID][]journal.Point
	ends    map[journal.TXID][]logEnd
	reverse bool
}

// forkJSON stands in a log where a timeline ended.
type forkJSON struct {
	Timeline journal.Timeline `json:"timeline"`         // that begins
	After    journal.TXID     `json:"after"`            // the last transaction of the one before that counts
	Lost     journal.TXID     `json:"lost"`             // transactions that are kept in the branch
	Branch   string           `json:"branch,omitempty"` // directory
}

func newForkJSON(b journal.Branch) forkJSON {
	j := forkJSON{Timeline: b.Common.Timeline + 1, After: b.Common.TXID, Lost: b.Last - b.Common.TXID}
	if j.Lost > 0 {
		j.Branch = b.Dir
	}
	return j
}

func (l *logJSON) endRows(id journal.TXID) error {
	for _, e := range l.ends[id] {
		if err := writeJSON(l.w, e.json); err != nil {
			return err
		}
	}
	return nil
}

// lostJSON stands in a log for transactions that could not be read.
type lostJSON struct {
	First journal.TXID `json:"first"`
	Last  journal.TXID `json:"last,omitempty"`
	Error string       `json:"error"`
}

func (l *logJSON) row(r logRow) error {
	if r.lost != nil {
		return writeJSON(l.w, lostJSON{r.lostFrom, r.lostTo, reasonOf(r.lost)})
	}
	j := newTxJSON(r.tx)
	j.Large = r.large.any()
	for _, p := range l.points[r.tx.TXID] {
		j.Points = append(j.Points, p.Name)
	}
	if l.reverse {
		return errors.Join(l.endRows(r.tx.TXID), writeJSON(l.w, j))
	}
	return errors.Join(writeJSON(l.w, j), l.endRows(r.tx.TXID))
}

func (l *logJSON) flush() error { return l.w.Flush() }
