package cli_test

import (
	"bytes"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/internal/query"
	"github.com/pagetrail/pagetrail/journal"
)

// lived makes a database with a trail: growth, splits, deletes, pages given back, VACUUM.
func lived(t *testing.T, mode string) string {
	t.Helper()
	db := filepath.Join(t.TempDir(), "my app.db")
	c, err := sqlite3.Open((&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(db), RawQuery: "vfs=pagetrail"}).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stmts := []string{
		"PRAGMA page_size=1024", "PRAGMA auto_vacuum=incremental", "PRAGMA journal_mode=" + mode,
		"CREATE TABLE item(id INTEGER PRIMARY KEY, k BLOB, body TEXT)", "CREATE INDEX item_k ON item(k)",
	}
	for i := range 120 {
		stmts = append(stmts, fmt.Sprintf("INSERT INTO item(k, body) SELECT randomblob(12), hex(randomblob(%d)) FROM (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20) SELECT i FROM n)", 20+i))
		switch {
		case i%10 == 5:
			stmts = append(stmts, "UPDATE item SET body=body||'x' WHERE id%7=3")
		case i%25 == 20:
			stmts = append(stmts, "DELETE FROM item WHERE id%3=1", "PRAGMA incremental_vacuum(200)")
		case i == 70:
			stmts = append(stmts, "VACUUM")
		}
	}
	for _, s := range stmts {
		if err := c.Exec(s); err != nil {
			t.Fatal(s, err)
		}
	}
	return db
}

// TestViewsOfSQLite compares views, page by page, of what SQLite did with hydrated files, and asks them.
func TestViewsOfSQLite(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) {
			db := lived(t, mode)
			if _, err := journal.Seal(t.Context(), db+"-pagetrail", nil); err != nil {
				t.Fatal(err)
			}
			trail, err := journal.Open(db+"-pagetrail", nil)
			if err != nil {
				t.Fatal(err)
			}
			defer trail.Close()
			last, err := trail.Last()
			if err != nil {
				t.Fatal(err)
			}
			pieces := 0
			for id := last.TXID % 7; id <= last.TXID; id += 7 {
				if !viewIs(t, trail, id).Whole {
					pieces++
				}
			}
			if pieces < 10 {
				t.Errorf("%d views were read page by page", pieces)
			}
		})
	}
}

// viewIs compares a view with a hydrated file.
func viewIs(t *testing.T, trail *journal.Trail, id journal.TXID) asof.Stats {
	t.Helper()
	out := filepath.Join(t.TempDir(), "was.db")
	if _, err := apply.Hydrate(t.Context(), trail, out, apply.AtTXID(id), nil); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	view, err := asof.Open(t.Context(), trail, apply.AtTXID(id), &asof.Options{WholeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	var answer string
	err = query.Ask(t.Context(), view, "PRAGMA integrity_check", func([]string) error { return nil }, func(r query.Row) error {
		answer += r.Text(0)
		return nil
	})
	if err != nil || answer != "ok" {
		t.Fatalf("transaction %d: integrity_check: %s, %v", id, answer, err)
	}
	got := make([]byte, len(want))
	if n, err := view.ReadAt(got, 0); n != len(want) || err != nil || !bytes.Equal(got, want) {
		t.Fatalf("transaction %d: the view is another than the hydrated file (%d bytes, %v)", id, n, err)
	}
	return view.Stats()
}

// TestAsOfVFS opens moments by their DSN.
func TestAsOfVFS(t *testing.T) {
	db := lived(t, "wal")
	code, out, errs := runHere(t, "query", db, "SELECT count(*) AS n FROM item", "--txid", "40", "--json")
	if code != 0 {
		t.Fatal(errs)
	}
	if err := os.Rename(db, db+".gone"); err != nil { // it is the trail that is read
		t.Fatal(err)
	}
	dsn := func(params string) string {
		return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(db), RawQuery: "vfs=" + asof.Name + params}).String()
	}
	pool, err := sql.Open("sqlite3", dsn("&txid=40"))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	rows, err := pool.Query("SELECT count(*) FROM item UNION ALL SELECT count(*) FROM item") // one connection is busy
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var n int
	if err := pool.QueryRow("SELECT count(*) FROM item").Scan(&n); err != nil || fmt.Sprintf("{\"n\":%d}\n", n) != out {
		t.Errorf("%d rows, %v; pagetrail query says %s", n, err, out)
	}
	if _, err := pool.Exec("DELETE FROM item"); err == nil {
		t.Error("the past was changed")
	}
	for params, want := range map[string]string{
		"":                      "unable to open",
		"&txid=40&at=now":       "unable to open",
		"&txid=x":               "unable to open",
		"&at=yesterday":         "unable to open",
		"&point=nix":            "unable to open",
		"&txid=9999":            "unable to open",
		"&txid=4&trail=/no/dir": "unable to open",
	} {
		c, err := sqlite3.Open(dsn(params))
		if err == nil {
			c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", params, err)
		}
	}
}
