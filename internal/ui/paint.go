package ui

// Style is a way to paint text. The zero Style leaves it as it is.
type Style string

// The styles, as ANSI sequences that every terminal of the last decades knows. They are the
// terminal's own colours, so that they fit a light background as well as a dark one.
const (
	Plain Style = ""
	Bold  Style = "\x1b[1m"
	Dim   Style = "\x1b[2m"
	Good  Style = "\x1b[32m"
	Warn  Style = "\x1b[1;33m"
	Bad   Style = "\x1b[1;31m"
	Mark  Style = "\x1b[36m"
)

// Painter paints when On, and else hands text back unchanged. The zero Painter does not paint.
type Painter struct{ On bool }

// Paint returns s in the style.
func (p Painter) Paint(st Style, s string) string {
	if !p.On || st == Plain || s == "" {
		return s
	}
	return string(st) + s + "\x1b[0m"
}
