package cli

import (
	"fmt"
	"io"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// facts are lines of a label and a value, the values below each other.
type facts struct {
	table *ui.Table
	err   error
}

func newFacts(w io.Writer, p ui.Painter) *facts {
	return &facts{table: ui.NewTable(w, p, 0, ui.Column{Min: 10}, ui.Column{})}
}

func (f *facts) add(label, format string, args ...any) { f.styled(ui.Plain, label, format, args...) }

func (f *facts) styled(s ui.Style, label, format string, args ...any) {
	if f.err == nil {
		f.err = f.table.Row(ui.Cell{Text: "  " + label, Style: ui.Dim}, ui.Cell{Text: fmt.Sprintf(format, args...), Style: s})
	}
}

func (f *facts) flush() error {
	if f.err != nil {
		return f.err
	}
	return f.table.Flush()
}
