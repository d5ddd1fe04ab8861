package cli

import (
	"bufio"
	"fmt"
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
	if o.json {
		return &logJSON{w: bufio.NewWriter(env.Out), points: points}, nil
	}
	return &logTable{
		env: env, points: points, reverse: o.reverse, days: env.OutTerm,
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
		if err := l.pointRows(r.tx.TXID); err != nil {
			return err
		}
	}
	err := l.table.Row(
		ui.Cell{Text: fmt.Sprint(r.tx.TXID), Style: ui.Bold}, ui.Cell{Text: l.time(at)},
		mark(ui.Count(r.tx.Pages), r.large.pages), mark(ui.BytesColumn(r.tx.Bytes), r.large.bytes),
		ui.Cell{Text: ui.BytesColumn(sizeOf(r.tx))}, kindCell(r.tx.Kind), ui.Cell{Text: ui.Clean(r.tx.Note)},
	)
	if err == nil && !l.reverse {
		err = l.pointRows(r.tx.TXID)
	}
	return err
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
	w      *bufio.Writer
	points map[journal.TXID][]journal.Point
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
	return writeJSON(l.w, j)
}

func (l *logJSON) flush() error { return l.w.Flush() }
