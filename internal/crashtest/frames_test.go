package crashtest_test

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/internal/crashfs"
)

// framesSet has a cache so small that every transaction writes frames before it
// commits, and two connections to write them in the same place.
var framesSet = setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 5, conns: 2, inline: true}

// newFramesWorld is one whose WAL is never copied into the database, so that all
// is read from it.
func newFramesWorld(temp string) (*world, error) {
	w, err := newWorld(framesSet, 1, temp)
	if err != nil {
		return nil, err
	}
	for _, c := range w.conns {
		if err := c.Exec("PRAGMA wal_autocheckpoint=0"); err != nil {
			w.close()
			return nil, err
		}
	}
	return w, nil
}

func insertRows(n int) string {
	return fmt.Sprintf(`INSERT INTO t(a,b) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d)
		SELECT i, randomblob(i*37%%400) FROM n; `, n)
}

// TestFramesRolledBack rolls a transaction back that has written frames, has
// another connection commit in their place, and goes on with the first: whatever
// of its frames had not been written by then must never be. It wrote a large
// value: that takes page after page, and none is read in between.
func TestFramesRolledBack(t *testing.T) {
	for n := 1; n <= 40; n++ {
		w, err := newFramesWorld(tempDir(t))
		if err != nil {
			t.Fatal(err)
		}
		err = w.run([]step{
			{sql: fmt.Sprintf("BEGIN; INSERT INTO t(a,b) VALUES(1,randomblob(%d)); ROLLBACK", n*700)},
			{conn: 1, sql: "BEGIN; " + insertRows(30) + mark + "; COMMIT", commit: true},
			{sql: "SELECT sum(length(b)) FROM t"},
			{sql: "BEGIN; " + insertRows(2) + mark + "; COMMIT", commit: true},
		})
		if err == nil {
			err = w.settle()
		}
		w.close()
		if err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
	}
}

// TestFramesFail has writes to the WAL fail for a while in a transaction that
// writes frames before it commits, from each write on. The program goes on with
// the transaction if SQLite lets it, or rolls it back; the disk is well again at
// the next write, before the commit, or only when another connection has committed
// in its place.
func TestFramesFail(t *testing.T) {
	var failed, survived atomic.Int64
	t.Cleanup(func() {
		t.Logf("%d transactions met a fault, %d of them committed all the same", failed.Load(), survived.Load())
	})
	for _, c := range framesCases() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			for n := 0; ; n += 1 + n/8 {
				met, committed, err := c.run(tempDir(t), n)
				if err != nil {
					t.Fatalf("from write %d on: %v", n, err)
				}
				if !met {
					break
				}
				if failed.Add(1); committed {
					survived.Add(1)
				}
			}
		})
	}
}

func framesCases() (cases []framesCase) {
	for _, c := range []framesCase{
		{name: "full", fault: crashfs.Fault{Err: syscall.ENOSPC}},
		{name: "full, a part written", fault: crashfs.Fault{Err: syscall.ENOSPC, Part: 600}},
		{name: "broken", fault: crashfs.Fault{Err: syscall.EIO}},
		{name: "done and reported as failed", fault: crashfs.Fault{Err: syscall.EIO, Done: true}},
	} {
		for _, c.rollback = range []bool{false, true} {
			for _, c.lasts = range []string{"once", "until the commit", "until another commits"} {
				cases = append(cases, c)
			}
		}
	}
	return cases
}

type framesCase struct {
	name     string
	fault    crashfs.Fault
	rollback bool   // the program rolls back, whatever SQLite says
	lasts    string // how long writes fail
}

func (c framesCase) String() string {
	return fmt.Sprintf("%s/rollback=%v/%s", c.name, c.rollback, c.lasts)
}

// run has writes of the first connection to the WAL fail from number n on.
// met: there are so many.
func (c framesCase) run(temp string, n int) (met, committed bool, err error) {
	w, err := newFramesWorld(temp)
	if err != nil {
		return false, false, err
	}
	defer w.close()
	if err := w.run([]step{{sql: "BEGIN; " + insertRows(10) + mark + "; COMMIT", commit: true}}); err != nil {
		return false, false, err
	}
	seen, on := 0, true
	w.m.OnOp(func(op crashfs.Op) crashfs.Fault {
		if !on || op.Kind != crashfs.Write || op.Name != dbName+"-wal" {
			return crashfs.Fault{}
		}
		if seen++; seen <= n {
			return crashfs.Fault{}
		}
		met, on = true, c.lasts != "once"
		f := c.fault
		f.Part = min(f.Part, op.Len)
		return f
	})
	conn := w.conns[0]
	w.flight++
	for _, sql := range []string{
		"BEGIN", "INSERT INTO t(a,b) VALUES(1,randomblob(9000))", "UPDATE OR ABORT t SET id=-id, a=a+1",
		"SELECT sum(length(b)) FROM t", insertRows(30), "INSERT INTO t(a,b) VALUES(1,randomblob(9000))",
		"SAVEPOINT s", "INSERT INTO t(a,b) VALUES(1,randomblob(9000))", "ROLLBACK TO s", withNumber(mark, w.flight),
	} {
		if conn.Exec(sql) != nil && conn.GetAutocommit() {
			break // SQLite has rolled back
		}
	}
	late := c.lasts == "until another commits"
	on = late
	if !conn.GetAutocommit() && !c.rollback {
		if committed = conn.Exec("COMMIT") == nil; committed {
			w.acked = w.flight
		}
	}
	if !conn.GetAutocommit() {
		if err := conn.Exec("ROLLBACK"); err != nil {
			return met, false, fmt.Errorf("rollback: %w", err)
		}
	}
	for i, s := range []step{
		{conn: 1, sql: "BEGIN; " + insertRows(40) + mark + "; COMMIT", commit: true},
		{sql: "SELECT sum(length(b)) FROM t"},
		{sql: "BEGIN; " + insertRows(3) + mark + "; COMMIT", commit: true},
		{conn: 1, sql: mark, commit: true},
	} {
		w.flight++
		on = late && i == 1
		if err := w.attempt(s); err != nil {
			return met, committed, fmt.Errorf("%s: %w", s, err)
		}
		if s.commit {
			w.acked = w.flight
		}
	}
	return met, committed, w.settle()
}
