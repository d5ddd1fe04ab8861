//go:build linux || darwin

package follow_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
)

// TestFollowEveryMode follows through growth, deletion, VACUUM, changes of the
// page size and of the journal mode; after each step C SQLite reads the replica
// while it is being followed into, and at the end the files are equal.
func TestFollowEveryMode(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode, func(t *testing.T) {
			p := newPrimary(t, journalMode(mode), "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
			path := filepath.Join(t.TempDir(), "replica.db")
			r := openReplica(t, path, p.source(), nil)
			steps := []string{
				"INSERT INTO t(b) VALUES('one')",
				"INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<500) SELECT randomblob(500) FROM n",
				"DELETE FROM t WHERE id%3=0",
				"VACUUM",
				"UPDATE t SET b=randomblob(3000) WHERE id%7=0",
				"PRAGMA journal_mode=DELETE",
				"PRAGMA page_size=8192", "VACUUM",
				"INSERT INTO t(b) VALUES(zeroblob(100000))",
				"PRAGMA journal_mode=WAL",
				"DELETE FROM t WHERE id%2=0",
				"PRAGMA wal_checkpoint(TRUNCATE)",
				"PRAGMA journal_mode=TRUNCATE",
				"PRAGMA page_size=512", "VACUUM",
				"DELETE FROM t",
				"INSERT INTO t(b) VALUES('last')",
			}
			for _, sql := range steps {
				p.exec(sql)
				id := p.txid()
				catchUp(t, r)
				if got := r.Position().TXID; got != id {
					t.Fatalf("after %.60s: at %d, the primary at %d", sql, got, id)
				}
				want := fmt.Sprint(queryInt(t, p.conn, "SELECT count(*)+coalesce(sum(length(b)),0) FROM t"))
				if got := shell(t, path, "SELECT count(*)+coalesce(sum(length(b)),0) FROM t; PRAGMA integrity_check"); got != want+"\nok" {
					t.Fatalf("after %.60s: readers see %q, want %q", sql, got, want)
				}
			}
			closeReplica(t, r)
			alone(t, path)
			same(t, "replica", read(t, path), p.content())
		})
	}
}

// TestContinue closes and opens again, with more to apply each time.
func TestContinue(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	path := filepath.Join(t.TempDir(), "replica.db")
	for i := range 5 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
		id := p.txid()
		r := openReplica(t, path, p.source(), &follow.Options{Once: true})
		n := catchUp(t, r)
		if i > 0 && n != 1 || r.Position().TXID != id {
			t.Fatalf("round %d: %d applied, at %d, want 1 and %d", i, n, r.Position().TXID, id)
		}
		closeReplica(t, r)
		alone(t, path)
		same(t, "replica", read(t, path), p.content())
	}
}
