package crashtest_test

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestTrailFullKill kills while the trail cannot be written. What is found is
// recorded, and where the disk was merely full the trail still says why.
func TestTrailFullKill(t *testing.T) {
	temp := tempDir(t)
	for _, c := range fullCases() {
		if c.exclusive {
			continue
		}
		for _, crash := range []crashfs.Crash{crashfs.Kill, crashfs.PowerCut} {
			t.Run(fmt.Sprintf("%v/%v", c, crash), func(t *testing.T) {
				w, err := newFullWorld(c, temp)
				if err != nil {
					t.Fatal(err)
				}
				defer w.close()
				if err := c.kill(w, crash); err != nil {
					t.Errorf("%v\n%s", err, w.m.log.String())
				}
			})
		}
	}
}

func (c fullCase) kill(w *world, crash crashfs.Crash) error {
	var on atomic.Bool
	fired := 0
	w.during(c.outage, &on, &fired)
	on.Store(true)
	acked, err := c.work(w)
	if err != nil {
		return err
	}
	for seed := range uint64(8) {
		root, real := newRoot(w.temp)
		var d *crashfs.Disk
		w.m.Locked(func() { d = w.m.Clone(root, real, crash, seed) })
		if err := c.takeUp(w, d, crash, acked); err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		if crash == crashfs.Kill {
			break
		}
	}
	return nil
}

// takeUp opens what the crash left, with room again, writes and compares.
func (c fullCase) takeUp(w *world, d *crashfs.Disk, crash crashfs.Crash, acked []string) error {
	m, err := mountDisk(d)
	if err != nil {
		return err
	}
	defer m.unmount()
	got, err := m.writeOnce(w)
	if crash == crashfs.PowerCut && (c.set.journal == "MEMORY" || c.set.journal == "OFF") && (isCorrupt(err) || errors.Is(err, errNothing)) {
		return nil // these modes do not survive it
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, m.log.String())
	}
	txs, db, err := m.replay()
	if err != nil {
		return err
	}
	file := m.File(dbName)
	if len(file) > len(db) {
		file = file[:len(db)]
	}
	if string(db) != string(file) {
		return fmt.Errorf("the trail gives %s; %s", difference(db, file), describe(txs))
	}
	if crash != crashfs.Kill {
		return nil
	}
	if c.full == vfs.FullDetach && got.mark != w.acked {
		return fmt.Errorf("the database has %d, acknowledged was %d", got.mark, w.acked)
	}
	last := txs[len(txs)-2] // before the write after the crash
	if c.full == vfs.FullDetach && !c.set.wal() && c.err == syscall.ENOSPC &&
		(last.Kind != journal.CatchUp || !strings.HasPrefix(last.Note, fmt.Sprintf("merges %d transactions from ", len(acked)))) {
		return fmt.Errorf("the trail does not say what it merged: note %q: %s", last.Note, describe(txs))
	}
	return nil
}

// TestTrailFullSameState has the database come back to a state that the trail
// has before its end, while it cannot be written: what is between was
// committed, and stays.
func TestTrailFullSameState(t *testing.T) {
	c := fullCase{setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 50, conns: 1, inline: true}, vfs.FullDetach, false, outages[0]}
	w, err := newFullWorld(c, tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	var on atomic.Bool
	fired := 0
	w.during(c.outage, &on, &fired)
	do := func(sql string) {
		t.Helper()
		if err := w.conns[0].Exec(sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	do("UPDATE meta SET step=100")
	do("UPDATE meta SET step=50")
	on.Store(true)
	do("UPDATE meta SET step=100")
	do("PRAGMA wal_checkpoint(TRUNCATE)")
	on.Store(false)
	before, _, err := w.m.replay()
	if err != nil {
		t.Fatal(err)
	}
	if err := w.settle(); err != nil {
		t.Fatal(err)
	}
	txs, _, err := w.m.replay()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(before); len(txs) != n+2 || txs[n-1].Sum != before[n-1].Sum || txs[n].Kind != journal.CatchUp || txs[n].Sum != before[n-2].Sum {
		t.Errorf("%s\n%s", describe(txs), w.m.log.String())
	}
}

// TestTrailFullAfterCommit has the disk fill up between the commit and its mark
// in the trail: the transaction is recorded by itself, not merged.
func TestTrailFullAfterCommit(t *testing.T) {
	const markBytes = 32
	for _, mode := range []string{"DELETE", "PERSIST", "MEMORY"} {
		for _, full := range []string{vfs.FullRefuse, vfs.FullDetach} {
			c := fullCase{setup{journal: mode, sync: "FULL", pageSize: 512, cache: 50, conns: 1, inline: true}, full, false, outages[0]}
			c.hits = func(op crashfs.Op) bool { return op.Grows && (op.Len == markBytes || op.Kind == crashfs.Create) }
			t.Run(mode+"/"+full, func(t *testing.T) {
				w, err := newFullWorld(c, tempDir(t))
				if err != nil {
					t.Fatal(err)
				}
				defer w.close()
				if err := c.afterCommit(w); err != nil {
					t.Errorf("%v\n%s", err, w.m.log.String())
				}
			})
		}
	}
}

func (c fullCase) afterCommit(w *world) error {
	var on atomic.Bool
	fired := 0
	w.during(c.outage, &on, &fired)
	on.Store(true)
	if err := w.conns[0].Exec("UPDATE meta SET step=100"); err != nil {
		return err
	}
	if err := w.conns[0].Exec("UPDATE meta SET step=200"); (err == nil) != (c.full == vfs.FullDetach) {
		return fmt.Errorf("the write after it: %w", err)
	}
	if fired == 0 {
		return errors.New("nothing failed")
	}
	on.Store(false)
	// Somebody else writes, so that the database is not in the state of the
	// record that has no mark.
	other, err := w.m.open(w.m.plain, "")
	if err != nil {
		return err
	}
	if err := errors.Join(other.Exec("UPDATE meta SET step=300"), other.Close()); err != nil {
		return err
	}
	if err := w.settle(); err != nil {
		return err
	}
	txs, _, err := w.m.replay()
	if err != nil {
		return err
	}
	n := len(w.hist)
	if len(txs) != n+3 || txs[n].Kind != journal.Ordinary || txs[n+1].Kind != journal.CatchUp {
		return errors.New(describe(txs))
	}
	return nil
}
