package ui_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
)

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1: "1 B", 999: "999 B", 1000: "1.0 kB", 1049: "1.0 kB", 1050: "1.1 kB",
		9949: "9.9 kB", 9950: "10 kB", 57_344: "57 kB", 999_499: "999 kB", 999_500: "1.0 MB",
		4_931_584: "4.9 MB", 1 << 40: "1.1 TB", math.MaxInt64: "9.2 EB", -4096: "-4.1 kB",
	} {
		if got := ui.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
	if got := ui.BytesColumn(412); got != "412 B " {
		t.Errorf("BytesColumn(412) = %q", got)
	}
	if got := ui.BytesColumn(4120); got != "4.1 kB" {
		t.Errorf("BytesColumn(4120) = %q", got)
	}
}

func TestCount(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 41_204: "41,204", 123_456: "123,456",
		1_234_567: "1,234,567", -1000: "-1,000", -999: "-999",
	} {
		if got := ui.Count(n); got != want {
			t.Errorf("Count(%d) = %q, want %q", n, got, want)
		}
	}
	if got := ui.Count(uint64(math.MaxUint64)); got != "18,446,744,073,709,551,615" {
		t.Errorf("Count(max) = %q", got)
	}
	for n, want := range map[int]string{0: "0 pages", 1: "1 page", 2: "2 pages", 1000: "1,000 pages"} {
		if got := ui.Plural(n, "page", "pages"); got != want {
			t.Errorf("Plural(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 µs", 812 * time.Microsecond: "812 µs", time.Millisecond: "1 ms", 999 * time.Millisecond: "999 ms",
		time.Second: "1.0 s", 1290 * time.Millisecond: "1.2 s", 10 * time.Second: "10 s", time.Minute: "1 min",
		4*time.Minute + 12*time.Second: "4 min 12 s", time.Hour: "1 h", 125 * time.Minute: "2 h 5 min",
		24 * time.Hour: "1 d", 76 * time.Hour: "3 d 4 h", 20_000 * 24 * time.Hour: "20,000 d", -time.Second: "-1.0 s",
	} {
		if got := ui.Duration(d); got != want {
			t.Errorf("Duration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestRatios(t *testing.T) {
	for _, c := range []struct {
		part, whole int64
		percent     string
	}{
		{0, 0, "–"},
		{0, 10, "0.0 %"},
		{1, 100_000, "< 0.1 %"},
		{56, 1000, "5.6 %"},
		{57, 100, "57 %"},
		{100, 100, "100 %"},
		{300, 100, "300 %"},
	} {
		if got := ui.Percent(c.part, c.whole); got != c.percent {
			t.Errorf("Percent(%d, %d) = %q, want %q", c.part, c.whole, got, c.percent)
		}
	}
}

// A note in a trail is somebody else's text; printed, it must not command the terminal.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"plain, Grüße, 日本 🙂":   "plain, Grüße, 日本 🙂",
		"e\u0301":              "e\u0301",
		"a\x1b[31mred":         `a\x1b[31mred`,
		"two\nlines\tand\rtab": `two\nlines\tand\x0dtab`,
		"bad\xffutf8":          `bad\xffutf8`,
		"\u202egnp.exe":        `\u202egnp.exe`,
		"\u009b31m":            `\u009b31m`,
		"nul\x00":              `nul\x00`,
		"\ufffd is a rune":     "\ufffd is a rune",
	} {
		if got := ui.Clean(in); got != want {
			t.Errorf("Clean(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[0m\xff\u202e")
	f.Fuzz(func(t *testing.T, s string) {
		c := ui.Clean(s)
		if ui.Clean(c) != c {
			t.Errorf("Clean(%q) = %q is not clean itself", s, c)
		}
		for _, r := range c {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				t.Errorf("Clean(%q) = %q lets %U through", s, c, r)
			}
		}
	})
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"hello", 5, "hello"},
		{"hello!", 5, "hell…"},
		{"hello", 1, "…"},
		{"hello", 0, ""},
		{"", 3, ""},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"},
	} {
		got := ui.Cut(c.in, c.width)
		if got != c.want {
			t.Errorf("Cut(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
		if ui.Width(got) > max(c.width, 0) {
			t.Errorf("Cut(%q, %d) is %d wide", c.in, c.width, ui.Width(got))
		}
	}
}

func TestWrap(t *testing.T) {
	for _, c := range []struct {
		in    string
		width int
		want  string
	}{
		{"one two three", 0, "one two three"},
		{"one two three", 13, "one two three"},
		{"one two three", 12, "one two\n  three"},
		{"one two three", 7, "one two\n  three"},
		{"one two three", 3, "one\n  two\n  three"},
		{"", 5, ""},
		{"  two  spaces stay", 10, "  two \n  spaces\n  stay"},
		{"/a/very/long/path is whole", 8, "/a/very/long/path\n  is\n  whole"},
		{"日本 日本 日本", 9, "日本 日本\n  日本"},
	} {
		if got := ui.Wrap(c.in, c.width, "  "); got != c.want {
			t.Errorf("Wrap(%q, %d) = %q, want %q", c.in, c.width, got, c.want)
		}
	}
}

func TestTable(t *testing.T) {
	draw := func(width int, on bool) string {
		var b strings.Builder
		tab := ui.NewTable(&b, ui.Painter{On: on}, width, ui.Column{Title: "N", Right: true}, ui.Column{Title: "KIND", Min: 6}, ui.Column{Title: "NOTE"})
		tab.Row(ui.Cell{Text: "1"}, ui.Cell{Text: "日本"}, ui.Cell{})
		tab.Row(ui.Cell{Text: "1,000", Style: ui.Warn}, ui.Cell{}, ui.Cell{Text: "a long note that goes on"})
		tab.Line(ui.Cell{Text: "-- a line across all columns --"})
		if err := tab.Flush(); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := `    N  KIND    NOTE
    1  日本
1,000          a long note that goes on
-- a line across all columns --
`
	if got := draw(0, false); got != want {
		t.Errorf("table:\n%s\nwant:\n%s", got, want)
	}
	for width := 1; width < 50; width++ {
		for _, l := range strings.Split(draw(width, false), "\n") {
			if ui.Width(l) > width {
				t.Errorf("a line of %d cells in a table cut at %d: %q", ui.Width(l), width, l)
			}
		}
	}
	if got := draw(40, false); got != want {
		t.Errorf("at its own width it is\n%s", got)
	}
	if got := draw(0, true); !strings.Contains(got, "\x1b[1;33m1,000\x1b[0m") {
		t.Errorf("no colour in %q", got)
	}
}

// A long table streams: what comes after the rows looked at is still aligned where it fits, and
// never lost where it does not.
func TestTableLong(t *testing.T) {
	var b strings.Builder
	tab := ui.NewTable(&b, ui.Painter{}, 0, ui.Column{Title: "N", Right: true}, ui.Column{Title: "X"})
	for range 1000 {
		tab.Row(ui.Cell{Text: "12"}, ui.Cell{Text: "x"})
	}
	tab.Row(ui.Cell{Text: "1234"}, ui.Cell{Text: "y"})
	if err := tab.Flush(); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) != 1002 || lines[0] != " N  X" || lines[500] != "12  x" || lines[1001] != "1234  y" {
		t.Errorf("%d lines, first %q, middle %q, last %q", len(lines), lines[0], lines[500], lines[len(lines)-1])
	}
}

func TestEmptyTable(t *testing.T) {
	var b strings.Builder
	if err := ui.NewTable(&b, ui.Painter{}, 0, ui.Column{Title: "N"}).Flush(); err != nil || b.Len() != 0 {
		t.Errorf("an empty table printed %q, %v", b.String(), err)
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	now := time.Unix(1000, 0)
	width := 80
	p := &ui.Progress{W: &b, Term: true, Width: func() int { return width }, Now: func() time.Time { return now }, Label: "hydrating"}
	last := func() string {
		lines := strings.Split(b.String(), "\r\x1b[K")
		b.Reset()
		return lines[len(lines)-1]
	}
	p.Update(0, 10e6)
	now = now.Add(299 * time.Millisecond)
	p.Update(1e6, 10e6)
	if b.Len() != 0 {
		t.Errorf("drawn before the job is worth it: %q", b.String())
	}
	now = now.Add(701 * time.Millisecond)
	p.Update(25e5, 10e6)
	if got, want := last(), "hydrating  25 %  ██████░░░░░░░░░░░░░░░░░░░  2.5 MB of 10 MB  2.5 MB/s  3 s left"; got != want {
		t.Errorf("line %q\nwant %q", got, want)
	}
	p.Update(26e5, 10e6)
	if b.Len() != 0 {
		t.Errorf("drawn again at once: %q", b.String())
	}
	for _, width = range []int{80, 60, 40, 20, 2} {
		now = now.Add(time.Second)
		p.Update(5e6, 10e6)
		if got := last(); ui.Width(got) > width-1 {
			t.Errorf("%d cells drawn on a terminal of %d: %q", ui.Width(got), width, got)
		}
	}
	p.Finish()
	if got := b.String(); got != "\r\x1b[K" {
		t.Errorf("Finish wrote %q", got)
	}
	b.Reset()
	p.Finish()
	if b.Len() != 0 {
		t.Errorf("the second Finish wrote %q", b.String())
	}
}

func TestProgressInPipe(t *testing.T) {
	var b strings.Builder
	now := time.Unix(1000, 0)
	p := &ui.Progress{W: &b, Now: func() time.Time { return now }, Label: "verifying"}
	p.Report()
	p.Update(0, 0)
	now = now.Add(2 * time.Second)
	p.Update(10e6, 0)
	if b.Len() != 0 {
		t.Errorf("a pipe was shown progress nobody asked for: %q", b.String())
	}
	p.Report()
	if got, want := b.String(), "verifying  10 MB  5.0 MB/s\n"; got != want {
		t.Errorf("asked, it said %q, want %q", got, want)
	}
	var none *ui.Progress
	none.Update(1, 2)
	none.Report()
	none.Finish()
}
