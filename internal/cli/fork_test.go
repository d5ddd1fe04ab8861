package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/journal"
)

// Transactions that were shipped and lost are a branch: log and status say so, and the branch is a trail to every verb.
func TestFork(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	write := func(sqls ...string) []byte {
		t.Helper()
		conn, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=pagetrail")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		for _, sql := range sqls {
			if err := conn.Exec(sql); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(db)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	before := write("CREATE TABLE t (a)", "INSERT INTO t VALUES (1)")
	lost := write("INSERT INTO t VALUES (2)", "INSERT INTO t VALUES (3)")
	trail := db + "-pagetrail"
	takeBack(t, trail, 2)
	if err := os.WriteFile(db, before, 0o644); err != nil {
		t.Fatal(err)
	}
	now := write("INSERT INTO t VALUES (4)")

	matches := func(want string, args ...string) {
		t.Helper()
		r := run(t, t.Context(), nil, args...)
		if r.code != cli.Done || !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("%q: code %d, stderr %q, no %q in:\n%s", args, r.code, r.err, want, r.out)
		}
	}
	branch := filepath.Join(trail, "branch-00000001")
	fork := `── timeline 2 ── it goes on without 3 to 4 of timeline 1; kept in branch-00000001 ──`
	matches(`(?s)\n +2 .*\n.*`+fork+`.*\n +3 `, "log", db)
	matches(`(?s)\n +3 .*\n.*`+fork+`.*\n +2 `, "log", db, "--reverse")
	json := `\{"timeline":2,"after":2,"lost":2,"branch":"[^"]*branch-00000001"\}`
	matches(`(?s)"txid":2,.*\n`+json+`\n\{"txid":3,`, "log", db, "--json")
	matches(`(?m)^  identity .* timeline 2, `, "status", db)
	matches(`(?m)^  parent +timeline 1 after transaction 2$`, "status", db)
	matches(`(?m)^  fork +it goes on without 3 to 4 of timeline 1; kept in branch-00000001$`, "status", db)
	matches(`"parent":\{"database":"[0-9a-f]{32}","timeline":1,"txid":2,"sum":"[0-9a-f]{32}"\},"forks":\[`+json+`\]`, "status", db, "--json")
	matches(`(?m)^ +4 `, "log", branch)
	matches(`is sound`, "verify", branch)
	matches(`is sound`, "verify", db)
	for out, c := range map[string]struct {
		arg  string
		want []byte
	}{"lost.db": {branch, lost}, "now.db": {trail, now}} {
		name := filepath.Join(dir, out)
		matches(``, "hydrate", c.arg, "-o", name)
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("hydrate %s: %v, or other bytes than the database had", c.arg, err)
		}
	}

	// The next fork is of a trail that does not have what was shipped.
	takeBack(t, trail, 3)
	bare := filepath.Join(trail, "branch-00000002")
	matches(`(?m)^  fork +it goes on without what was shipped of timeline 2 after 3, which this trail lost too$`, "status", db)
	if r := run(t, t.Context(), nil, "log", bare); r.code != cli.Nothing || !regexp.MustCompile(`the transactions after 3 of timeline 2 are not here`).MatchString(r.err) {
		t.Errorf("log of a branch without transactions: code %d, stderr %q", r.code, r.err)
	}
}

// takeBack has the trail lose the transactions after id, of which one more than there is was shipped.
func takeBack(t *testing.T, trail string, id journal.TXID) {
	t.Helper()
	w, err := journal.OpenWriter(trail, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	m, err := journal.OpenShipMark(trail, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Mark(w.Identity().Timeline, journal.Shipped{TXID: w.Last().TXID + 1}, nil); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.TakeBack(id); err != nil {
		t.Fatal(err)
	}
}
