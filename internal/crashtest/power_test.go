package crashtest_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// combos are the modes that are promised to survive anything.
func combos() (all [][2]string) {
	for _, journal := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		for _, sync := range []string{"OFF", "NORMAL", "FULL"} {
			all = append(all, [2]string{journal, sync})
		}
	}
	return all
}

func envInt(name string, def uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 0, 64); err == nil {
		return n
	}
	return def
}

// cutsWanted is for each combination.
func cutsWanted() int {
	if testing.Short() {
		return int(envInt("PAGETRAIL_CUTS", 200))
	}
	return int(envInt("PAGETRAIL_CUTS", 2000))
}

func TestPowerCuts(t *testing.T) {
	for i, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			temp := tempDir(t)
			seed := envInt("PAGETRAIL_SEED", uint64(i)<<32|1)
			sum := &tally{kinds: map[string]int{}}
			for ; sum.cuts < cutsWanted(); seed++ {
				if err := powerRun(seed, c[0], c[1], temp, sum); err != nil {
					t.Errorf("PAGETRAIL_SEED=%#x: %v", seed, err)
					if !testing.Short() {
						shrink(t, seed, c[0], c[1], temp)
					}
					break
				}
			}
			t.Logf("%s: seeds up to %#x", sum, seed)
		})
	}
}

// tempDir is in memory where there is such a place: the wal-index is a file.
func tempDir(t *testing.T) string {
	if dir, err := os.MkdirTemp("/dev/shm", "crashtest"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		return dir
	}
	return t.TempDir()
}

func plan(seed uint64, journal, sync string) (setup, []step) {
	rng := rand.New(rand.NewPCG(seed, 1))
	set := randomSetup(rng, journal, sync)
	set.cuts = 1
	return set, work(rng, set, 25)
}

func powerRun(seed uint64, journal, sync, temp string, sum *tally) error {
	set, steps := plan(seed, journal, sync)
	return simulate(set, steps, seed, temp, sum)
}

func simulate(set setup, steps []step, seed uint64, temp string, sum *tally) error {
	w, err := newWorld(set, seed, temp)
	if err != nil {
		return fmt.Errorf("%v: %w", set, err)
	}
	defer w.close()
	w.onCut = sum.check
	if err := w.run(steps); err != nil {
		return fmt.Errorf("%v: %w", set, err)
	}
	return nil
}

// shrink looks for less work that fails as well, and logs it.
func shrink(t *testing.T, seed uint64, journal, sync, temp string) {
	set, steps := plan(seed, journal, sync)
	set.cuts = 4
	fails := func(steps []step) error {
		return simulate(set, steps, seed, temp, &tally{kinds: map[string]int{}})
	}
	var last error
	until := time.Now().Add(20 * time.Second)
	for n := len(steps) / 2; n > 0; {
		cut := false
		for at := 0; at < len(steps) && time.Now().Before(until); {
			less := append(append([]step{}, steps[:at]...), steps[min(at+n, len(steps)):]...)
			if err := fails(less); err != nil {
				steps, last, cut = less, err, true
			} else {
				at += n
			}
		}
		if !cut || n > len(steps) {
			n /= 2
		}
	}
	if last == nil {
		t.Logf("not shrunk")
		return
	}
	t.Logf("shrunk to %d steps: %v", len(steps), last)
	for i, s := range steps {
		t.Logf("  %d: %s", i+1, s)
	}
}

// TestPowerCutAfterCleanClose cuts the first transaction off after a process
// left the database in order. What that one noted of the file must not be
// believed, although a power cut may bring the note back, and the file's time.
func TestPowerCutAfterCleanClose(t *testing.T) {
	for _, journal := range []string{"DELETE", "TRUNCATE", "PERSIST"} {
		t.Run(journal, func(t *testing.T) {
			t.Parallel()
			sum, temp := &tally{kinds: map[string]int{}}, tempDir(t)
			for seed := uint64(1); sum.cuts < 100; seed++ {
				if err := cleanClose(journal, seed, temp, sum); err != nil {
					t.Fatalf("seed %#x: %v", seed, err)
				}
			}
			t.Logf("%s", sum)
		})
	}
}

func cleanClose(journal string, seed uint64, temp string, sum *tally) error {
	w, err := newWorld(setup{journal: journal, sync: "FULL", pageSize: 512, cache: 50, conns: 1, inline: true, cuts: 4}, seed, temp)
	if err != nil {
		return err
	}
	defer w.close()
	big := step{sql: "BEGIN; " + insertMany + "; " + mark + "; COMMIT", commit: true}
	if err := w.run([]step{big, {reopen: true}}); err != nil {
		return err
	}
	w.m.SyncAll()
	if err := w.conns[0].Exec("PRAGMA synchronous=OFF"); err != nil {
		return err
	}
	w.set.sync, w.onCut = "OFF", sum.check
	return w.run([]step{{sql: "BEGIN; UPDATE t SET a=a+1; " + mark + "; COMMIT", commit: true}})
}
