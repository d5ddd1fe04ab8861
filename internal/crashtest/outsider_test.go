package crashtest_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
)

// TestOutsiders has a connection without our VFS write among those that have
// it: before, between and while they are open. After every write of ours trail
// and database must agree.
func TestOutsiders(t *testing.T) {
	for i, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			runs, checks, kinds := 12, 0, map[journal.Kind]int{}
			if testing.Short() {
				runs = 4
			}
			temp := tempDir(t)
			for run := range runs {
				seed := envInt("PAGETRAIL_SEED", uint64(i)<<32) + uint64(run)
				rng := rand.New(rand.NewPCG(seed, 3))
				set := randomSetup(rng, c[0], c[1])
				n, err := outsiderRun(rng, set, seed, temp, kinds)
				if err != nil {
					t.Fatalf("PAGETRAIL_SEED=%#x: %v: %v", seed, set, err)
				}
				checks += n
			}
			t.Logf("%d comparisons; records by kind: %v", checks, kinds)
		})
	}
}

func outsiderRun(rng *rand.Rand, set setup, seed uint64, temp string, kinds map[journal.Kind]int) (checks int, err error) {
	w, err := newWorld(set, seed, temp)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, w.m.log.String())
		}
		w.close()
	}()
	for i, s := range work(rng, set, 20) {
		w.flight = i + 1
		if rng.IntN(3) == 0 {
			if err := w.outsider(rng); err != nil {
				return checks, fmt.Errorf("an outsider before step %d: %w", w.flight, err)
			}
		}
		if err := w.attempt(s); err != nil {
			return checks, fmt.Errorf("step %d: %s: %w", w.flight, s, err)
		}
		if !s.commit {
			continue
		}
		checks++
		if err := w.agree(kinds); err != nil {
			return checks, fmt.Errorf("after step %d: %s: %w", w.flight, s, err)
		}
	}
	return checks, nil
}

// outsider opens the database without our VFS and writes to it, and now and
// then has all of ours closed meanwhile.
func (w *world) outsider(rng *rand.Rand) error {
	alone := rng.IntN(3) == 0
	if alone {
		for i, c := range w.conns {
			if c != nil {
				w.conns[i] = nil
				if err := c.Close(); err != nil {
					return err
				}
			}
		}
	}
	c, err := w.m.open(w.m.plain, "")
	if err != nil {
		return err
	}
	defer c.Close()
	err = c.Exec(fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=%d", w.set.journal, w.set.sync, w.set.cache))
	for range 1 + rng.IntN(3) {
		if err == nil {
			end := "COMMIT"
			if w.set.wal() && rng.IntN(3) == 0 {
				// Elsewhere a rollback after a spill leaves other bytes in
				// pages of the free-list, and nothing in the header tells.
				end = "ROLLBACK"
			}
			err = c.Exec("BEGIN; " + statements(rng, 1+rng.IntN(3)) + end)
		}
	}
	if err == nil && w.set.wal() && rng.IntN(3) == 0 {
		err = c.Exec("PRAGMA wal_checkpoint(" + []string{"PASSIVE", "RESTART", "TRUNCATE"}[rng.IntN(3)] + ")")
		if err == nil && rng.IntN(2) == 0 {
			err = c.Exec(statements(rng, 1)) // begins the WAL anew
		}
	}
	if err != nil {
		return err
	}
	return c.Close()
}

// killed is the disk as it is.
func (w *world) killed() (d *crashfs.Disk) {
	root, real := newRoot(w.temp)
	w.m.Locked(func() { d = w.m.Clone(root, real, crashfs.Kill, 0) })
	return d
}

// agree compares the trail with what SQLite makes of a copy of the database.
func (w *world) agree(kinds map[journal.Kind]int) error {
	if _, err := number(w.anyConn(), "PRAGMA pagetrail_txid"); err != nil {
		return err
	}
	txs, db, err := w.m.replay()
	if err != nil {
		return err
	}
	for _, tx := range txs[len(w.hist):] {
		kinds[tx.Kind]++
	}
	w.hist = txs
	m, err := mountDisk(w.killed())
	if err != nil {
		return err
	}
	defer m.unmount()
	want, err := m.judge()
	if err != nil {
		return err
	}
	if len(want.db) > len(db) {
		want.db = want.db[:len(db)]
	}
	if !bytes.Equal(db, want.db) {
		return fmt.Errorf("the trail gives %s; %s", difference(db, want.db), describe(txs))
	}
	return nil
}
