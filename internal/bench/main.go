// Command bench asks whether pagetrail costs what it promises to cost. `make bench` runs it.
//
// Every comparison is a ratio within one run: the same work through the operating system's VFS and
// through ours, alternating, each time in a process of its own, so that neither time, memory nor
// garbage of one leaks into the other. What is compared is the whole process, from opening the
// database to having closed it, with the processor time of everything that runs beside the writer.
// The databases that a job starts from are prepared by other processes. The result is the median
// of the ratios of neighbours, which a machine with other work disturbs the least; the spread says
// how much it did.
//
// The absolute questions (replay, hydrating, memory, opening a long trail, fsyncs) are asked of
// single processes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"

	"github.com/pagetrail/pagetrail/internal/ui"
)

func main() {
	// A child is the same program with a job in its arguments: see measure.
	if len(os.Args) == 3 && os.Args[1] == "job" {
		if err := child(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	missed, err := run(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	if missed > 0 {
		os.Exit(1)
	}
}

// bench is one run of the program.
type bench struct {
	ctx   context.Context
	dir   string // for all files, removed at the end
	self  string // this program
	reps  int    // of each comparison
	share int    // of the work: 1 is all of it, 10 a tenth
	only  *regexp.Regexp
	rows  []row
}

// row is one answer.
type row struct {
	Question string  `json:"question"`
	Plain    string  `json:"plain,omitempty"` // with the operating system's VFS
	Ours     string  `json:"ours"`
	Value    float64 `json:"value"`  // what is compared with the target
	Shown    string  `json:"shown"`  // the value, for people
	Target   string  `json:"target"` // "" where there is none
	OK       bool    `json:"ok"`
	Spread   string  `json:"spread,omitempty"`
}

func run(ctx context.Context) (missed int, err error) {
	quick := flag.Bool("quick", false, "a tenth of the work: to see that it runs, not to quote")
	reps := flag.Int("reps", 7, "pairs of runs of each comparison")
	only := flag.String("only", "", "ask only the questions that match this `pattern`")
	dir := flag.String("dir", "", "make the files below this `directory`; default the system's for temporary files")
	asJSON := flag.Bool("json", false, "print the answers as JSON")
	strict := flag.Bool("strict", false, "exit with 1 when a target is missed")
	flag.Parse()
	b := &bench{ctx: ctx, reps: *reps, share: 1}
	if *quick {
		b.share = 10
	}
	if b.only, err = regexp.Compile(*only); err != nil {
		return 0, err
	}
	if b.self, err = os.Executable(); err != nil {
		return 0, err
	}
	if b.dir, err = os.MkdirTemp(*dir, "pagetrail-bench-"); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	warnOfLoad()
	if err := b.askAll(); err != nil {
		return 0, err
	}
	for _, r := range b.rows {
		if r.Target != "" && !r.OK && *strict {
			missed++
		}
	}
	if *asJSON {
		return missed, json.NewEncoder(os.Stdout).Encode(b.rows)
	}
	return missed, b.print()
}

// warnOfLoad says when other programs are at work: the encoding beside the writer then has no core
// of its own, and no ratio of wall times means much.
func warnOfLoad() {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return // not Linux: nobody to ask
	}
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err == nil && load > float64(runtime.NumCPU())/2 {
		fmt.Fprintf(os.Stderr, "warning: the load is %.1f on %d cores: do not quote times from this run\n", load, runtime.NumCPU())
	}
}

func (b *bench) askAll() error {
	for _, q := range questions {
		if !b.only.MatchString(q.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%-10s %s\n", q.name, q.about)
		if err := q.ask(b); err != nil {
			return fmt.Errorf("%s: %w", q.name, err)
		}
		// The files of one question only take the page cache from the next.
		if err := b.clean(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) clean() error {
	entries, err := os.ReadDir(b.dir)
	for _, e := range entries {
		err = errors.Join(err, os.RemoveAll(b.path(e.Name())))
	}
	return err
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// scaled is the share of n that this run does.
func (b *bench) scaled(n int) int { return max(n/b.share, 1) }

func (b *bench) print() error {
	t := ui.NewTable(os.Stdout, ui.Painter{}, 0, ui.Column{Title: "question"}, ui.Column{Title: "plain", Right: true},
		ui.Column{Title: "pagetrail", Right: true}, ui.Column{Title: "measured", Right: true}, ui.Column{Title: "target", Right: true},
		ui.Column{Title: ""}, ui.Column{Title: "spread"})
	for _, r := range b.rows {
		verdict := "✓"
		switch {
		case r.Target == "":
			verdict = ""
		case !r.OK:
			verdict = "✗ missed"
		}
		err := t.Row(ui.Cell{Text: r.Question}, ui.Cell{Text: r.Plain}, ui.Cell{Text: r.Ours}, ui.Cell{Text: r.Shown},
			ui.Cell{Text: r.Target}, ui.Cell{Text: verdict}, ui.Cell{Text: r.Spread})
		if err != nil {
			return err
		}
	}
	return t.Flush()
}
