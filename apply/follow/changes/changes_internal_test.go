package changes

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

type primary struct {
	t    testing.TB
	path string
	c    *sqlite3.Conn
}

func newPrimary(t testing.TB, sqls ...string) *primary {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	p := &primary{t, path, c}
	p.exec("PRAGMA synchronous=OFF")
	for _, sql := range sqls {
		p.exec(sql)
	}
	return p
}

func (p *primary) exec(sql string) {
	p.t.Helper()
	if err := p.c.Exec(sql); err != nil {
		p.t.Fatalf("%.100s: %v", sql, err)
	}
}

func (p *primary) source() follow.Source {
	p.t.Helper()
	if err := p.c.Exec("PRAGMA pagetrail_txid"); err != nil { // its record is there from then on
		p.t.Fatal(err)
	}
	trail, err := journal.Open(p.path+"-pagetrail", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { trail.Close() })
	return follow.TrailSource(trail, "")
}

// check compares the map with one that is made anew.
func (f *feed) check(t *testing.T, what string) {
	t.Helper()
	var fresh owners
	if err := fresh.walk(context.Background(), f.state); err != nil {
		t.Fatal(err)
	}
	for no, id := range fresh.of {
		if id == 0 {
			continue
		}
		own := f.m.get(uint32(no))
		if f.m.names[own] != fresh.names[id] || f.m.chain[no] != fresh.chain[no] {
			t.Fatalf("%s: page %d is of %q (chain %v), and the map says %q (chain %v)",
				what, no, fresh.names[id], fresh.chain[no], f.m.names[own], f.m.chain[no])
		}
	}
}

// TestTables changes tables at random, with rows that overflow, indexes, freed
// and reused pages, and now and then another schema. The feed names exactly the
// tables that the statements of each transaction changed, and its map is that of
// the whole database.
func TestTables(t *testing.T) {
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		p := newPrimary(t, fmt.Sprintf("PRAGMA auto_vacuum=%d", seed%3), "PRAGMA page_size=512", "PRAGMA journal_mode="+[]string{"WAL", "DELETE"}[seed%2])
		tables := []string{"a", "b", "c", "d"}
		for _, name := range tables {
			p.exec(fmt.Sprintf("CREATE TABLE %s(id INTEGER PRIMARY KEY, x, y); CREATE INDEX i%[1]s ON %[1]s(x)", name))
		}
		src := p.source()
		f := &feed{src: src, o: Options{}}
		defer f.close()
		var got []Change
		yield := func(c Change) bool { got = append(got, c); return true }
		if _, err := f.look(t.Context(), yield); err != nil {
			t.Fatal(err)
		}
		rows := map[string]int{}
		for step := range 80 {
			want := map[string]bool{}
			p.exec("BEGIN")
			for range 1 + rnd.IntN(3) {
				name := tables[rnd.IntN(len(tables))]
				switch {
				case rnd.IntN(3) > 0 || rows[name] == 0:
					p.exec(fmt.Sprintf("INSERT INTO %s(x, y) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<%d) SELECT random(), randomblob(%d) FROM n",
						name, 1+rnd.IntN(12), rnd.IntN(4)*rnd.IntN(900)))
				default:
					p.exec(fmt.Sprintf("DELETE FROM %s WHERE id IN (SELECT id FROM %[1]s ORDER BY random() LIMIT %d)", name, 1+rnd.IntN(10)))
				}
				rows[name] = int(p.c.Changes())
				if rows[name] > 0 {
					want[name] = true
				}
			}
			if rnd.IntN(25) == 0 {
				p.exec(fmt.Sprintf("CREATE TABLE e%d(id INTEGER PRIMARY KEY, x, y)", step))
				want[schemaTable] = true
			}
			p.exec("COMMIT")
			p.exec("PRAGMA pagetrail_txid")
			got = nil
			if _, err := f.look(t.Context(), yield); err != nil {
				t.Fatal(err)
			}
			f.check(t, fmt.Sprintf("seed %d, step %d", seed, step))
			var named []string
			for _, c := range got {
				named = append(named, c.Tables...)
			}
			for name := range want {
				if !slices.Contains(named, name) {
					t.Fatalf("seed %d, step %d: %v changed, and %v are named", seed, step, want, named)
				}
			}
			for _, name := range named {
				if !want[name] && !want[schemaTable] && seed%3 == 0 { // auto_vacuum moves pages of others
					t.Fatalf("seed %d, step %d: only %v changed, and %v are named", seed, step, want, named)
				}
			}
		}
		p.exec("VACUUM")
		p.exec("PRAGMA pagetrail_txid")
		if _, err := f.look(t.Context(), yield); err != nil {
			t.Fatal(err)
		}
		f.check(t, "after VACUUM")
	}
}

// TestFeed: from a transaction, from the start, live, and through a transaction
// that is not made of patches.
func TestFeed(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE a(x)", "CREATE TABLE b(x)")
	p.exec("INSERT INTO a VALUES(1)")
	p.exec("PRAGMA pagetrail_note='hello'; INSERT INTO b VALUES(1)")
	all := func(o *Options) (out []string) {
		t.Helper()
		o.Once = true
		for c, err := range Feed(t.Context(), p.source(), o) {
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(c.Position.TXID, c.Tables, c.All, c.Note))
		}
		return out
	}
	if got := all(&Options{After: 2}); fmt.Sprint(got) != "[3 [a] false 4 [b] falsehello]" {
		t.Errorf("after 2: %q", got)
	}
	if got := all(&Options{FromStart: true}); len(got) != 4 {
		t.Errorf("from the start: %q", got)
	}
	if got := all(&Options{}); len(got) != 0 {
		t.Errorf("what comes: %q", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	src := p.source()
	for c, err := range Feed(ctx, waking{src, func() { p.exec("INSERT INTO a VALUES(2); PRAGMA pagetrail_txid") }}, nil) {
		if err != nil || fmt.Sprint(c.Tables) != "[a]" {
			t.Fatal(c, err)
		}
		if n++; n == 3 {
			break
		}
	}
}

// waking is a source whose primary commits whenever there is nothing new.
type waking struct {
	follow.Source
	commit func()
}

func (w waking) Refresh(ctx context.Context) (journal.Tx, error) {
	tx, err := w.Source.Refresh(ctx)
	w.commit()
	return tx, err
}
