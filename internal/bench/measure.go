package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/internal/ui"
)

// job is the work of one process.
type job struct {
	Name  string // a key of jobs
	DB    string // path of the database
	VFS   string // "os", or "pagetrail" with what follows it in a DSN
	N     int    // how much
	Setup string // PRAGMAs of the connection
	To    string // directory of the archive, for jobs that have one
	Rate  int    // most transactions a second, of the job oltp; 0: as fast as it goes
}

// cost is what a process took.
type cost struct {
	wall time.Duration
	cpu  time.Duration // user and system
	rss  int64         // peak, in bytes
	out  map[string]float64
}

// child does the job that is described in JSON and prints what it has to say as JSON.
func child(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	do := jobs[j.Name]
	if do == nil {
		return fmt.Errorf("no job %q", j.Name)
	}
	out, err := do(&j)
	if err != nil {
		return fmt.Errorf("%s: %w", j.Name, err)
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// measure does a job in a process of its own, under the command in wrap, if any.
func (b *bench) measure(j job, wrap ...string) (cost, error) {
	text, err := json.Marshal(j)
	if err != nil {
		return cost{}, err
	}
	args := append(slices.Clone(wrap), b.self, "job", string(text))
	cmd := exec.CommandContext(b.ctx, args[0], args[1:]...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		return cost{}, fmt.Errorf("%s with %s: %w: %s", j.Name, j.VFS, err, strings.TrimSpace(stderr.String()))
	}
	c := cost{wall: time.Since(start), cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
	c.rss = peakMemory(cmd.ProcessState)
	return c, json.Unmarshal(stdout.Bytes(), &c.out)
}

// pair is the same work done by both, one right after the other.
type pair struct{ plain, ours cost }

// compare does the job with both VFSes, alternating, in fresh copies of the file from, if given.
func (b *bench) compare(j job, ours, from string) ([]pair, error) {
	var pairs []pair
	// The first pair warms the page cache and is not counted.
	for rep := range b.reps + 1 {
		var p pair
		for i, side := range []string{"os", ours} {
			// Each goes first as often as the other.
			if rep%2 == 1 {
				side = []string{ours, "os"}[i]
			}
			j.VFS, j.DB = side, b.path(fmt.Sprintf("%s-%d-%d.db", j.Name, rep, i))
			if from != "" {
				if err := cloneDatabase(j.DB, from); err != nil {
					return nil, err
				}
			}
			c, err := b.measure(j)
			if err != nil {
				return nil, err
			}
			if side == "os" {
				p.plain = c
			} else {
				p.ours = c
			}
			if err := removeDatabase(j.DB); err != nil {
				return nil, err
			}
		}
		if rep > 0 {
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

// cloneDatabase copies a closed database, with its trail if it has one.
func cloneDatabase(to, from string) error {
	if err := copyFile(to, from); err != nil {
		return err
	}
	entries, err := os.ReadDir(from + "-pagetrail")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := os.Mkdir(to+"-pagetrail", 0o755); err != nil {
		return err
	}
	for _, e := range entries {
		if err := copyFile(filepath.Join(to+"-pagetrail", e.Name()), filepath.Join(from+"-pagetrail", e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeDatabase(path string) error {
	err := os.RemoveAll(path + "-pagetrail")
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		if e := os.Remove(path + suffix); e != nil && !errors.Is(e, os.ErrNotExist) {
			err = errors.Join(err, e)
		}
	}
	return err
}

func median[T int64 | float64 | time.Duration](values []T) T {
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[len(sorted)/2]
}

// ratio adds the row that compares one figure of the pairs; target 0 is none.
func (b *bench) ratio(question string, target float64, pairs []pair, figure func(cost) time.Duration) {
	var plain, ours []time.Duration
	var ratios []float64
	for _, p := range pairs {
		plain, ours = append(plain, figure(p.plain)), append(ours, figure(p.ours))
		ratios = append(ratios, float64(figure(p.ours))/float64(figure(p.plain)))
	}
	m := median(ratios)
	r := row{
		Question: question, Plain: ui.Duration(median(plain)), Ours: ui.Duration(median(ours)),
		Value: m, Shown: fmt.Sprintf("%.2f×", m), Spread: fmt.Sprintf("%.2f–%.2f", slices.Min(ratios), slices.Max(ratios)),
	}
	if target > 0 {
		r.Target, r.OK = fmt.Sprintf("≤ %.2f×", target), m <= target
	}
	b.rows = append(b.rows, r)
}

func wall(c cost) time.Duration { return c.wall }
func cpu(c cost) time.Duration  { return c.cpu }
