package vfs_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

const schema = "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE INDEX ta ON t(a)"

// agrees applies the trail of the database at path and compares.
func agrees(t *testing.T, r *replica, c *sqlite3.Conn, path, what string) journal.TXID {
	t.Helper()
	id := txid(t, c)
	sameBytes(t, what, r.at(id), snapshot(t, path))
	return id
}

// shell runs SQL in the C sqlite3 shell, a program that knows nothing of us.
func shell(t *testing.T, path, sql string) string {
	t.Helper()
	if _, err := exec.LookPath("sqlite3"); err != nil {
		t.Skip("skipped: the sqlite3 shell is not installed (apt-get install sqlite3)")
	}
	cmd := exec.Command("sqlite3", "-bail", path)
	cmd.Stdin = strings.NewReader(sql)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3 %s: %v\n%s", path, err, out)
	}
	return strings.TrimSpace(string(out))
}

// TestAdoptsExistingDatabase opens databases that were made without the VFS,
// in rollback mode and with transactions waiting in a WAL.
func TestAdoptsExistingDatabase(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			plain, err := sqlite3.Open("file:" + path)
			if err != nil {
				t.Fatal(err)
			}
			run(t, plain, "PRAGMA journal_mode="+mode, schema,
				generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(500)"))
			if mode == "WAL" {
				run(t, plain, "PRAGMA wal_checkpoint", "PRAGMA wal_autocheckpoint=0", "DELETE FROM t WHERE id%5=0")
				defer plain.Close() // keeps the WAL
			} else if err := plain.Close(); err != nil {
				t.Fatal(err)
			}
			before := snapshot(t, path)

			c := open(t, path, "")
			defer c.Close()
			if got := query(t, c, "SELECT count(*) FROM t"); got == "" {
				t.Fatal("cannot read")
			}
			if _, err := os.Stat(path + "-pagetrail"); err == nil {
				t.Fatal("reading made a trail")
			}
			run(t, c, "UPDATE t SET a='new' WHERE id=1")
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			if id := agrees(t, r, c, path, "after the first write"); id != 2 {
				t.Fatalf("TXID %d after the base and one transaction", id)
			}
			if r.kinds[journal.Base] != 1 || r.kinds[journal.Ordinary] != 1 {
				t.Fatalf("kinds of records: %v", r.kinds)
			}
			first := newReplica(t, path+"-pagetrail")
			defer first.close()
			if got := first.upTo(1); !bytes.Equal(got, before) {
				t.Fatal("the base is not the database as it was")
			}
		})
	}
}

// TestOutsiders has the C sqlite3 shell write between and during our sessions.
func TestOutsiders(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := open(t, path, "")
			defer func() { c.Close() }()
			run(t, c, "PRAGMA journal_mode="+mode, schema,
				generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(300)"))
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			agrees(t, r, c, path, "at first")

			shell(t, path, "UPDATE t SET a='from outside' WHERE id%10=0;")
			run(t, c, "UPDATE t SET a='ours' WHERE id=3")
			agrees(t, r, c, path, "an outsider between our transactions")

			shell(t, path, "BEGIN; DELETE FROM t WHERE id>200; INSERT INTO t(a) VALUES('x'); COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")
			run(t, c, "UPDATE t SET a='ours' WHERE id=4")
			agrees(t, r, c, path, "an outsider who checkpointed")

			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			shell(t, path, "INSERT INTO t(a) VALUES('while we were away'); VACUUM;")
			c = open(t, path, "")
			run(t, c, "UPDATE t SET a='ours' WHERE id=5")
			agrees(t, r, c, path, "an outsider while we were away")
			if got := shell(t, path, "PRAGMA integrity_check;"); got != "ok" {
				t.Fatal(got)
			}
		})
	}
}

// TestDatabaseReplaced begins databases anew under an old trail.
func TestDatabaseReplaced(t *testing.T) {
	for _, size := range []string{"4096", "1024"} {
		path := filepath.Join(t.TempDir(), "x.db")
		c := open(t, path, "")
		run(t, c, schema, generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(300)"))
		r := newReplica(t, path+"-pagetrail")
		defer r.close()
		agrees(t, r, c, path, "before")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		c = open(t, path, "")
		run(t, c, "PRAGMA page_size="+size, "CREATE TABLE other(x)", "INSERT INTO other VALUES(1)")
		agrees(t, r, c, path, "after the database was deleted and made anew with pages of "+size)
		c.Close()
	}
}

// TestTwoDatabasesOneTransaction commits over two captured files at once.
func TestTwoDatabasesOneTransaction(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a.db"), filepath.Join(dir, "b.db")
	c := open(t, a, "")
	defer c.Close()
	run(t, c, "ATTACH 'file:"+b+"?vfs=pagetrail' AS b", "CREATE TABLE main.t(x)", "CREATE TABLE b.t(x)")
	run(t, c, "BEGIN", "INSERT INTO main.t VALUES(1)", "INSERT INTO b.t VALUES(2)", "COMMIT")
	var super []string
	for _, path := range []string{a, b} {
		trail, err := journal.Open(path+"-pagetrail", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer trail.Close()
		last, err := trail.Last()
		if err != nil {
			t.Fatal(err)
		}
		super = append(super, last.Super)
	}
	if super[0] == "" || super[0] != super[1] {
		t.Fatalf("names of the super-journal: %q", super)
	}
	for _, path := range []string{a, b} {
		r := newReplica(t, path+"-pagetrail")
		defer r.close()
		r.upTo(^journal.TXID(0))
		sameBytes(t, path, r.bytes(), readFile(t, path))
	}
}

// TestBackupInto has SQLite's backup API write into a captured database.
func TestBackupInto(t *testing.T) {
	for _, size := range []string{"4096", "8192"} {
		dir := t.TempDir()
		src, err := sqlite3.Open("file:" + filepath.Join(dir, "src.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		run(t, src, "PRAGMA page_size="+size, schema,
			generate("INSERT INTO t(a,b) SELECT hex(randomblob(20)), randomblob(300) FROM generate(300)"))
		path := filepath.Join(dir, "x.db")
		c := open(t, path, "")
		run(t, c, "CREATE TABLE old(x)")
		r := newReplica(t, path+"-pagetrail")
		defer r.close()
		agrees(t, r, c, path, "before")
		if err := src.Backup("main", "file:"+path+"?vfs=pagetrail"); err != nil {
			t.Fatal(err)
		}
		agrees(t, r, c, path, "after the backup of a database with pages of "+size)
		c.Close()
		if r.kinds[journal.CatchUp] != 0 {
			t.Errorf("the backup was not captured but found afterwards")
		}
	}
}

// noteOfLast is the note of the last transaction that a database's trail has.
func noteOfLast(t *testing.T, path string) string {
	t.Helper()
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	tx, err := trail.Last()
	if err != nil {
		t.Fatal(err)
	}
	return tx.Note
}

// TestPragmas uses notes, points, positions, and their Go API.
func TestPragmas(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := sql.Open("sqlite3", "file:"+path+"?vfs=pagetrail&_pragma=journal_mode("+mode+")")
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx := context.Background()
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		must := func(q string) (s string) {
			t.Helper()
			rows, err := conn.QueryContext(ctx, q)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			defer rows.Close()
			for rows.Next() {
				if err := rows.Scan(&s); err != nil {
					t.Fatal(err)
				}
			}
			return s
		}
		must("CREATE TABLE t(x)")
		must("PRAGMA pagetrail_note='the first row'")
		must("INSERT INTO t VALUES(1)")
		at := must("PRAGMA pagetrail_txid")
		if got := must("PRAGMA pagetrail_point='before the mistake'"); got != at {
			t.Fatalf("point at %s, TXID is %s", got, at)
		}
		must("DELETE FROM t")
		var pos journal.Position
		if err := json.Unmarshal([]byte(must("PRAGMA pagetrail_position")), &pos); err != nil {
			t.Fatal(err)
		}
		err = vfs.Raw(ctx, conn, func(d vfs.Database) error {
			p, err := d.Position()
			if err == nil && p != pos {
				t.Errorf("position %v by Go, %v by PRAGMA", p, pos)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var status vfs.Status
		if err := json.Unmarshal([]byte(must("PRAGMA pagetrail_status")), &status); err != nil {
			t.Fatal(err)
		}
		if !status.Captured || status.Problem != "" || status.Position != pos {
			t.Errorf("status %+v", status)
		}
		trail, err := journal.Open(path+"-pagetrail", nil)
		if err != nil {
			t.Fatal(err)
		}
		defer trail.Close()
		p, err := trail.FindPoint("before the mistake")
		if err != nil {
			t.Fatal(err)
		}
		tx, err := trail.Find(ctx, p.TXID)
		if err != nil || tx.Note != "the first row" {
			t.Fatalf("%s: transaction %d has the note %q, err %v", mode, p.TXID, tx.Note, err)
		}
		if note := noteOfLast(t, path); note != "" {
			t.Fatalf("the note was used twice: %q", note)
		}
		if _, err := conn.ExecContext(ctx, "PRAGMA pagetrail_nonsense"); err == nil {
			t.Error("an unknown pragma of ours was accepted")
		}
	}
}

// TestNoteTakenBack gives no text as a note, which database/sql can read the answer of as of any other.
func TestNoteTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := sql.Open("sqlite3", "file:"+path+"?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // the note is one connection's
	for _, nothing := range []string{"PRAGMA pagetrail_note=''", "PRAGMA pagetrail_note"} {
		if _, err := db.Exec("PRAGMA pagetrail_note='on second thoughts not'"); err != nil {
			t.Fatal(err)
		}
		rows, err := db.Query(nothing)
		if err != nil {
			t.Fatalf("%s: %v", nothing, err)
		}
		if cols, err := rows.Columns(); err != nil || len(cols) != 1 {
			t.Errorf("%s: columns %q, err %v", nothing, cols, err)
		}
		rows.Close()
		if _, err := db.Exec("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)"); err != nil {
			t.Fatal(err)
		}
		if note := noteOfLast(t, path); note != "" {
			t.Errorf("%s: the note is still %q", nothing, note)
		}
	}
}

// TestPassesThrough opens what is not captured.
func TestPassesThrough(t *testing.T) {
	c, err := sqlite3.Open("file:x?vfs=pagetrail&mode=memory")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	run(t, c, "CREATE TABLE t(x)", "CREATE TEMP TABLE tt(x)", "INSERT INTO t VALUES(1)")
	if _, err := os.Stat("x-pagetrail"); err == nil {
		t.Error("a database in memory has a trail")
	}
	path := filepath.Join(t.TempDir(), "x.db")
	d := open(t, path, "")
	defer d.Close()
	run(t, d, "PRAGMA temp_store=FILE", "CREATE TEMP TABLE tt(x)",
		generate("INSERT INTO tt SELECT randomblob(1000) FROM generate(5000)"), "SELECT * FROM tt ORDER BY x")
	if got := txid(t, d); got != 0 {
		t.Errorf("temporary tables made transactions up to %d", got)
	}
}

// TestTrailElsewhere puts the trail where the DSN says.
func TestTrailElsewhere(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.db")
	for _, trail := range []string{"history", filepath.Join(dir, "absolute"), "odd +%&#? name"} {
		// The checkpointer opens the database by itself, with the same trail.
		c := open(t, path, "&checkpoint=background&trail="+escaped(trail))
		run(t, c, "PRAGMA journal_mode=WAL", "CREATE TABLE IF NOT EXISTS t(x)", "INSERT INTO t VALUES(1)")
		c.Close()
		if !filepath.IsAbs(trail) {
			trail = filepath.Join(dir, trail)
		}
		r := newReplica(t, trail)
		defer r.close()
		r.upTo(^journal.TXID(0))
		sameBytes(t, trail, r.bytes(), readFile(t, path))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch e.Name() {
		case "x.db", "history", "absolute", "odd +%&#? name":
		default:
			t.Errorf("%s is there too", e.Name())
		}
	}
}

// escaped is s as the value of a parameter of a DSN.
func escaped(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

// TestModesOfFiles checks that nothing is more readable than the database.
func TestModesOfFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	c := open(t, path, "")
	defer c.Close()
	run(t, c, "PRAGMA journal_mode=PERSIST", schema, "PRAGMA journal_mode=WAL", "INSERT INTO t(a) VALUES('x')")
	names, err := filepath.Glob(path + "-pagetrail/*")
	if err != nil || len(names) < 3 {
		t.Fatalf("files of the trail: %v, %v", names, err)
	}
	for _, name := range append(names, path+"-wal", path+"-shm") {
		fi, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o, the database 600", filepath.Base(name), fi.Mode().Perm())
		}
	}
	if fi, err := os.Stat(path + "-pagetrail"); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("the trail's directory has mode %v, %v", fi.Mode(), err)
	}
}

// TestPanicBecomesAnError has a callback of the application panic in the
// middle of a commit.
func TestPanicBecomesAnError(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	plain, err := sqlite3.Open("file:" + path)
	if err != nil {
		t.Fatal(err)
	}
	run(t, plain, "CREATE TABLE t(x)", "INSERT INTO t VALUES(1)")
	plain.Close()
	panics := true
	err = vfs.Register("panicking", &vfs.Options{Progress: func(string, int64, int64) {
		if panics {
			panic("the application's own")
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	c, err := sqlite3.Open("file:" + path + "?vfs=panicking")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Exec("INSERT INTO t VALUES(2)"); err == nil {
		t.Fatal("the insert went through without a base")
	}
	panics = false
	run(t, c, "INSERT INTO t VALUES(3)")
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	agrees(t, r, c, path, "after the panic")
	if got := query(t, c, "SELECT group_concat(x) FROM t"); got != "1,3" {
		t.Fatalf("rows %s", got)
	}
}

// TestSameBytes does the same work with and without the VFS.
func TestSameBytes(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		var files [][]byte
		for _, vfs := range []string{"os", "pagetrail"} {
			path := filepath.Join(t.TempDir(), "x.db")
			c, err := sqlite3.Open("file:" + path + "?vfs=" + vfs)
			if err != nil {
				t.Fatal(err)
			}
			run(t, c, "PRAGMA journal_mode="+mode, "PRAGMA cache_size=20", schema)
			for range rounds(20) {
				run(t, c, generate("INSERT INTO t(a,b) SELECT i*7919%10007, zeroblob(i) FROM generate(300)"),
					"DELETE FROM t WHERE id%11=3", "UPDATE t SET a=id WHERE id%7=2")
			}
			run(t, c, "VACUUM", "DELETE FROM t WHERE id%2=0")
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			files = append(files, readFile(t, path))
		}
		if !bytes.Equal(files[0], files[1]) {
			t.Errorf("%s: the database is not the same with and without the VFS", mode)
		}
	}
}

// TestWithoutLocks captures a database that SQLite was told not to lock.
func TestWithoutLocks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&nolock=1")
	defer c.Close()
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	run(t, c, schema)
	agrees(t, r, c, path, "after the first transaction")
	run(t, c, "BEGIN", "INSERT INTO t(a) VALUES('x')", "ROLLBACK", "INSERT INTO t(a) VALUES('y')")
	agrees(t, r, c, path, "after a rollback")
	if r.kinds[journal.CatchUp] != 0 {
		t.Error("transactions were found afterwards, not captured")
	}
}
