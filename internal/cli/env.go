package cli

import (
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/term"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// Env is the world as a command sees it. Tests hand in their own.
type Env struct {
	In               io.ReadCloser // nil: nothing
	Out, Err         io.Writer
	OutTerm, ErrTerm bool                // whether each is a terminal
	Width            func() int          // cells of the terminal, asked when something is drawn
	Now              func() time.Time    // the clock
	Zone             *time.Location      // of times read and shown
	Getenv           func(string) string // the environment

	quiet    bool     // --quiet: only data and errors
	keyFlags keyFlags // --encrypt-to and --identity
}

// SystemEnv is the Env of the process.
func SystemEnv() *Env {
	return &Env{
		In: os.Stdin, Out: os.Stdout, Err: os.Stderr,
		OutTerm: term.IsTerminal(int(os.Stdout.Fd())),
		ErrTerm: term.IsTerminal(int(os.Stderr.Fd())),
		Width:   terminalWidth,
		Now:     time.Now,
		Zone:    time.Local,
		Getenv:  os.Getenv,
	}
}

// terminalWidth asks whichever stream is a terminal: with stdout in a pipe, progress is drawn on
// stderr all the same.
func terminalWidth() int {
	for _, f := range []*os.File{os.Stdout, os.Stderr} {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
			return w
		}
	}
	if w, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && w > 0 {
		return w
	}
	return 80
}

// painter for a stream: colour on terminals that know it, unless https://no-color.org is heeded.
func (e *Env) painter(isTerminal bool) ui.Painter {
	return ui.Painter{On: isTerminal && e.Getenv("NO_COLOR") == "" && e.Getenv("TERM") != "dumb"}
}

// tableWidth is where tables on stdout are cut: at the terminal's edge, and in a pipe nowhere.
func (e *Env) tableWidth() int {
	if e.OutTerm {
		return e.Width()
	}
	return 0
}

// showTime shows a moment in the environment's zone.
func (e *Env) showTime(t time.Time) string { return showTime(t, e.Zone) }

// since is how long ago a moment was by the environment's clock.
func (e *Env) since(t time.Time) time.Duration { return e.Now().Sub(t) }

// ago says how long before now a moment was; a moment in the future is a clock that went wrong,
// and is said so.
func (e *Env) ago(t time.Time) string {
	d := e.Now().Sub(t)
	if d < 0 {
		return ui.Duration(-d) + " in the future"
	}
	return ui.Duration(d) + " ago"
}
