package crashtest_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

// errInjected is what a failing disk says.
var errInjected = syscall.EIO

// way is how an operation fails.
type way struct {
	name  string
	fault crashfs.Fault
}

// waysOf are those that make sense for an operation. A lock that cannot be
// given up would be held for ever, so that one is given up and reported as
// failed only.
func waysOf(kind crashfs.Kind) []way {
	refused := way{"refused", crashfs.Fault{Err: errInjected}}
	done := way{"done and reported as failed", crashfs.Fault{Err: errInjected, Done: true}}
	full := way{"disk full", crashfs.Fault{Err: syscall.ENOSPC}}
	short := way{"short", crashfs.Fault{Err: syscall.ENOSPC, Part: 7}}
	switch kind {
	case crashfs.Write:
		return []way{refused, done, full, short}
	case crashfs.Create, crashfs.Mkdir, crashfs.Truncate, crashfs.Sync, crashfs.Rename:
		return []way{refused, done, full}
	case crashfs.Unlock, crashfs.Close:
		return []way{done}
	case crashfs.Remove, crashfs.SyncDir:
		return []way{refused, done}
	}
	return []way{refused}
}

// place is the n-th operation of a kind on a file.
type place struct {
	kind crashfs.Kind
	role string
	n    int
}

func (p place) String() string { return fmt.Sprintf("%s %s (number %d)", p.kind, p.role, p.n) }

// TestFaults fails operations one at a time, each in every way, has the program
// go on, and compares trail and database in the end.
func TestFaults(t *testing.T) {
	for _, c := range [][2]string{{"DELETE", "FULL"}, {"TRUNCATE", "NORMAL"}, {"PERSIST", "FULL"}, {"WAL", "NORMAL"}, {"WAL", "FULL"}} {
		for _, existing := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/%s/existing=%v", c[0], c[1], existing), func(t *testing.T) {
				set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 2, inline: true, existing: existing}
				faultsOf(t, set)
			})
		}
	}
}

func faultsOf(t *testing.T, set setup) {
	temp := tempDir(t)
	counts := map[place]int{} // with n 0: how many there are
	var order []place
	if _, err := faultRun(set, temp, func(op crashfs.Op) crashfs.Fault {
		p := place{op.Kind, role(op.Name), 0}
		if counts[p]++; counts[p] == 1 {
			order = append(order, p)
		}
		return crashfs.Fault{}
	}); err != nil {
		t.Fatalf("%v: without a fault: %v", set, err)
	}
	each := 3
	if testing.Short() {
		each = 1
	}
	each = int(envInt("PAGETRAIL_FAULTS", uint64(each)))
	done, failed := 0, 0
	for _, p := range order {
		total := counts[p]
		var at []int
		for i := range each {
			at = append(at, i*total/each)
		}
		for _, p.n = range slices.Compact(at) {
			for _, w := range waysOf(p.kind) {
				done++
				if err := faultAt(set, temp, p, w); err != nil {
					t.Errorf("%v: %v %s: %v", set, p, w.name, err)
					if failed++; failed > 5 {
						t.Fatal("that is enough")
					}
				}
			}
		}
	}
	t.Logf("%d faults at %d kinds of places, all reached", done, len(order))
}

func faultAt(set setup, temp string, p place, w way) error {
	seen, fired := 0, false
	log, err := faultRun(set, temp, func(op crashfs.Op) crashfs.Fault {
		if op.Kind != p.kind || role(op.Name) != p.role {
			return crashfs.Fault{}
		}
		seen++
		if fired || seen-1 != p.n {
			return crashfs.Fault{}
		}
		fired = true
		f := w.fault
		f.Part = min(f.Part, op.Len)
		return f
	})
	if err == nil && !fired {
		err = errors.New("the fault was never reached")
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

// faultRun does the work as a program would that carries on after an error.
func faultRun(set setup, temp string, hook func(crashfs.Op) crashfs.Fault) (log string, err error) {
	w, err := newWorld(setup{
		journal: set.journal, sync: set.sync, pageSize: set.pageSize, cache: set.cache, conns: set.conns,
		inline: set.inline, existing: set.existing, fresh: true,
	}, 1, temp)
	if err != nil {
		return "", err
	}
	defer func() {
		log = w.m.log.String()
		w.close()
	}()
	w.m.OnOp(hook)
	for i, s := range killWork(set.wal()) {
		w.flight = i + 1
		if err := w.attempt(s); err != nil {
			fmt.Fprintf(w.m.log, "step %d: %s: %v\n", w.flight, s, err)
		} else if s.commit {
			w.acked = w.flight
		}
	}
	w.m.OnOp(nil)
	return "", w.settle()
}

// attempt does a step; after an error the transaction is rolled back.
func (w *world) attempt(s step) error {
	if w.conns[s.conn] == nil || s.reopen {
		if err := w.reopen(s.conn); err != nil {
			return err
		}
	}
	if s.reopen {
		return nil
	}
	c := w.conns[s.conn]
	err := c.Exec(withNumber(s.sql, w.flight))
	if !c.GetAutocommit() {
		if err := c.Exec("ROLLBACK"); err != nil {
			return fmt.Errorf("rollback: %w", err)
		}
	}
	return err
}

// settle writes once through every connection, closes them, and compares.
func (w *world) settle() error {
	for i := range w.conns {
		if w.conns[i] == nil {
			if err := w.reopen(i); err != nil {
				return fmt.Errorf("afterwards: %w", err)
			}
		}
		mark, err := number(w.conns[i], "SELECT step FROM meta")
		if err != nil {
			return fmt.Errorf("afterwards: %w", err)
		}
		if mark < w.acked {
			return fmt.Errorf("transaction %d was acknowledged, the database has %d", w.acked, mark)
		}
		if err := w.conns[i].Exec(fmt.Sprintf("UPDATE meta SET step=%d", own+i)); err != nil {
			return fmt.Errorf("afterwards: write: %w", err)
		}
	}
	for i, c := range w.conns {
		w.conns[i] = nil
		if err := c.Close(); err != nil {
			return fmt.Errorf("afterwards: close: %w", err)
		}
	}
	txs, db, err := w.m.replay()
	if err != nil {
		return err
	}
	file := w.m.File(w.m.db)
	if len(file) > len(db) {
		file = file[:len(db)]
	}
	if !bytes.Equal(db, file) {
		return fmt.Errorf("the trail gives %s; %s", difference(db, file), describe(txs))
	}
	_, err = w.m.judge()
	return err
}
