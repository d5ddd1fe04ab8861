package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test's binary be the child that the benchmark starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "job" {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestQuestionsAreAnswered runs the whole benchmark with next to no work. It looks at no figure,
// but every job must succeed and every question must get its rows.
func TestQuestionsAreAnswered(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range questions {
		t.Run(q.name, func(t *testing.T) {
			if testing.Short() && q.name == "workload" {
				t.Skip("the workloads take seconds even at their smallest: not in -short")
			}
			b := &bench{ctx: t.Context(), dir: t.TempDir(), self: self, reps: 1, share: 500, only: regexp.MustCompile("^" + q.name + "$")}
			if err := b.askAll(); err != nil {
				t.Fatal(err)
			}
			if len(b.rows) == 0 {
				t.Error("no answer")
			}
			for _, r := range b.rows {
				if r.Question == "" || r.Ours == "" || r.Target != "" && r.Value == 0 && !r.OK {
					t.Errorf("an empty answer: %+v", r)
				}
			}
			if entries, err := os.ReadDir(b.dir); err != nil || len(entries) > 0 {
				t.Errorf("left behind: %v, %v", entries, err)
			}
		})
	}
}

func TestRatioIsTheMedianOfNeighbours(t *testing.T) {
	// The middle pair was disturbed as a whole, the last on one side only.
	var pairs []pair
	for _, seconds := range [][2]float64{{1, 1.2}, {5, 6}, {1, 9}} {
		pairs = append(pairs, pair{cost{wall: toDuration(seconds[0])}, cost{wall: toDuration(seconds[1])}})
	}
	b := &bench{}
	b.ratio("q", 1.25, pairs, wall)
	r := b.rows[0]
	if r.Shown != "1.20×" || !r.OK || r.Spread != "1.20–9.00" {
		t.Errorf("got %+v, want 1.20× within its target, spread 1.20–9.00", r)
	}
	b.ratio("q", 1.19, pairs, wall)
	if b.rows[1].OK {
		t.Errorf("1.20× passes a target of 1.19×")
	}
}

func TestChildNamesAnUnknownJob(t *testing.T) {
	if err := child(`{"Name":"none"}`); err == nil || !strings.Contains(err.Error(), `"none"`) {
		t.Errorf("got %v", err)
	}
	if got := median([]time.Duration{3, 1, 2}); got != 2 {
		t.Errorf("median of 3, 1, 2 is %d", got)
	}
}
