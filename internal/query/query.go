// Package query asks databases as they were, in SQL.
package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/vfs/readervfs"

	"github.com/pagetrail/pagetrail/apply/asof"
)

// Refusal is why a statement has no answer: SQLite's reason, or that it is not one statement that only reads.
type Refusal struct{ Reason string }

func (e *Refusal) Error() string { return e.Reason }

// Row is a row of an answer, valid during the call that it is given to.
type Row struct{ s *sqlite3.Stmt }

// Len is the number of columns.
func (r Row) Len() int { return r.s.ColumnCount() }

// Text is a column as text, as SQLite converts it; NULL is the empty text.
func (r Row) Text(i int) string { return r.s.ColumnText(i) }

// Value is a column as int64, float64, string, []byte (the caller's) or nil.
func (r Row) Value(i int) any {
	switch r.s.ColumnType(i) {
	case sqlite3.INTEGER:
		return r.s.ColumnInt64(i)
	case sqlite3.FLOAT:
		return r.s.ColumnFloat(i)
	case sqlite3.TEXT:
		return r.s.ColumnText(i)
	case sqlite3.BLOB:
		return r.s.ColumnBlob(i, nil)
	}
	return nil
}

// asked makes the names of views in the driver unique.
var asked atomic.Uint64

// Ask runs query, one statement that only reads, on a view. begin is told the names of the columns, then each row goes to row;
// an error of either ends the answer and is returned. Else the error is a *Refusal, or that of reading the view.
func Ask(ctx context.Context, view *asof.View, query string, begin func(columns []string) error, row func(Row) error) error {
	source := &reader{ctx: ctx, view: view}
	name := fmt.Sprintf("pagetrail-query-%d", asked.Add(1))
	readervfs.Create(name, source)
	defer readervfs.Delete(name)
	// What a scratch file would keep has to be kept in memory: an answer is no reason to write to a disk.
	c, err := sqlite3.OpenContext(ctx, "file:"+name+"?vfs=reader&mode=ro&_pragma=temp_store(memory)")
	if err != nil {
		return source.because(err)
	}
	defer c.Close()
	c.SetInterrupt(ctx)
	s, tail, err := c.Prepare(query)
	if err != nil {
		return source.because(err)
	}
	defer s.Close()
	switch {
	case s == nil:
		return &Refusal{"it is empty"}
	case strings.TrimSpace(tail) != "":
		return &Refusal{"it is more than one statement"}
	case !s.ReadOnly():
		return &Refusal{"it does not only read"}
	}
	columns := make([]string, s.ColumnCount())
	for i := range columns {
		columns[i] = s.ColumnName(i)
	}
	if err := begin(columns); err != nil {
		return err
	}
	for s.Step() {
		if err := row(Row{s}); err != nil {
			return err
		}
	}
	if err := s.Err(); err != nil {
		return source.because(err)
	}
	return nil
}

// reader remembers why the view could not be read, which SQLite makes a disk I/O error.
type reader struct {
	ctx  context.Context // of the one statement that reads
	view *asof.View
	err  error
}

func (r *reader) Size() (int64, error) { return r.view.Size() }

func (r *reader) ReadAt(b []byte, off int64) (int, error) {
	n, err := r.view.ReadAtContext(r.ctx, b, off)
	if err != nil && err != io.EOF && r.err == nil {
		r.err = err
	}
	return n, err
}

// because is why SQLite failed.
func (r *reader) because(err error) error {
	switch {
	case r.ctx.Err() != nil:
		return context.Cause(r.ctx)
	case r.err != nil:
		return r.err
	}
	if _, ok := errors.AsType[*sqlite3.Error](err); !ok {
		return err
	}
	return &Refusal{strings.TrimPrefix(strings.TrimPrefix(err.Error(), "sqlite3: "), "SQL logic error: ")}
}
