package crashtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/crashfs"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// errInjected is what a failing disk says.
var errInjected = syscall.EIO

// way is how an operation fails.
type way struct {
	name  string
	fault crashfs.Fault
}

// waysOf are those that make sense for an operation. What changes nothing, a
// read or the opening of a file, is the same refused or done and reported as
// failed. A lock that cannot be given up, or that is taken and reported as
// failed, would be held for ever, and no system does that: giving up fails after
// it was done, and a lock is refused or held by another.
func waysOf(kind crashfs.Kind, sqlite bool) []way {
	refused := way{"refused", crashfs.Fault{Err: errInjected}}
	done := way{"done and reported as failed", crashfs.Fault{Err: errInjected, Done: true}}
	full := way{"disk full", crashfs.Fault{Err: syscall.ENOSPC}}
	short := way{"short", crashfs.Fault{Err: errInjected, Part: 7}}
	shortFull := way{"short", crashfs.Fault{Err: syscall.ENOSPC, Part: 7}}
	busy := way{"held by another", crashfs.Fault{Err: sqlite3.BUSY}}
	switch kind {
	case crashfs.Read:
		return []way{refused, short}
	case crashfs.Write:
		return []way{refused, done, full, shortFull}
	case crashfs.Create, crashfs.Mkdir, crashfs.Truncate, crashfs.Sync, crashfs.Rename:
		return []way{refused, done, full}
	case crashfs.Unlock, crashfs.Close:
		return []way{done}
	case crashfs.Remove, crashfs.SyncDir:
		return []way{refused, done}
	case crashfs.Lock:
		if sqlite {
			return []way{refused, busy}
		}
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

// faultCase is work whose operations fail one at a time.
type faultCase struct {
	name string
	run  func(temp string, hook func(crashfs.Op) crashfs.Fault) (log string, err error)
	side bool // something runs beside the work, so that the order of operations is not always the same
}

func faultCases() (cases []faultCase) {
	for _, c := range [][2]string{{"DELETE", "FULL"}, {"TRUNCATE", "NORMAL"}, {"PERSIST", "FULL"}, {"WAL", "NORMAL"}, {"WAL", "FULL"}} {
		for _, existing := range []bool{false, true} {
			set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 2, inline: true, existing: existing, fresh: true}
			cases = append(cases, faultCase{fmt.Sprintf("%s/%s/existing=%v", c[0], c[1], existing), set.faultRun, false})
		}
	}
	beside := setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 5, conns: 2, existing: true, fresh: true}
	cases = append(cases, faultCase{"WAL/NORMAL/beside", beside.faultRun, true})
	for _, c := range [][2]string{{"DELETE", "FULL"}, {"WAL", "NORMAL"}} {
		set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 2, inline: true, seal: 300}
		cases = append(cases, faultCase{fmt.Sprintf("%s/%s/sealing", c[0], c[1]), set.faultRun, true})
	}
	for _, c := range [][2]string{{"DELETE", "FULL"}, {"PERSIST", "NORMAL"}} {
		set := setup{journal: c[0], sync: c[1], pageSize: 512, cache: 5, conns: 1, inline: true}
		cases = append(cases, faultCase{fmt.Sprintf("attached/%s/%s", c[0], c[1]), set.jointFaultRun, false})
	}
	return cases
}

// TestFaults fails operations one at a time, each in every way, has the program
// go on, and compares trail and database in the end. What was failed in which
// ways is held against testdata/faults.txt, so that no kind of call drops out.
func TestFaults(t *testing.T) {
	var mu sync.Mutex // guards what follows
	all, steady, ran, cases := coverage{}, coverage{}, 0, faultCases()
	t.Cleanup(func() {
		if ran == len(cases) && !t.Failed() {
			t.Logf("faults reached:\n%s", all.table(true))
			golden(t, filepath.Join("testdata", "faults.txt"), steady.table(false))
		}
	})
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			fired := coverage{}
			faultsOf(t, c, fired)
			mu.Lock()
			defer mu.Unlock()
			if all.join(fired); !c.side {
				steady.join(fired)
			}
			ran++
		})
	}
}

// coverage counts the faults that were reached, by kind of call, kind of file
// and way.
type coverage map[[2]string]map[string]int

func (c coverage) add(cell [2]string, way string, n int) {
	if c[cell] == nil {
		c[cell] = map[string]int{}
	}
	c[cell][way] += n
}

func (c coverage) join(o coverage) {
	for cell, ways := range o {
		for way, n := range ways {
			c.add(cell, way, n)
		}
	}
}

// faultRole is role for any TXID in the name.
func faultRole(name string) string {
	name = role(name)
	if id, rest, ok := strings.Cut(name, "."); ok && len(id) == 16 {
		return "*." + rest
	}
	return name
}

// fileKind is what a file is, whichever database it belongs to.
func fileKind(role string) string {
	kinds := []struct{ suffix, kind string }{
		{".db", "database"},
		{"-journal", "journal"},
		{"-wal", "WAL"},
		{"-shm", "wal-index"},
		{capture.Suffix, "trail's directory"},
	}
	for _, k := range kinds {
		if strings.HasSuffix(role, k.suffix) {
			return k.kind
		}
	}
	if role == "." || role == "other" {
		return "directory"
	}
	return role
}

// table lists what was reached, a line for each kind of call on each kind of
// file.
func (c coverage) table(counts bool) string {
	var b strings.Builder
	cells := slices.SortedFunc(maps.Keys(c), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	for _, cell := range cells {
		fmt.Fprintf(&b, "%-17s %-9s", cell[0], cell[1])
		for i, name := range slices.Sorted(maps.Keys(c[cell])) {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString(" " + name)
			if counts {
				fmt.Fprintf(&b, " %d", c[cell][name])
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func faultsOf(t *testing.T, c faultCase, fired coverage) {
	temp := tempDir(t)
	counts := map[place]int{} // with n 0: how many there are
	var order []place
	if log, err := c.run(temp, func(op crashfs.Op) crashfs.Fault {
		p := place{op.Kind, faultRole(op.Name), 0}
		if counts[p]++; counts[p] == 1 {
			order = append(order, p)
		}
		return crashfs.Fault{}
	}); err != nil {
		t.Fatalf("without a fault: %v\n%s", err, log)
	}
	each := 2
	if testing.Short() {
		each = 1
	}
	if each = int(envInt("PAGETRAIL_FAULTS", uint64(each))); c.side {
		each = 1 // the first there is, always
	}
	done, failed := 0, 0
	for _, p := range order {
		total := counts[p]
		var at []int
		for i := range each {
			at = append(at, i*total/each)
		}
		for _, p.n = range slices.Compact(at) {
			for _, w := range waysOf(p.kind, strings.HasSuffix(p.role, ".db")) {
				done++
				if err := faultAt(c, temp, p, w); err != nil {
					t.Errorf("%v %s: %v", p, w.name, err)
					if failed++; failed > 5 {
						t.Fatal("that is enough")
					}
				}
				fired.add([2]string{fileKind(p.role), string(p.kind)}, w.name, 1)
			}
		}
	}
	t.Logf("%d faults at %d kinds of places, all reached", done, len(order))
}

// TestFailedWALSync fails the sync of a commit. The commit is reported as
// failed, and its frames are there, valid, until they are overwritten: only the
// wal-index tells that they are dead.
func TestFailedWALSync(t *testing.T) {
	for _, w := range waysOf(crashfs.Sync, false) {
		t.Run(w.name, func(t *testing.T) {
			set := setup{journal: "WAL", sync: "FULL", pageSize: 512, cache: 5, conns: 2, inline: true}
			if err := failedWALSync(set, w.fault, tempDir(t)); err != nil {
				t.Error(err)
			}
		})
	}
}

func failedWALSync(set setup, fault crashfs.Fault, temp string) error {
	w, err := newWorld(set, 1, temp)
	if err != nil {
		return err
	}
	defer w.close()
	insert := step{sql: "BEGIN; INSERT INTO t(a,b) VALUES(1,zeroblob(900)); " + mark + "; COMMIT", commit: true}
	if err := w.run([]step{insert, insert}); err != nil {
		return err
	}
	before, fired := len(w.hist), false
	w.m.OnOp(func(op crashfs.Op) crashfs.Fault {
		if op.Kind != crashfs.Sync || op.Name != dbName+"-wal" {
			return crashfs.Fault{}
		}
		fired = true
		return fault
	})
	err = w.attempt(insert)
	w.m.OnOp(nil)
	if err == nil || !fired {
		return fmt.Errorf("the commit did not fail: %w", err)
	}
	for _, c := range w.conns {
		switch n, err := number(c, "PRAGMA pagetrail_txid"); {
		case err != nil:
			return err
		case n != before:
			return fmt.Errorf("the position is %d, it was %d before a commit that failed", n, before)
		}
	}
	return w.settle()
}

var errNotReached = errors.New("the fault was never reached")

func faultAt(c faultCase, temp string, p place, w way) error {
	seen, fired := 0, false
	log, err := c.run(temp, func(op crashfs.Op) crashfs.Fault {
		if op.Kind != p.kind || faultRole(op.Name) != p.role {
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
		err = errNotReached
	}
	if err != nil {
		return fmt.Errorf("%w\n%s", err, log)
	}
	return nil
}

// faultRun does the work as a program would that carries on after an error.
func (set setup) faultRun(temp string, hook func(crashfs.Op) crashfs.Fault) (log string, err error) {
	w, err := newWorld(set, 1, temp)
	if err != nil {
		return "", err
	}
	defer func() {
		log = w.m.log.String()
		w.close()
	}()
	var sealing durable.Lock
	if set.seal != 0 {
		// How far the engine comes with sealing beside the work differs, so it
		// is kept from it, and all is sealed in the end.
		if err := w.m.seal(); err != nil {
			return "", err
		}
		sealing, err = w.m.FS().Lock(filepath.Join(w.m.trail(), "lock-seal"), 0o644, true, false)
		if err != nil {
			return "", err
		}
	}
	w.m.OnOp(hook)
	for i, s := range killWork(set.wal()) {
		w.flight = i + 1
		if err := w.attempt(s); err != nil {
			fmt.Fprintf(w.m.log, "step %d: %s: %v\n", w.flight, s, err)
		} else if s.commit {
			w.acked = w.flight
		}
	}
	for i, c := range w.conns {
		if w.conns[i] = nil; c != nil {
			if err := c.Close(); err != nil {
				fmt.Fprintf(w.m.log, "close: %v\n", err)
			}
		}
	}
	if sealing != nil {
		sealing.Close()
		if err := w.m.seal(); err != nil {
			fmt.Fprintf(w.m.log, "seal: %v\n", err)
		}
	}
	w.m.OnOp(nil)
	return "", w.settle()
}

// seal seals what is no longer the tail of the trail.
func (m *mount) seal() error {
	for {
		_, err := journal.Seal(context.Background(), m.trail(), &journal.WriterOptions{FS: m.FS()})
		if !errors.Is(err, durable.ErrLocked) {
			return err
		}
		runtime.Gosched() // the engine is at it
	}
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
	return w.m.same()
}

// same compares the trail with the database, byte for byte, when all
// connections are closed.
func (m *mount) same() error {
	txs, db, err := m.replay()
	if err != nil {
		return err
	}
	file := m.File(m.db)
	if len(file) > len(db) {
		file = file[:len(db)]
	}
	if !bytes.Equal(db, file) {
		return fmt.Errorf("the trail gives %s; %s", difference(db, file), describe(txs))
	}
	_, err = m.judge()
	return err
}
