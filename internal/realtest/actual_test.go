//go:build real

package realtest_test

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/journal"
)

// actual is what the npm package of Actual Budget ships.
type actual struct {
	version    string
	database   []byte
	migrations []migration
}

type migration struct{ name, sql string }

// fetchActual has npm pack the package into a temporary directory; it is never committed.
func fetchActual(t *testing.T) actual {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIPPED: npm is not installed, so the package @actual-app/api cannot be had")
	}
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "npm", "pack", "--silent", "--fetch-retries=0", "@actual-app/api")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Skipf("SKIPPED: the package @actual-app/api cannot be had: %v: %.300s", err, out)
	}
	name := strings.TrimSpace(string(out))
	name = name[strings.LastIndexByte(name, '\n')+1:]
	a, err := unpack(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	a.version = strings.TrimSuffix(name, ".tgz")
	if len(a.database) == 0 || len(a.migrations) < 20 {
		t.Fatalf("%s: %d bytes of database and %d migrations: the package is not what it was", name, len(a.database), len(a.migrations))
	}
	return a
}

func unpack(name string) (actual, error) {
	var a actual
	f, err := os.Open(name)
	if err != nil {
		return a, err
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		return a, err
	}
	for files := tar.NewReader(zip); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return a, err
		}
		dir, base := path.Split(header.Name)
		data, err := io.ReadAll(io.LimitReader(files, 16<<20))
		if err != nil {
			return a, err
		}
		switch {
		case base == "default-db.sqlite":
			a.database = data
		case path.Base(dir) != "migrations":
		case path.Ext(base) == ".sql":
			a.migrations = append(a.migrations, migration{base, string(data)})
		case path.Ext(base) == ".js":
			a.migrations = append(a.migrations, migration{base, scriptSQL(string(data))})
		}
	}
	slices.SortFunc(a.migrations, func(x, y migration) int { return strings.Compare(x.name, y.name) })
	return a, nil
}

var (
	execQuery   = regexp.MustCompile("db\\.execQuery\\(\\s*`([^`]*)`")
	placeholder = regexp.MustCompile(`\$\{[^}]*\}`)
)

// scriptSQL is the SQL of the few migrations that are JavaScript: the scripts that they execute,
// with numbered names for the identities that they would draw. What they do to rows one by one,
// in the program, is left out.
func scriptSQL(js string) string {
	var sql []string
	n := 0
	for _, match := range execQuery.FindAllStringSubmatch(js, -1) {
		sql = append(sql, placeholder.ReplaceAllStringFunc(match[1], func(string) string {
			n++
			return fmt.Sprintf("00000000-0000-4000-8000-%012d", n)
		}))
	}
	return strings.Join(sql, ";\n")
}

// household fills the database as years of keeping a budget do, so that the migrations have rows
// to move: some 300 KB in 60 transactions.
func household(p *primary) {
	p.exec(`INSERT INTO accounts(id,name,type) VALUES('a1','Giro','checking'),('a2','Savings','savings'),('a3','Cash','other')`)
	p.exec(`INSERT INTO category_groups(id,name,sort_order) ` + count(5) + ` SELECT 'g'||n,'Group '||n,n FROM counted`)
	p.exec(`INSERT INTO categories(id,name,cat_group,sort_order) ` + count(30) + ` SELECT 'c'||n,'Category '||n,'g'||(n%5+1),n FROM counted`)
	for month := range 48 {
		day := (2016+month/12)*10000 + (month%12+1)*100
		p.exec(fmt.Sprintf(`BEGIN;
			INSERT INTO transactions(id,acct,category,amount,description,notes,date,sort_order) %[1]s
				SELECT printf('t%%03d-%%04d',%[2]d,n),'a'||(n%%3+1),'c'||(n%%30+1),-n*37%%9000,'payee '||(n*7%%40),
				printf('note %%d of month %%d',n,%[2]d),%[3]d+n%%28+1,n FROM counted;
			INSERT INTO spreadsheet_cells %[4]s SELECT printf('budget%%d!budget-c%%d',%[3]d,n),NULL,n*1000 FROM counted;
			COMMIT`, count(30+month), month, day, count(30)))
	}
	p.exec(`UPDATE transactions SET notes=NULL WHERE amount%11=0`)
	p.exec(`DELETE FROM transactions WHERE amount%13=0`)
}

// count is a WITH clause that makes counted(n), the numbers 1 to last.
func count(last int) string {
	return fmt.Sprintf("WITH RECURSIVE counted(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM counted WHERE n<%d)", last)
}

func TestActualBudgetMigrations(t *testing.T) {
	budget := fetchActual(t)
	all := judges(t)
	t.Logf("%s: a database of %d bytes and %d migrations", budget.version, len(budget.database), len(budget.migrations))
	for _, mode := range []string{"wal", "delete"} {
		t.Run(mode, func(t *testing.T) { migrate(t, budget, mode, all) })
	}
}

// migrate runs all migrations in a journal mode and takes copies on the way: after each migration
// in WAL, where a copy takes a checkpoint, and after every single statement that committed in the
// rollback mode, where the file is the state.
func migrate(t *testing.T, budget actual, mode string, all []judge) {
	file := filepath.Join(t.TempDir(), "budget.db")
	if err := os.WriteFile(file, budget.database, 0o644); err != nil {
		t.Fatal(err)
	}
	p := openPrimary(t, file)
	copies := map[journal.TXID][]byte{}
	keep := func() {
		// Before the first write nothing is captured, and there is no transaction to ask for.
		if id := p.txid(); id > 0 && copies[id] == nil {
			copies[id] = p.content()
		}
	}
	p.exec("PRAGMA journal_mode=" + mode)
	keep()
	household(p)
	keep()
	for _, m := range budget.migrations {
		err := script(p.conn, m.sql, func() {
			if mode == "delete" {
				keep()
			}
		})
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		p.exec(fmt.Sprintf("INSERT OR IGNORE INTO __migrations__ VALUES(%s)", m.name[:strings.IndexByte(m.name, '_')]))
		keep()
	}
	last := p.txid()
	compareEvery(t, p, copies, last, all)
}

// script runs SQL statement by statement and calls committed after each that left no transaction open.
func script(conn *sqlite3.Conn, sql string, committed func()) error {
	for sql != "" {
		stmt, tail, err := conn.Prepare(sql)
		if err != nil {
			return fmt.Errorf("%.80q: %w", strings.TrimSpace(sql), err)
		}
		sql = tail
		if stmt == nil {
			continue
		}
		if err := errors.Join(stmt.Exec(), stmt.Close()); err != nil {
			return fmt.Errorf("%.80q: %w", stmt.SQL(), err)
		}
		if conn.GetAutocommit() {
			committed()
		}
	}
	return nil
}

// compareEvery hydrates every TXID, has the judges look at each, and compares those with a copy.
func compareEvery(t *testing.T, p *primary, copies map[journal.TXID][]byte, last journal.TXID, all []judge) {
	trail := p.trail()
	defer trail.Close()
	window, err := trail.Window(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(window.Spans) != 1 || len(window.Gaps) != 0 || window.Spans[0].Last != last {
		t.Fatalf("the window of the trail is %+v, want one span up to %d", window, last)
	}
	compared := 0
	var replicas []string
	for id := max(window.Spans[0].First, 1); id <= last; id++ {
		name := p.hydrate(trail, id)
		replicas = append(replicas, name)
		if want := copies[id]; want != nil {
			same(t, fmt.Sprintf("TXID %d", id), read(t, name), want)
			compared++
		}
	}
	if compared != len(copies) {
		t.Errorf("%d of %d copies were compared: the others have TXIDs that the trail does not", compared, len(copies))
	}
	// The judges read the replicas, and what is in the last is what they read in the primary.
	content := judged(t, all, replicas...)
	for name, hash := range judged(t, all, p.path) {
		if content[name] != hash {
			t.Errorf("%s reads something else in the last replica than in the primary", name)
		}
	}
	p.verified(trail)
	t.Logf("%d TXIDs hydrated and judged by %d others, %d compared byte for byte", len(replicas), len(all), compared)
}
