package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestManyNewPages has transactions by which the database grows a lot, while
// pages that it had change too: the new pages are written in full, by groups of
// their own, the others as patches. The cache is small, so that pages get into
// the database or the WAL, and are written there again, long before the commit
// or the rollback.
func TestManyNewPages(t *testing.T) {
	for _, c := range []struct{ mode, size string }{{"WAL", "512"}, {"WAL", "65536"}, {"DELETE", "4096"}} {
		t.Run(c.mode+"/"+c.size, func(t *testing.T) {
			if testing.Short() && c.size == "512" {
				t.Skip("-short: small pages take long under the race detector, and large ones run the same goroutines")
			}
			manyNewPages(t, c.mode, c.size)
		})
	}
}

func manyNewPages(t *testing.T, mode, size string) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "")
	defer c.Close()
	run(t, c, "PRAGMA page_size="+size, "PRAGMA journal_mode="+mode, "PRAGMA synchronous=OFF", "PRAGMA cache_size=-200", schema,
		generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(1000)"))
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	before := agrees(t, r, c, path, "at first")
	load := generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(600)||zeroblob(300) FROM generate(2600)")
	run(t, c, "BEGIN", "UPDATE t SET a='changed' WHERE id%10=0", load, "COMMIT")
	id := agrees(t, r, c, path, "a bulk load")
	full, patches := groupKinds(t, path, id)
	if id != before+1 || full < 2 || patches == 0 {
		t.Fatalf("transaction %d has %d groups of full pages, %d with patches", id, full, patches)
	}
	run(t, c, "CREATE INDEX tb ON t(b)")
	agrees(t, r, c, path, "an index")
	run(t, c, "BEGIN", load, "UPDATE t SET a='twice' WHERE id>2000", "ROLLBACK", "UPDATE t SET a='after' WHERE id=7")
	agrees(t, r, c, path, "a load that was rolled back")
	run(t, c, "BEGIN", load, "SAVEPOINT s", load, "UPDATE t SET b=randomblob(900) WHERE id%3=0", "ROLLBACK TO s",
		"UPDATE t SET a='rewritten', b=randomblob(900) WHERE id%5=0", "COMMIT")
	agrees(t, r, c, path, "a load of which half was rolled back")
	run(t, c, "BEGIN", "DELETE FROM t WHERE id%3>0", "DROP INDEX tb", "COMMIT", "VACUUM")
	agrees(t, r, c, path, "VACUUM")
	run(t, c, load)
	agrees(t, r, c, path, "grown again")
}

// TestManySamePages has transactions that write many pages and change few of
// them or none: of their groups, among them the last, nothing may be left.
func TestManySamePages(t *testing.T) {
	if err := vfs.Register("same", &vfs.Options{SealBytes: 16 << 10}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"WAL", "DELETE"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := openBy(t, "same", path, "")
			defer c.Close()
			// Pages of 512 bytes make groups from 4 MiB on.
			run(t, c, "PRAGMA page_size=512", "PRAGMA journal_mode="+mode, "PRAGMA synchronous=OFF", schema,
				generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(20000)"), "VACUUM")
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			last := agrees(t, r, c, path, "at first")
			const same = "UPDATE t SET a=lower(a); UPDATE t SET a=upper(a);"
			for _, sql := range []string{
				"BEGIN; " + same + " COMMIT",
				"BEGIN; " + same + " UPDATE t SET a='FIRST' WHERE id=1; COMMIT",
				"BEGIN; " + same + " UPDATE t SET a='MIDDLE' WHERE id=10000; COMMIT",
				"BEGIN; " + same + " UPDATE t SET a='LAST' WHERE id=20000; COMMIT",
				"VACUUM",
			} {
				run(t, c, sql)
				if id := agrees(t, r, c, path, sql); id != last+1 {
					t.Fatalf("%s: transaction %d after %d", sql, id, last)
				}
				last++
			}
			// Sealed, they are the same.
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := journal.Seal(t.Context(), path+"-pagetrail", nil); err != nil {
				t.Fatal(err)
			}
			again := newReplica(t, path+"-pagetrail")
			defer again.close()
			sameBytes(t, "sealed", again.at(last), snapshot(t, path))
			if n, err := journal.Unsealed(path+"-pagetrail", nil); err != nil || n != 0 {
				t.Errorf("%d bytes are not sealed: %v", n, err)
			}
			if _, err := again.trail.Verify(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestImportThenExit loads a database and closes it at once, before its trail
// can have been compressed; the next to write sees to that.
func TestImportThenExit(t *testing.T) {
	if err := vfs.Register("sealing", &vfs.Options{SealBytes: 64 << 10}); err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"WAL", "DELETE"} {
		path := filepath.Join(t.TempDir(), "x.db")
		trail := path + "-pagetrail"
		session := func(sqls ...string) {
			t.Helper()
			c, err := sqlite3.Open("file:" + path + "?vfs=sealing")
			if err != nil {
				t.Fatal(err)
			}
			run(t, c, "PRAGMA journal_mode="+mode)
			run(t, c, sqls...)
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		session(schema, generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(8000)"))
		session("SELECT count(*) FROM t")
		session("UPDATE t SET a='one more' WHERE id=1")
		if n, err := journal.Unsealed(trail, nil); err != nil || n != 0 {
			t.Fatalf("%s: %d bytes are left to be sealed: %v", mode, n, err)
		}
		r := newReplica(t, trail)
		defer r.close()
		sameBytes(t, mode, r.upTo(1<<40), snapshot(t, path))
		if left, err := filepath.Glob(filepath.Join(trail, "*.sealing")); err != nil || len(left) > 0 {
			t.Fatal(mode, left, err)
		}
		if _, err := r.trail.Verify(t.Context(), nil); err != nil {
			t.Fatal(mode, err)
		}
	}
}

// groupKinds counts the groups of a transaction: those of pages in full, and
// those with patches.
func groupKinds(t *testing.T, path string, id journal.TXID) (full, patches int) {
	t.Helper()
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	for rec, err := range trail.Records(t.Context(), id) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.TXID != id {
			break
		}
		for body, err := range rec.Groups() {
			var dec diff.Decoder
			if err == nil {
				err = dec.Load(body, rec.PageSize)
			}
			if err != nil {
				t.Fatal(err)
			}
			all := true
			for _, p := range dec.Pages() {
				all = all && p.Full
			}
			if all {
				full++
			} else {
				patches++
			}
		}
	}
	return full, patches
}
