package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/internal/workload"
	"github.com/pagetrail/pagetrail/journal"
)

// showLog prints the transactions around the bad deploy, which stands out.
func (d *demo) showLog(ctx context.Context, trail *journal.Trail) error {
	d.step("Look into the trail, around the deploy")
	d.code("pagetrail log " + d.db)
	const around = 4
	var txs []journal.Tx
	for record, err := range trail.Records(ctx, d.bad-around) {
		if err != nil {
			return err
		}
		if txs = append(txs, record.Tx); len(txs) > 2*around {
			break
		}
	}
	most := int64(0)
	for _, tx := range txs {
		most = max(most, int64(tx.Pages))
	}
	table := ui.NewTable(indent(d.Out), d.Paint, d.tableWidth(), ui.Column{Title: "TXID", Right: true}, ui.Column{Title: "time"},
		ui.Column{Title: "pages", Right: true}, ui.Column{Title: "patches", Right: true},
		ui.Column{Title: "database", Right: true}, ui.Column{Title: "", Min: 16}, ui.Column{Title: "note"})
	for _, tx := range txs {
		style, note := ui.Plain, tx.Note
		switch tx.TXID {
		case d.bad:
			style, note = ui.Bad, ui.Clean(note)+" ← here"
		case d.moments[0].txid:
			style, note = ui.Good, "● "+pointName
		}
		err := table.Row(ui.Cell{Text: fmt.Sprint(tx.TXID), Style: style}, ui.Cell{Text: tx.Time.Time().Local().Format("15:04:05.000")},
			ui.Cell{Text: ui.Count(tx.Pages), Style: style}, ui.Cell{Text: ui.BytesColumn(tx.Bytes)},
			ui.Cell{Text: ui.BytesColumn(int64(tx.PageCount) * int64(tx.PageSize))},
			ui.Cell{Text: bar(int64(tx.Pages), most, 16), Style: style}, ui.Cell{Text: note, Style: style})
		if err != nil {
			return err
		}
	}
	return table.Flush()
}

// tableWidth is where indented tables are cut: at the edge of the terminal, in a pipe nowhere.
func (d *demo) tableWidth() int {
	if !d.Term {
		return 0
	}
	return max(d.Width()-len(indentation), 20)
}

const indentation = "    "

// indent writes a table four cells to the right.
func indent(w io.Writer) io.Writer { return &indented{w: w, fresh: true} }

type indented struct {
	w     io.Writer
	fresh bool // at the beginning of a line
}

func (i *indented) Write(p []byte) (int, error) {
	out := make([]byte, 0, len(p)+len(p)/8)
	for _, c := range p {
		if i.fresh {
			out = append(out, indentation...)
		}
		out = append(out, c)
		i.fresh = c == '\n'
	}
	if _, err := i.w.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// restore hydrates both moments and proves them.
func (d *demo) restore(ctx context.Context, trail *journal.Trail) error {
	targets := [2]apply.Target{apply.AtPoint(pointName), apply.Latest()}
	options := [2]string{" --point " + pointName, ""}
	headlines := [2]string{"Walk back: hydrate the moment before the deploy", "Hydrate the latest state too"}
	for i := range d.moments {
		m := &d.moments[i]
		d.step(headlines[i])
		out := filepath.Join(d.Dir, "hydrated-"+m.title+".db")
		d.code("pagetrail hydrate " + d.db + " -o " + out + options[i])
		if err := d.hydrate(ctx, trail, out, targets[i], m); err != nil {
			return err
		}
		if err := d.prove(out, m); err != nil {
			return fmt.Errorf("%s: %w", out, err)
		}
	}
	return nil
}

func (d *demo) hydrate(ctx context.Context, trail *journal.Trail, out string, target apply.Target, m *moment) error {
	progress := &ui.Progress{W: d.Out, Term: d.Term, Width: d.Width, Now: d.Now, Label: "    hydrating"}
	o := &apply.Options{Progress: func(p apply.Progress) { progress.Update(p.Bytes, p.BytesTotal) }}
	result, err := apply.Hydrate(ctx, trail, out, target, o)
	progress.Finish()
	if err != nil {
		return err
	}
	if result.Position.TXID != m.txid {
		return fmt.Errorf("hydrated TXID %d, want %d", result.Position.TXID, m.txid)
	}
	rate := float64(result.Transactions) / max(result.Elapsed.Seconds(), 1e-6)
	d.done("TXID %d: %s replayed in %s, %s a second", result.Position.TXID,
		ui.Plural(result.Transactions, "transaction", "transactions"), ui.Duration(result.Elapsed), ui.Count(int64(rate)))
	return nil
}

// prove compares a hydrated file with the copy of its moment, then has SQLite check it, without
// our VFS, and asks it for what the workload foretold.
func (d *demo) prove(file string, m *moment) error {
	size, err := equal(file, m.file)
	if err != nil {
		return err
	}
	d.done("all %s equal to the copy that was taken then", ui.Plural(size, "byte is", "bytes are"))
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(file))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := integrity(conn); err != nil {
		return err
	}
	rows, err := integer(conn, "SELECT count(*) FROM oplog")
	if err != nil {
		return err
	}
	state, err := workload.ReadState(conn)
	if err != nil {
		return err
	}
	if state != m.state || rows != m.rows {
		return fmt.Errorf("the replica has %d rows and %v, want %d and %v", rows, state, m.rows, m.state)
	}
	d.done("PRAGMA integrity_check: ok; %s in the operation log, checksums of all buckets right", ui.Plural(rows, "row", "rows"))
	return nil
}

func integrity(conn *sqlite3.Conn) error {
	stmt, _, err := conn.Prepare("PRAGMA integrity_check")
	if err != nil {
		return err
	}
	defer stmt.Close()
	if !stmt.Step() {
		return fmt.Errorf("integrity_check gave no row: %w", stmt.Err())
	}
	if text := stmt.ColumnText(0); text != "ok" {
		return fmt.Errorf("integrity_check: %s", text)
	}
	return nil
}

// equal compares two files and returns their size.
func equal(a, b string) (size int64, err error) {
	fa, err := os.Open(a)
	if err != nil {
		return 0, err
	}
	defer fa.Close()
	fb, err := os.Open(b)
	if err != nil {
		return 0, err
	}
	defer fb.Close()
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for {
		n, errA := io.ReadFull(fa, bufA)
		m, errB := io.ReadFull(fb, bufB)
		if string(bufA[:n]) != string(bufB[:m]) {
			return 0, fmt.Errorf("%s and %s differ after byte %d", a, b, size)
		}
		size += int64(n)
		if errA != nil || errB != nil {
			return size, notEnd(errA, errB)
		}
	}
}

func notEnd(errs ...error) error {
	for _, err := range errs {
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
	}
	return nil
}
