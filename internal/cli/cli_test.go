package cli_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/internal/ui"
)

// result is what a command line did.
type result struct {
	code     cli.Code
	out, err string
}

// run runs a command line in an environment that change may change.
func run(t *testing.T, ctx context.Context, change func(*cli.Env), args ...string) result {
	t.Helper()
	var out, err strings.Builder
	env := &cli.Env{
		Out: &out, Err: &err,
		Width:  func() int { return 80 },
		Now:    func() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC) },
		Zone:   time.UTC,
		Getenv: func(string) string { return "" },
	}
	if change != nil {
		change(env)
	}
	code := cli.Run(ctx, env, args)
	return result{code, out.String(), err.String()}
}

var verbs = []string{
	"log", "show", "status", "window", "points", "hydrate", "follow", "promote", "handover", "serve", "send", "recv", "watch",
	"verify", "repair", "ship", "run", "exec", "compact", "doctor", "estimate", "demo", "version",
}

// Help starts with an example, fits a terminal, and ends with the exit codes.
func TestHelp(t *testing.T) {
	for _, verb := range append(verbs, "") {
		args := strings.Fields(verb + " --help")
		r := run(t, t.Context(), nil, args...)
		if r.code != cli.Done || r.err != "" {
			t.Errorf("%s --help: code %d, stderr %q", verb, r.code, r.err)
		}
		if !strings.HasPrefix(r.out, "  $ pagetrail") {
			t.Errorf("%s --help does not start with an example:\n%s", verb, r.out)
		}
		for _, want := range []string{"\nUsage:\n  pagetrail ", "\nExit codes:\n    0  done\n", "\n  130  interrupted", "--quiet"} {
			if !strings.Contains(r.out, want) {
				t.Errorf("%s --help lacks %q", verb, want)
			}
		}
		for _, l := range strings.Split(r.out, "\n") {
			if ui.Width(l) > 90 {
				t.Errorf("%s --help has a line of %d cells: %s", verb, ui.Width(l), l)
			}
		}
		if verb == "" {
			continue
		}
		if again := run(t, t.Context(), nil, "help", verb); again.out != r.out {
			t.Errorf("help %s is not %s --help", verb, verb)
		}
	}
}

// Without arguments the program explains itself.
func TestNoArguments(t *testing.T) {
	if r := run(t, t.Context(), nil); r.code != cli.Done || !strings.Contains(r.out, "Verbs:") {
		t.Errorf("code %d, stdout %q", r.code, r.out)
	}
}

// files lists everything below a directory.
func files(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		names = append(names, path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// Interrupted in the middle of its work, a command ends with 130, says so and leaves nothing behind.
func TestInterrupted(t *testing.T) {
	trail := newTrail(t, "-extra", "50", "-rotate", "10")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	out := filepath.Join(t.TempDir(), "out.db")
	for _, args := range [][]string{
		{"hydrate", trail, "-o", out},
		{"hydrate", trail, "-o", "-"},
		{"verify", trail},
		{"show", trail},
	} {
		before := files(t, filepath.Dir(trail))
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		// The clock is looked at when there is progress: the work has begun and is not done.
		r := run(t, ctx, func(e *cli.Env) {
			now := e.Now
			e.Now = func() time.Time {
				asked++
				cancel()
				return now()
			}
		}, args...)
		if asked == 0 {
			t.Errorf("%v was over before it could be interrupted", args)
		}
		if r.code != cli.Interrupted || r.err != "pagetrail: interrupted; nothing was left behind\n" || r.out != "" {
			t.Errorf("%v: code %d, stdout of %d bytes, stderr %q", args, r.code, len(r.out), r.err)
		}
		if got := files(t, tmp); got != tmp {
			t.Errorf("%v left behind:\n%s", args, got)
		}
		if got := files(t, filepath.Dir(out)); got != filepath.Dir(out) {
			t.Errorf("%v left behind:\n%s", args, got)
		}
		if got := files(t, filepath.Dir(trail)); got != before {
			t.Errorf("%v changed the trail's directory to:\n%s", args, got)
		}
	}
}

// A command that is cancelled before it begins does nothing.
func TestCancelled(t *testing.T) {
	trail := newTrail(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(os.ErrDeadlineExceeded) // as signal.NotifyContext does, with the signal as cause
	for _, args := range [][]string{{"log", trail}, {"log", trail, "-r"}, {"verify", trail}, {"show", trail}, {"hydrate", trail, "-o", filepath.Join(t.TempDir(), "x.db")}} {
		if r := run(t, ctx, nil, args...); r.code != cli.Interrupted || r.out != "" {
			t.Errorf("%v: code %d, stdout %q, stderr %q", args, r.code, r.out, r.err)
		}
	}
}

// On a terminal there is progress, which is gone when the work is done.
func TestProgressOnTerminal(t *testing.T) {
	trail := newTrail(t, "-extra", "50", "-rotate", "10")
	ticking := func(e *cli.Env) {
		e.ErrTerm = true
		now := e.Now()
		e.Now = func() time.Time {
			now = now.Add(time.Second)
			return now
		}
	}
	r := run(t, t.Context(), ticking, "verify", trail)
	if r.code != cli.Done {
		t.Fatalf("code %d, stderr %q", r.code, r.err)
	}
	r = run(t, t.Context(), func(e *cli.Env) { ticking(e); e.Getenv = func(string) string { return "1" } }, "show", trail)
	bar, said, _ := strings.Cut(r.err, "the database as it was before")
	if !strings.Contains(bar, "\r\x1b[Kcomparing ") || !strings.HasSuffix(bar, "\r\x1b[K") || strings.Contains(said, "\r") {
		t.Errorf("stderr %q", r.err)
	}
	r = run(t, t.Context(), func(e *cli.Env) { ticking(e); e.ErrTerm = false }, "show", trail)
	if strings.Contains(r.err, "comparing") || strings.Contains(r.err, "\r") {
		t.Errorf("progress in a pipe: %q", r.err)
	}
	r = run(t, t.Context(), ticking, "show", trail, "--quiet")
	if r.err != "" {
		t.Errorf("progress with --quiet: %q", r.err)
	}
}

// On a terminal days have a line of their own, and there is colour, unless NO_COLOR says no or the
// terminal knows none.
func TestLogOnTerminal(t *testing.T) {
	trail := newTrail(t)
	log := func(vars map[string]string) string {
		r := run(t, t.Context(), func(e *cli.Env) {
			e.OutTerm = true
			e.Getenv = func(key string) string { return vars[key] }
		}, "log", trail, "-n", "3")
		if r.code != cli.Done {
			t.Fatalf("code %d, stderr %q", r.code, r.err)
		}
		return r.out
	}
	got := log(nil)
	for _, want := range []string{
		"\x1b[2m── Saturday 2026-11-21 UTC ──\x1b[0m\n",
		"\x1b[1m  11\x1b[0m  10:11:00.123456  \x1b[1;33m ! 54\x1b[0m  ",
		"\x1b[36mpoint \x1b[0m  \x1b[36mbefore-deploy\x1b[0m\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%q", want, got)
		}
	}
	for _, vars := range []map[string]string{{"NO_COLOR": "1"}, {"TERM": "dumb"}} {
		got := log(vars)
		if strings.Contains(got, "\x1b") || !strings.Contains(got, "  11  10:11:00.123456   ! 54  ") {
			t.Errorf("with %v:\n%q", vars, got)
		}
	}
}

// A database is not for a terminal.
func TestNoDatabaseOnTerminal(t *testing.T) {
	r := run(t, t.Context(), func(e *cli.Env) { e.OutTerm = true }, "hydrate", newTrail(t), "-o", "-")
	if r.code != cli.Usage || r.out != "" || !strings.Contains(r.err, "does not belong on a terminal") {
		t.Errorf("code %d, stdout %q, stderr %q", r.code, r.out, r.err)
	}
}

// Whatever an argument holds, an error that repeats it does not command the terminal.
func TestHostileArgument(t *testing.T) {
	r := run(t, t.Context(), nil, "log", "no\x1b[2J\rwhere")
	if r.code != cli.Nothing || strings.ContainsAny(r.err, "\x1b\r") || !strings.Contains(r.err, `no\x1b[2J\x0dwhere`) {
		t.Errorf("code %d, stderr %q", r.code, r.err)
	}
}

// At no width does a line of a table leave the terminal.
func TestTablesFitTerminal(t *testing.T) {
	trail := newTrail(t, "-note", strings.Repeat("a long note ", 30))
	for _, width := range []int{60, 80, 120} {
		for _, args := range [][]string{{"log", trail}, {"show", trail, "11"}, {"points", trail}, {"window", trail}} {
			r := run(t, t.Context(), func(e *cli.Env) {
				e.OutTerm = true
				e.Width = func() int { return width }
				e.Getenv = func(key string) string { return map[string]string{"NO_COLOR": "1"}[key] }
			}, args...)
			if r.code != cli.Done {
				t.Fatalf("%v: code %d, stderr %q", args, r.code, r.err)
			}
			for _, l := range strings.Split(r.out, "\n") {
				if ui.Width(l) > width && !strings.HasPrefix(l, "transaction ") && !strings.HasPrefix(l, "  ") {
					t.Errorf("%v at %d: a line of %d cells: %q", args, width, ui.Width(l), l)
				}
			}
		}
	}
}
