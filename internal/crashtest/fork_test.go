package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/journal"
)

// shipper stands for what ships a trail, to somebody who keeps it, without
// asking the primary to sync first: as if its disk lied.
type shipper struct {
	hist  []journal.Tx // what others have: hist[i] has TXID i+1
	line  journal.Timeline
	forks int // found with a branch
	bare  int // found without one: the trail had lost the transactions too
	kept  int // nothing that was shipped is lost
}

// ship marks all of the trail as shipped, and takes it.
func (s *shipper) ship(m *mount) error {
	mark, err := journal.OpenShipMark(m.Path(trailName), &journal.WriterOptions{FS: m.FS()})
	if err != nil {
		return err
	}
	txs, _, err := m.replay()
	if err == nil {
		last := txs[len(txs)-1]
		err = mark.Mark(s.line, journal.Shipped{TXID: last.TXID, Time: last.Time, Sum: last.Sum}, nil)
	}
	if err = errors.Join(err, mark.Close()); err != nil {
		return err
	}
	s.hist = txs
	return nil
}

// TestShippedAndLost cuts the power at random moments while the trail is
// shipped, of a primary that does not sync for it. Whatever is found: the trail
// never has another transaction under a number and timeline that was shipped.
func TestShippedAndLost(t *testing.T) {
	all := &shipper{}
	runs := 2
	if testing.Short() {
		runs = 1
	}
	runs = int(envInt("PAGETRAIL_FORKS", uint64(runs)))
	lose := func(t *testing.T, i int, c [2]string, run int, temp string, sum *shipper) {
		t.Helper()
		seed := envInt("PAGETRAIL_SEED", uint64(i)<<32) + uint64(run)
		set, steps := plan(seed, c[0], c[1])
		set.cuts = 1
		if err := shippedRun(set, steps, seed, temp, sum); err != nil {
			t.Fatalf("PAGETRAIL_SEED=%#x: %v: %v", seed, set, err)
		}
	}
	for i, c := range combos() {
		if c[1] == "OFF" {
			continue
		}
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			temp, sum := tempDir(t), &shipper{}
			for run := range runs {
				lose(t, i, c, run, temp, sum)
			}
			t.Logf("%d cuts lost nothing that was shipped, %d forked with a branch, %d without", sum.kept, sum.forks, sum.bare)
			all.add(sum)
		})
	}
	// Some of the work is done beside the commits, so that the same seed does not always come to the same cuts, and few of
	// them leave a branch: if there was none, there is more of it.
	temp := tempDir(t)
	for run := runs; run < runs+20 && !all.complete() && !t.Failed(); run++ {
		for i, c := range combos() {
			if c[1] != "OFF" {
				lose(t, i, c, run, temp, all)
			}
		}
	}
	if !all.complete() {
		t.Errorf("the work does not come to all three: %d cuts lost nothing that was shipped, %d forked with a branch, %d without", all.kept, all.forks, all.bare)
	}
}

func (s *shipper) add(o *shipper) {
	s.forks, s.bare, s.kept = s.forks+o.forks, s.bare+o.bare, s.kept+o.kept
}

// complete says that each of the three outcomes was there.
func (s *shipper) complete() bool { return s.kept > 0 && s.forks > 0 && s.bare > 0 }

func shippedRun(set setup, steps []step, seed uint64, temp string, sum *shipper) error {
	w, err := newWorld(set, seed, temp)
	if err != nil {
		return err
	}
	defer w.close()
	s := &shipper{line: 1}
	rng := rand.New(rand.NewPCG(seed, 11))
	w.onCut = s.check
	w.every = 10
	for i, st := range steps {
		w.flight = i + 1
		w.m.OnOp(w.hook)
		err := w.step(st)
		w.m.OnOp(nil)
		if err != nil {
			return fmt.Errorf("step %d: %s: %w", w.flight, st, err)
		}
		cuts := w.cuts
		w.cuts = nil
		for _, c := range cuts {
			if err := s.check(w, c); err != nil {
				return fmt.Errorf("%v: %w", c, err)
			}
		}
		if rng.IntN(2) == 0 {
			if err := s.ship(w.m); err != nil {
				return err
			}
		}
	}
	sum.add(s)
	return nil
}

// check opens what a cut left, writes, and compares what it has with what was
// shipped before the cut.
func (s *shipper) check(w *world, c *cut) error {
	m, err := mountDisk(c.before)
	if err != nil {
		return err
	}
	defer m.unmount()
	if c.seed%2 == 0 {
		if err := m.ask(); err != nil {
			return err
		}
	}
	if _, err := m.writeOnce(w); err != nil {
		return err
	}
	if err := s.compare(m); err != nil {
		return fmt.Errorf("%w\n%s", err, m.log.String())
	}
	return nil
}

// ask opens the database with our VFS, and only asks for its position.
func (m *mount) ask() error {
	c, err := m.open(m.ours, "")
	if err != nil {
		return err
	}
	_, err = number(c, "SELECT count(*) FROM meta")
	if err == nil {
		_, err = number(c, "PRAGMA pagetrail_txid")
	}
	return errors.Join(err, c.Close())
}

func (s *shipper) compare(m *mount) error {
	txs, db, err := m.replay()
	if err != nil {
		return err
	}
	file := m.File(dbName)
	if len(file) > len(db) {
		file = file[:len(db)]
	}
	if !bytes.Equal(db, file) {
		return fmt.Errorf("the trail gives %s; %s", difference(db, file), describe(txs))
	}
	trail, err := journal.Open(m.Path(trailName), &journal.ReadOptions{FS: m.FS()})
	if err != nil {
		return err
	}
	defer trail.Close()
	id, shared := trail.Identity(), len(s.hist)
	if id.Timeline != s.line {
		if id.Timeline != s.line+1 || id.Parent == nil || id.Parent.Timeline != s.line || int(id.Parent.TXID) >= len(s.hist) {
			return fmt.Errorf("%d transactions were shipped, the trail is of timeline %d with parent %+v", len(s.hist), id.Timeline, id.Parent)
		}
		shared = int(id.Parent.TXID)
	}
	for i := range shared {
		if i >= len(txs) || !same(txs[i], s.hist[i]) {
			return fmt.Errorf("transaction %d was shipped on timeline %d, and is another now: %s", i+1, s.line, describe(txs))
		}
	}
	if id.Timeline == s.line {
		s.kept++
		return nil
	}
	return s.branch(m, trail, id.Parent)
}

// branch checks the branch of a fork: it has what was shipped, as far as the
// trail had it.
func (s *shipper) branch(m *mount, trail *journal.Trail, parent *journal.Position) error {
	all, err := trail.Branches()
	if err != nil || len(all) != 1 || all[0].Common != *parent {
		return fmt.Errorf("branches %+v, %w", all, err)
	}
	b := all[0]
	if b.Last == b.Common.TXID {
		s.bare++
		return nil
	}
	s.forks++
	txs, _, err := m.replayOf(b.Dir)
	if err != nil {
		return fmt.Errorf("the branch: %w", err)
	}
	if len(txs) != int(b.Last) {
		return fmt.Errorf("the branch has %d transactions, and says %d", len(txs), b.Last)
	}
	for i := range min(len(txs), len(s.hist)) {
		if !same(txs[i], s.hist[i]) {
			return fmt.Errorf("transaction %d was shipped, and is another in the branch: %s", i+1, describe(txs))
		}
	}
	return nil
}

// same says that two records are the same, not only what they lead to.
func same(a, b journal.Tx) bool { return sameTx(a, b) && a.Time == b.Time }

// TestDeletedWAL has somebody remove the WAL of a database, whose last
// transactions were not durable yet.
func TestDeletedWAL(t *testing.T) {
	for _, shipped := range []bool{false, true} {
		set := setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 50, conns: 1, inline: true}
		w, err := newWorld(set, 1, tempDir(t))
		if err != nil {
			t.Fatal(err)
		}
		defer w.close()
		if err := w.conns[0].Exec("PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE); UPDATE meta SET step=1; UPDATE meta SET step=2"); err != nil {
			t.Fatal(err)
		}
		s := &shipper{line: 1}
		if shipped {
			if err := s.ship(w.m); err != nil {
				t.Fatal(err)
			}
		}
		m, err := mountDisk(w.killed())
		if err != nil {
			t.Fatal(err)
		}
		defer m.unmount()
		if err := m.FS().Remove(m.Path(dbName + "-wal")); err != nil {
			t.Fatal(err)
		}
		if _, err := m.writeOnce(w); err != nil {
			t.Fatal(err)
		}
		if err := s.compare(m); err != nil {
			t.Fatalf("%v\n%s", err, m.log.String())
		}
		if shipped != (s.forks == 1) || shipped == (s.kept == 1) {
			t.Errorf("shipped %v: %d forks\n%s", shipped, s.forks, m.log.String())
		}
	}
}

// TestForkPowerCut cuts the power again before every operation of the recovery
// that forks, and recovers from that.
func TestForkPowerCut(t *testing.T) {
	t.Run("after a disk that lied about the WAL", func(t *testing.T) {
		if s, n := forkPowerCut(t, true); s.kept > 0 || s.bare > 0 || s.forks < 60 {
			t.Errorf("%d cuts: %d forked with a branch, %d without, %d not at all", n, s.forks, s.bare, s.kept)
		}
	})
	t.Run("after one that lied about everything", func(t *testing.T) {
		if s, _ := forkPowerCut(t, false); s.forks == 0 {
			t.Errorf("no forks")
		}
	})
}

func forkPowerCut(t *testing.T, synced bool) (s *shipper, n int) {
	set := setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 50, conns: 1, inline: true}
	w, err := newWorld(set, 1, tempDir(t))
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if err := w.conns[0].Exec("PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE); UPDATE meta SET step=1; UPDATE meta SET step=2"); err != nil {
		t.Fatal(err)
	}
	s = &shipper{line: 1}
	if err := s.ship(w.m); err != nil {
		t.Fatal(err)
	}
	m, err := mountDisk(w.killed())
	if err != nil {
		t.Fatal(err)
	}
	defer m.unmount()
	if err := m.FS().Remove(m.Path(dbName + "-wal")); err != nil {
		t.Fatal(err)
	}
	if synced {
		m.SyncAll()
	}
	var cuts []*crashfs.Disk
	settled, begun := false, false
	m.OnOp(func(op crashfs.Op) crashfs.Fault {
		switch {
		case op.Kind == crashfs.SyncDir && op.Name == ".":
			settled = true
		case op.Kind == crashfs.Mkdir && !begun:
			if begun = true; !settled {
				t.Error("a fork begins before it is durable which transactions stay")
			}
		}
		if op.Kind.Changes() {
			for i := range uint64(3) {
				root, real := newRoot(w.temp)
				crash := crashfs.PowerCut
				if i == 0 {
					crash = crashfs.Kill
				}
				cuts = append(cuts, m.Clone(root, real, crash, uint64(op.N)<<4^i))
			}
		}
		return crashfs.Fault{}
	})
	_, err = m.writeOnce(w)
	m.OnOp(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range cuts {
		c := &cut{before: d, seed: uint64(i)}
		if err := s.check(w, c); err != nil {
			t.Fatalf("cut %d of %d: %v", i, len(cuts), err)
		}
	}
	return s, len(cuts)
}
