package ui

import (
	"bufio"
	"io"
	"strings"
)

// Column is one column of a [Table].
type Column struct {
	Title string
	Right bool // numbers: aligned to the right
	Min   int  // least width in cells
}

// Cell is one value with its style.
type Cell struct {
	Text  string
	Style Style
}

// tableAhead is how many rows a Table looks at before it settles on the widths of its columns.
// Enough that a page of output is aligned for certain, few enough that a log of a million
// transactions starts at once and takes no memory.
const tableAhead = 256

// Table writes aligned columns. It holds back the first rows to learn their widths and then
// streams, so its memory does not grow with the rows. Not safe for concurrent use.
type Table struct {
	w       *bufio.Writer
	paint   Painter
	width   int
	columns []Column
	widths  []int
	waiting []line
	settled bool
}

type line struct {
	cells []Cell
	whole Cell // used when cells is nil: a line across all columns
}

// NewTable starts a table. Lines are cut at width cells, or never when width is 0: in a pipe
// nothing is lost.
func NewTable(w io.Writer, p Painter, width int, columns ...Column) *Table {
	t := &Table{w: bufio.NewWriter(w), paint: p, width: width, columns: columns}
	t.widths = make([]int, len(columns))
	for i, c := range columns {
		t.widths[i] = max(c.Min, Width(c.Title))
	}
	return t
}

// Row adds a row of as many cells as there are columns.
func (t *Table) Row(cells ...Cell) error {
	if len(cells) != len(t.columns) {
		panic("ui: a row has another number of cells than the table columns")
	}
	for i, c := range cells {
		if i < len(cells)-1 || t.columns[i].Right {
			t.widths[i] = max(t.widths[i], Width(c.Text))
		}
	}
	return t.add(line{cells: cells})
}

// Line adds a line across all columns.
func (t *Table) Line(c Cell) error { return t.add(line{whole: c}) }

func (t *Table) add(l line) error {
	if t.settled {
		return t.print(l)
	}
	t.waiting = append(t.waiting, l)
	if len(t.waiting) < tableAhead {
		return nil
	}
	return t.settle()
}

func (t *Table) settle() error {
	t.settled = true
	titles := make([]Cell, len(t.columns))
	named := false
	for i, c := range t.columns {
		titles[i] = Cell{c.Title, Dim}
		named = named || c.Title != ""
	}
	if named && len(t.waiting) > 0 {
		if err := t.print(line{cells: titles}); err != nil {
			return err
		}
	}
	for _, l := range t.waiting {
		if err := t.print(l); err != nil {
			return err
		}
	}
	t.waiting = nil
	return nil
}

func (t *Table) print(l line) error {
	var b strings.Builder
	if l.cells == nil {
		text := l.whole.Text
		if t.width > 0 {
			text = Cut(text, t.width)
		}
		b.WriteString(t.paint.Paint(l.whole.Style, text))
	}
	used := 0
	last := lastFilled(l.cells)
	for i := 0; i <= last; i++ {
		c, text := l.cells[i], ""
		if i > 0 {
			b.WriteString("  ")
			used += 2
		}
		switch {
		case i == last && !t.columns[i].Right:
			text = c.Text
		default:
			text = pad(c.Text, t.widths[i], t.columns[i].Right)
		}
		if i == last {
			text = strings.TrimRight(text, " ")
		}
		// The next cell needs room for the gap and one character; without it this one is the last.
		full := t.width > 0 && used+Width(text)+3 > t.width
		if full {
			text = Cut(text, t.width-used)
		}
		used += Width(text)
		b.WriteString(t.paint.Paint(c.Style, text))
		if full {
			break
		}
	}
	b.WriteByte('\n')
	_, err := t.w.WriteString(b.String())
	return err
}

func lastFilled(cells []Cell) int {
	for i := len(cells) - 1; i >= 0; i-- {
		if cells[i].Text != "" {
			return i
		}
	}
	return -1
}

// Flush writes what was held back. A table without rows prints nothing, not even its titles.
func (t *Table) Flush() error {
	if !t.settled {
		if err := t.settle(); err != nil {
			return err
		}
	}
	return t.w.Flush()
}
