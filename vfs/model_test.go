package vfs_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"pgregory.net/rapid"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// model drives one database through random work over all modes and compares
// the trail with it after every step.
type model struct {
	t      *rapid.T
	path   string
	vfs    string
	params string
	conns  []*sqlite3.Conn
	r      *replica
	last   journal.TXID
	seen   map[journal.TXID][]byte
	inTx   bool
}

func (m *model) conn() *sqlite3.Conn { return m.conns[0] }

// try runs SQL that may be refused (busy, a mode that does not allow it).
func (m *model) try(sql string) error {
	m.t.Logf("%s", sql)
	return m.conn().Exec(sql)
}

func (m *model) check() {
	if m.inTx {
		return
	}
	id := txid(m.t, m.conn())
	if id < m.last {
		m.t.Fatalf("TXID went from %d back to %d", m.last, id)
	}
	m.last = id
	if id == 0 {
		return
	}
	want := snapshot(m.t, m.path)
	sameBytes(m.t, fmt.Sprintf("TXID %d", id), m.r.at(id), want)
	m.seen[id] = want
}

func (m *model) Check(*rapid.T) { m.check() }

func (m *model) Write(t *rapid.T) {
	n := rapid.IntRange(1, 60).Draw(t, "rows")
	size := rapid.SampledFrom([]int{0, 1, 20, 300, 3000, 20000}).Draw(t, "size")
	sql := rapid.SampledFrom([]string{
		"INSERT INTO t(a,b) SELECT hex(randomblob(8)), randomblob($size) FROM generate($n)",
		"INSERT INTO t(a,b) SELECT hex(randomblob(8)), zeroblob($size) FROM generate($n)",
		"UPDATE t SET a=hex(randomblob(9)), b=randomblob($size) WHERE id%17=$n%17",
		"UPDATE t SET a=a",
		"SAVEPOINT same; UPDATE t SET a=lower(a); UPDATE t SET a=upper(a); RELEASE same",
		"DELETE FROM t WHERE id%13=$n%13",
		"DELETE FROM t",
		"CREATE TABLE IF NOT EXISTS u$n(x PRIMARY KEY) WITHOUT ROWID",
		"DROP TABLE IF EXISTS u$n",
	}).Draw(t, "sql")
	m.try(generate(strings.NewReplacer("$n", strconv.Itoa(n), "$size", strconv.Itoa(size)).Replace(sql)))
}

func (m *model) Transaction(t *rapid.T) {
	if m.inTx {
		m.try(rapid.SampledFrom([]string{"COMMIT", "ROLLBACK"}).Draw(t, "end"))
		m.inTx = !m.conn().GetAutocommit()
		return
	}
	m.try(rapid.SampledFrom([]string{"BEGIN", "BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"}).Draw(t, "begin"))
	m.inTx = !m.conn().GetAutocommit()
}

func (m *model) Savepoint(t *rapid.T) {
	if m.inTx {
		m.try(rapid.SampledFrom([]string{"SAVEPOINT s", "ROLLBACK TO s", "RELEASE s"}).Draw(t, "savepoint"))
	}
}

func (m *model) Pragma(t *rapid.T) {
	if m.inTx {
		return
	}
	m.try(rapid.SampledFrom([]string{
		"PRAGMA cache_size=5", "PRAGMA cache_size=-2000", "PRAGMA cache_spill=1",
		"PRAGMA synchronous=OFF", "PRAGMA synchronous=NORMAL", "PRAGMA synchronous=FULL", "PRAGMA synchronous=EXTRA",
		"PRAGMA journal_mode=DELETE", "PRAGMA journal_mode=TRUNCATE", "PRAGMA journal_mode=PERSIST",
		"PRAGMA journal_mode=MEMORY", "PRAGMA journal_mode=WAL", "PRAGMA journal_mode=WAL",
		"PRAGMA locking_mode=EXCLUSIVE", "PRAGMA locking_mode=NORMAL",
		"PRAGMA wal_checkpoint(PASSIVE)", "PRAGMA wal_checkpoint(FULL)", "PRAGMA wal_checkpoint(RESTART)", "PRAGMA wal_checkpoint(TRUNCATE)",
		"PRAGMA wal_autocheckpoint=3", "PRAGMA wal_autocheckpoint=1000",
		"PRAGMA auto_vacuum=0", "PRAGMA auto_vacuum=1", "PRAGMA auto_vacuum=2", "PRAGMA incremental_vacuum(3)",
		"PRAGMA secure_delete=1", "PRAGMA user_version=7", "REINDEX", "ANALYZE",
	}).Draw(t, "pragma"))
}

func (m *model) Vacuum(t *rapid.T) {
	if m.inTx {
		return
	}
	size := rapid.SampledFrom([]int{0, 0, 512, 1024, 4096, 8192, 65536}).Draw(t, "page size")
	if size != 0 {
		m.try(fmt.Sprintf("PRAGMA page_size=%d", size))
	}
	m.try("VACUUM")
}

func (m *model) Reopen(t *rapid.T) {
	m.inTx = false
	m.t.Logf("close and open")
	for _, c := range m.conns {
		c.Close()
	}
	m.conns = []*sqlite3.Conn{openBy(m.t, m.vfs, m.path, m.params)}
	for range rapid.IntRange(0, 2).Draw(t, "more connections") {
		m.conns = append(m.conns, openBy(m.t, m.vfs, m.path, m.params))
	}
}

func (m *model) Switch(t *rapid.T) {
	if !m.inTx && len(m.conns) > 1 {
		m.conns = append(m.conns[1:], m.conns[0])
	}
}

func TestModel(t *testing.T) {
	// Transactions are small here, so they are many groups, or one for each page.
	for name, size := range map[string]int{"groups": 4 << 10, "pages": 1} {
		if err := vfs.Register(name, &vfs.Options{GroupBytes: size}); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "model")
		if err != nil {
			t.Fatalf("%v", err)
		}
		defer os.RemoveAll(dir)
		m := &model{
			t: t, path: filepath.Join(dir, "x.db"), seen: map[journal.TXID][]byte{},
			vfs:    rapid.SampledFrom([]string{vfs.Name, "groups", "pages"}).Draw(t, "vfs"),
			params: rapid.SampledFrom([]string{"", "&encode=inline"}).Draw(t, "params"),
		}
		m.conns = []*sqlite3.Conn{openBy(t, m.vfs, m.path, m.params)}
		m.r = newReplica(t, m.path+"-pagetrail")
		defer func() {
			m.r.close()
			for _, c := range m.conns {
				c.Close()
			}
		}()
		run(t, m.conn(), fmt.Sprintf("PRAGMA page_size=%d", rapid.SampledFrom([]int{512, 1024, 4096, 65536}).Draw(t, "page size")))
		run(t, m.conn(), "CREATE TABLE t(id INTEGER PRIMARY KEY, a TEXT, b BLOB); CREATE INDEX ta ON t(a)")
		t.Repeat(map[string]func(*rapid.T){
			"":      m.Check,
			"write": m.Write, "write2": m.Write, "write3": m.Write, "tx": m.Transaction, "savepoint": m.Savepoint,
			"pragma": m.Pragma, "vacuum": m.Vacuum, "reopen": m.Reopen, "switch": m.Switch,
		})
		if n := m.r.kinds[journal.CatchUp]; n != 0 {
			t.Fatalf("%d catch-up records, and nobody but us wrote", n)
		}
		m.hydrateAll(dir)
	})
}

// hydrateAll makes the database of each TXID and of each time anew.
func (m *model) hydrateAll(dir string) {
	if len(m.seen) == 0 {
		return
	}
	ctx := context.Background()
	trail, err := journal.Open(m.path+"-pagetrail", nil)
	if err != nil {
		m.t.Fatalf("%v", err)
	}
	defer trail.Close()
	out := filepath.Join(dir, "hydrated.db")
	for id, want := range m.seen {
		tx, err := trail.Find(ctx, id)
		if err != nil {
			m.t.Fatalf("find %d: %v", id, err)
		}
		for _, target := range []apply.Target{apply.AtTXID(id), apply.AtTime(tx.Time)} {
			if _, err := apply.Hydrate(ctx, trail, out, target, &apply.Options{Force: true}); err != nil {
				m.t.Fatalf("hydrate %v: %v", target, err)
			}
			sameBytes(m.t, fmt.Sprintf("hydrated at %v", target), readFile(m.t, out), want)
		}
	}
}
