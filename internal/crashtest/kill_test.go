package crashtest_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

// killWork has every protocol once: a commit, a spill, a rollback of a spill, a
// savepoint, VACUUM, a checkpoint, a connection that closes.
func killWork(wal bool) []step {
	big := "INSERT INTO t(a,b) SELECT value, zeroblob(400) FROM json_each('[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]'); "
	steps := []step{
		{sql: "BEGIN; INSERT INTO t(a,b) VALUES(1,x'0102'); " + mark + "; COMMIT", commit: true},
		{sql: "BEGIN; " + big + mark + "; COMMIT", commit: true},
		{sql: "BEGIN; DELETE FROM t WHERE id%3>0; " + mark + "; COMMIT", commit: true}, // the free-list has pages now
		{sql: "BEGIN; UPDATE t SET b=zeroblob(300), a=a+1; " + big + mark + "; ROLLBACK"},
		{conn: 1, sql: "BEGIN; SAVEPOINT s; " + big + "ROLLBACK TO s; DELETE FROM t WHERE id%2=0; " + mark + "; COMMIT", commit: true},
		{sql: "VACUUM"},
		{conn: 1, reopen: true},
		{conn: 1, sql: mark, commit: true},
	}
	if wal {
		steps = append(steps, step{sql: "PRAGMA wal_checkpoint(RESTART)"}, step{sql: mark, commit: true}, step{sql: "PRAGMA wal_checkpoint(TRUNCATE)"})
	}
	return append(steps, step{reopen: true}, step{sql: mark, commit: true})
}

// TestKillPoints kills before every single operation of a short work that finds
// the disk other than the one before it did, and takes up what is left.
func TestKillPoints(t *testing.T) {
	for i, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			sum := &tally{kinds: map[string]int{}}
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 2, inline: i%2 == 0}
			temp := tempDir(t)
			w, err := newWorld(set, uint64(i), temp)
			if err != nil {
				t.Fatalf("%v: %v", set, err)
			}
			defer w.close()
			w.onCut = sum.check
			w.all = 1
			if testing.Short() {
				w.all = 10
			}
			if err := w.run(killWork(set.wal())); err != nil {
				t.Errorf("%v: %v", set, err)
			}
			if sum.mergedOwn > 0 && set.wal() {
				t.Errorf("%d catch-ups", sum.mergedOwn)
			}
			t.Logf("%s", sum)
		})
	}
}

// TestStop has the process die in earnest: every call fails from one moment
// on, the connections are never closed, and the process lives on.
func TestStop(t *testing.T) {
	for i, c := range combos() {
		t.Run(c[0]+"/"+c[1], func(t *testing.T) {
			t.Parallel()
			sum := &tally{kinds: map[string]int{}}
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 2, inline: i%2 == 0}
			temp := tempDir(t)
			stride := 41
			if testing.Short() {
				stride = 397
			}
			for at := i; ; at += stride {
				reached, err := stopAt(set, uint64(i), at, temp, sum)
				if err != nil {
					t.Fatalf("%v: stopped at operation %d: %v", set, at, err)
				}
				if !reached {
					break
				}
			}
			t.Logf("%s", sum)
		})
	}
}

// stopAt runs the work until operation at and takes it up on another disk.
func stopAt(set setup, seed uint64, at int, temp string, sum *tally) (reached bool, err error) {
	w, err := newWorld(set, seed, temp)
	if err != nil {
		return false, err
	}
	from := w.m.Ops()
	var c *cut
	w.m.OnOp(func(op crashfs.Op) crashfs.Fault {
		if op.N-from != at || c != nil {
			return crashfs.Fault{}
		}
		c = &cut{op: op, crash: crashfs.Kill, acked: w.acked, step: w.flight}
		c.before, c.other = w.clone(c), w.clone(c)
		w.m.Stop()
		return crashfs.Fault{}
	})
	steps := killWork(set.wal())
	for i, s := range steps {
		w.flight = i + 1
		if err = w.step(s); err != nil {
			break
		}
	}
	w.m.OnOp(nil)
	if c == nil {
		w.close()
		if err != nil {
			return false, fmt.Errorf("step %d: %w", w.flight, err)
		}
		return false, nil
	}
	// The history up to the end comes from a run that nothing stops.
	full, err := newWorld(set, seed, temp)
	if err != nil {
		return false, err
	}
	defer full.close()
	if err := full.run(steps); err != nil {
		return false, err
	}
	return true, sum.check(full, c)
}

// TestForeignCheckpoint has a program without our VFS checkpoint the WAL, so
// that the trail was not made durable before it, and one of our connections
// begin the WAL anew. After that the frames are gone, and a power cut must find
// the transactions in the trail.
func TestForeignCheckpoint(t *testing.T) {
	for i, sync := range []string{"NORMAL", "FULL"} {
		t.Run(sync, func(t *testing.T) {
			t.Parallel()
			sum, temp := &tally{kinds: map[string]int{}}, tempDir(t)
			for seed := uint64(i) << 32; sum.cuts < 60; seed++ {
				if err := foreignCheckpoint(sync, seed, temp, sum); err != nil {
					t.Fatalf("seed %#x: %v", seed, err)
				}
			}
			t.Logf("%s", sum)
		})
	}
}

func foreignCheckpoint(sync string, seed uint64, temp string, sum *tally) error {
	w, err := newWorld(setup{journal: "WAL", sync: sync, pageSize: 512, cache: 5, conns: 1, inline: true, cuts: 1}, seed, temp)
	if err != nil {
		return err
	}
	defer w.close()
	insert := step{sql: "BEGIN; INSERT INTO t(a,b) VALUES(1,zeroblob(300)); " + mark + "; COMMIT", commit: true}
	if err := w.run([]step{insert, insert, insert}); err != nil {
		return err
	}
	c, err := w.m.open(w.m.plain, "")
	if err != nil {
		return err
	}
	if err := errors.Join(c.Exec("PRAGMA wal_checkpoint(RESTART)"), c.Close()); err != nil {
		return err
	}
	if err := w.run([]step{insert}); err != nil {
		return err
	}
	w.onCut = sum.check
	return w.run([]step{insert, insert})
}
