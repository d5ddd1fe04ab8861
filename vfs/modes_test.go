package vfs_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestModes runs the same work in every journal mode and compares the trail
// with the database after each step, byte for byte.
func TestModes(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "MEMORY", "OFF", "WAL"} {
		for _, params := range []string{"", "&encode=inline"} {
			for _, exclusive := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s%s/exclusive=%v", mode, params, exclusive), func(t *testing.T) {
					testMode(t, mode, params, exclusive)
				})
			}
		}
	}
}

func testMode(t *testing.T, mode, params string, exclusive bool) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, params)
	defer func() { c.Close() }()
	if exclusive {
		run(t, c, "PRAGMA locking_mode=EXCLUSIVE")
	}
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	run(t, c, "PRAGMA journal_mode="+mode)
	var last journal.TXID
	check := func(what string, more bool) {
		t.Helper()
		id := txid(t, c)
		if more != (id > last) {
			t.Fatalf("%s: TXID %d after %d", what, id, last)
		}
		last = id
		if id > 0 {
			sameBytes(t, what, r.at(id), snapshot(t, path))
		}
	}
	for _, step := range []struct {
		sql  string
		more bool
	}{
		{"CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE INDEX ta ON t(a)", true},
		{"INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(200)", true},
		{"UPDATE t SET a=hex(randomblob(10)) WHERE id%7=0", true},
		{"BEGIN; INSERT INTO t(a) VALUES('x'); SAVEPOINT s; DELETE FROM t WHERE id<50; ROLLBACK TO s; RELEASE s; COMMIT", true},
		{"BEGIN; DELETE FROM t WHERE id>100; ROLLBACK", mode == "OFF"},
		{"DELETE FROM t WHERE id BETWEEN 20 AND 150", true},
		{"BEGIN IMMEDIATE; COMMIT", false},
		{"VACUUM", true},
		{"INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(3000) FROM generate(50)", true},
	} {
		if mode == "OFF" && step.sql == "BEGIN; DELETE FROM t WHERE id>100; ROLLBACK" {
			continue // undefined by SQLite: it corrupts the database
		}
		run(t, c, "PRAGMA cache_size=10")
		run(t, c, generate(step.sql))
		check(step.sql, step.more)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	sameBytes(t, "after close", r.at(last), readFile(t, path))
	c = open(t, path, params)
	run(t, c, "DELETE FROM t WHERE id%3=0")
	check("after reopening", true)
	if n := r.kinds[journal.CatchUp]; n != 0 {
		t.Errorf("%d catch-up records, and nobody but us wrote", n)
	}
}

// generate replaces generate(n) by a table of n rows.
func generate(sql string) string {
	var n int
	for i := range sql {
		if _, err := fmt.Sscanf(sql[i:], "generate(%d)", &n); err == nil {
			return sql[:i] + fmt.Sprintf("(WITH RECURSIVE g(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM g WHERE i<%d) SELECT i FROM g)", n)
		}
	}
	return sql
}
