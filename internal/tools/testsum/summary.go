package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// event is a line of go test -json; see go doc test2json.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of a build-output
}

// test is one test of a package, or under the empty name the package itself.
type test struct {
	result string // "pass", "fail", "skip"; empty while it runs
	parent bool   // has subtests
	output []string
}

// summary gathers events of all packages, which come interleaved.
type summary struct {
	w        io.Writer
	packages map[string]map[string]*test
	reasons  []string // of skipped tests
	passed   int
	failed   int
	skipped  int
}

func newSummary(w io.Writer) *summary {
	return &summary{w: w, packages: map[string]map[string]*test{}}
}

// read takes events until r ends. Lines that are not events are passed on.
func (s *summary) read(r io.Reader) error {
	b := bufio.NewReader(r)
	for {
		line, err := b.ReadBytes('\n')
		var e event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &e) != nil:
			fmt.Fprint(s.w, string(line))
		default:
			s.take(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

func (s *summary) take(e event) {
	if e.Action == "build-output" {
		fmt.Fprint(s.w, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	tests := s.packages[e.Package]
	if tests == nil {
		tests = map[string]*test{"": {}}
		s.packages[e.Package] = tests
	}
	t := tests[e.Test]
	if t == nil {
		t = &test{}
		tests[e.Test] = t
		if i := strings.LastIndexByte(e.Test, '/'); i >= 0 && tests[e.Test[:i]] != nil {
			tests[e.Test[:i]].parent = true
		}
	}
	switch e.Action {
	case "output":
		t.output = append(t.output, e.Output)
	case "pass", "fail", "skip":
		t.result = e.Action
		switch {
		case e.Test == "":
			s.finish(e.Package, tests)
		case e.Action == "pass":
			t.output = nil
		}
	}
}

// finish counts the tests of a package, and prints its closing lines and the
// output of what failed.
func (s *summary) finish(name string, tests map[string]*test) {
	delete(s.packages, name)
	pkg := tests[""]
	delete(tests, "")
	failed := 0
	for _, key := range slices.Sorted(maps.Keys(tests)) {
		t := tests[key]
		switch {
		case t.result == "fail" || t.result == "" && pkg.result == "fail":
			fmt.Fprint(s.w, strings.Join(t.output, ""))
			if !t.parent {
				failed++
			}
		case t.parent:
		case t.result == "skip":
			s.skipped++
			s.reasons = append(s.reasons, name+" "+key+": "+reason(t.output))
		default:
			s.passed++
		}
	}
	if pkg.result == "fail" {
		// A package may fail without a test: it did not compile, or its
		// TestMain gave up.
		failed = max(failed, 1)
		fmt.Fprint(s.w, strings.Join(pkg.output, ""))
	} else {
		for _, line := range pkg.output {
			if strings.HasPrefix(line, "ok ") || strings.HasPrefix(line, "? ") {
				fmt.Fprint(s.w, line)
			}
		}
	}
	s.failed += failed
}

// reason is what a test said when it skipped itself.
func reason(output []string) string {
	var said []string
	for _, line := range output {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				line = text
			}
		}
		said = append(said, strings.TrimPrefix(line, "skipped: "))
	}
	if said == nil {
		return "gave no reason"
	}
	return strings.Join(said, " ")
}

// close counts packages that never ended as failed and lists what was skipped.
func (s *summary) close() (passed, failed, skipped int) {
	for _, name := range slices.Sorted(maps.Keys(s.packages)) {
		tests := s.packages[name]
		tests[""].result = "fail"
		s.finish(name, tests)
		fmt.Fprintf(s.w, "FAIL\t%s\tnever ended\n", name)
	}
	for _, r := range s.reasons {
		fmt.Fprintln(s.w, "skipped:", r)
	}
	return s.passed, s.failed, s.skipped
}
