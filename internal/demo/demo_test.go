package demo_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/internal/demo"
	"github.com/pagetrail/pagetrail/internal/ui"
)

func options(dir string, out *bytes.Buffer) demo.Options {
	return demo.Options{
		Dir: dir, Out: out, Width: func() int { return 100 }, Now: time.Now, Seed: 1, Short: true,
	}
}

func TestDemoTellsTheWholeStory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	var out bytes.Buffer
	if err := demo.Run(t.Context(), options(dir, &out)); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		`journal_mode=wal`, `every checksum right`, `PRAGMA pagetrail_point='before-deploy'`, `DELETE FROM oplog`,
		`● before-deploy`, `deploy 1\.4\.2: tidy up ← here`, `--point before-deploy`, `the trail on disk`, `pagetrail verify `,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("the story does not say %q", want)
		}
	}
	for _, twice := range []string{"are equal to the copy", "integrity_check: ok", "replayed in"} {
		if n := strings.Count(out.String(), twice); n != 2 {
			t.Errorf("the story says %q %d times, want 2", twice, n)
		}
	}
	// In a pipe there is neither colour nor a line that is drawn over.
	if strings.ContainsAny(out.String(), "\x1b\r") {
		t.Error("terminal sequences in a pipe")
	}
	for _, name := range []string{"buckets.db", "copy-before-deploy.db", "hydrated-before-deploy.db", "hydrated-latest.db"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestDemoRefusesADirectoryInUse(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "mine")
	if err := os.WriteFile(file, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err := demo.Run(t.Context(), options(dir, &out))
	if err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("got %v, want that the directory is not empty", err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "mine" {
		t.Errorf("the file that was there: %q, %v", data, err)
	}
}

// stopAt cancels a context when the story comes to a text.
type stopAt struct {
	bytes.Buffer
	text   string
	cancel context.CancelFunc
}

func (s *stopAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.text) {
		s.cancel()
	}
	return s.Buffer.Write(p)
}

func TestDemoLeavesNothingWhenStopped(t *testing.T) {
	for _, text := range []string{"one writer", "copies the source", "goes wrong", "Walk back", "What did it cost"} {
		for _, existed := range []bool{false, true} {
			dir := filepath.Join(t.TempDir(), "new")
			if existed {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			out := &stopAt{text: text, cancel: cancel}
			o := options(dir, nil)
			o.Out = out
			if err := demo.Run(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("stopped at %q: %v, want that it was cancelled", text, err)
			}
			entries, err := os.ReadDir(dir)
			if len(entries) > 0 || existed != (err == nil) {
				t.Errorf("stopped at %q: %v left, %v; there was a directory: %v", text, entries, err, existed)
			}
			cancel()
		}
	}
}

func TestDemoDrawsOnATerminal(t *testing.T) {
	var out bytes.Buffer
	o := options(filepath.Join(t.TempDir(), "new"), &out)
	o.Term, o.Paint = true, ui.Painter{On: true}
	if err := demo.Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[32m✓\x1b[0m") {
		t.Error("no green check mark")
	}
	// Whatever was drawn is wiped before the next line is printed.
	for line := range strings.SplitSeq(out.String(), "\n") {
		if at := strings.LastIndex(line, "\r"); at >= 0 && !strings.HasPrefix(line[at:], "\r\x1b[K") {
			t.Errorf("a drawn line was not wiped: %q", line)
		}
	}
}
