package demo

import (
	"fmt"
	"strings"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// title begins the story.
func (d *demo) title(name, about string) {
	fmt.Fprintf(d.Out, "%s  %s\n", d.Paint.Paint(ui.Bold, name), d.Paint.Paint(ui.Dim, about))
}

// step begins a chapter.
func (d *demo) step(text string) {
	fmt.Fprintf(d.Out, "\n%s %s\n", d.Paint.Paint(ui.Mark, "▶"), d.Paint.Paint(ui.Bold, text))
}

// done, fail and code are the lines of a chapter: what was reached, what went wrong in the story,
// and what one would type.
func (d *demo) done(format string, args ...any) { d.mark(ui.Good, "✓", format, args...) }
func (d *demo) fail(format string, args ...any) { d.mark(ui.Bad, "✗", format, args...) }

func (d *demo) mark(style ui.Style, sign, format string, args ...any) {
	fmt.Fprintf(d.Out, "  %s %s\n", d.Paint.Paint(style, sign), fmt.Sprintf(format, args...))
}

func (d *demo) code(text string) {
	fmt.Fprintf(d.Out, "    %s\n", d.Paint.Paint(ui.Mark, text))
}

// bar draws part of whole in at most width cells, with eighths of a cell; what is not nothing
// shows at least one eighth.
func bar(part, whole int64, width int) string {
	if part <= 0 || whole <= 0 {
		return ""
	}
	eighths := max(1, int(8*float64(width)*float64(part)/float64(whole)+0.5))
	s := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return s
}

// spark draws values as a line of at most width columns, the highest at full height; when there
// are more values, each column is the mean of some.
func spark(values []float64, width int) string {
	if n := len(values); n > width {
		means := make([]float64, width)
		for i := range means {
			part := values[i*n/width : (i+1)*n/width]
			for _, v := range part {
				means[i] += v / float64(len(part))
			}
		}
		values = means
	}
	top := 0.0
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	for _, v := range values {
		level := 0
		if top > 0 {
			level = int(v / top * 7.99)
		}
		b.WriteRune([]rune("▁▂▃▄▅▆▇█")[level])
	}
	return b.String()
}

// latest are the last n values.
func latest(values []float64, n int) []float64 { return values[max(0, len(values)-n):] }
