package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// rows is the answer to a query of one value, by SQLite without the VFS.
func rows(t *testing.T, db, query string) string {
	t.Helper()
	c, err := sqlite3.Open("file:" + filepath.ToSlash(db))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, _, err := c.Prepare(query)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Step() {
		t.Fatalf("%s: no row: %v", query, s.Err())
	}
	return s.ColumnText(0)
}

// A database is taken back where it is, while a program has it open, and the change is taken back in turn.
func TestRewind(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	written(t, db, "PRAGMA journal_mode=wal", "CREATE TABLE t(a)", "INSERT INTO t VALUES(1),(2),(3)")
	wanted(t, cli.Done, "transaction 3 is deploy", "points", db, "--name", "deploy")
	written(t, db, "DELETE FROM t", "INSERT INTO t VALUES('later')")
	open, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	// Who asks for the position waits until the trail has it.
	if err := open.Exec("INSERT INTO t VALUES('last'); PRAGMA pagetrail_txid"); err != nil {
		t.Fatal(err)
	}

	_, out, _ := runHere(t, "rewind", db, "--point", "deploy", "-n")
	if !strings.Contains(out, "would again be transaction 3") || !strings.Contains(out, "3 transactions, 4 to 6") {
		t.Errorf("--dry-run says %q", out)
	}
	if got := rows(t, db, "SELECT group_concat(a) FROM t"); got != "later,last" {
		t.Fatalf("--dry-run changed the rows to %s", got)
	}
	code, out, errs := runHere(t, "rewind", db, "--point", "deploy")
	if code != cli.Done || !strings.Contains(out, "is again transaction 3") || !strings.Contains(out, "--txid 6") {
		t.Fatalf("code %d, %q, %q", code, out, errs)
	}
	if got := rows(t, db, "SELECT group_concat(a) FROM t"); got != "1,2,3" {
		t.Errorf("taken back the rows are %s", got)
	}
	if err := open.Exec("INSERT INTO t VALUES(4)"); err != nil {
		t.Errorf("the program that has it open: %v", err)
	}
	_, out, _ = runHere(t, "rewind", db, "--txid", "6", "--json")
	var answer struct {
		Transaction  struct{ TXID uint64 }
		Undone, TXID uint64
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.Transaction.TXID != 6 || answer.Undone != 2 || answer.TXID != 9 {
		t.Errorf("--json says %s, %v", out, err)
	}
	if got := rows(t, db, "SELECT group_concat(a) FROM t"); got != "later,last" {
		t.Errorf("with the rewind taken back the rows are %s", got)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	wanted(t, cli.Done, "", "verify", "--deep", db)
}

// What the trail does not reach back to, or not any more, is read from the archive.
func TestRewindFromArchive(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	url := "file://" + filepath.ToSlash(filepath.Join(dir, "store"))
	written(t, db, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)")
	wanted(t, cli.Done, "", "ship", db, "--to", url, "--once")
	moved := filepath.Join(dir, "moved.db")
	wanted(t, cli.Done, "", "hydrate", url, "-o", moved, "--continue")
	written(t, moved, "DELETE FROM t")
	wanted(t, cli.Nothing, "--from URL", "rewind", moved, "--txid", "2")
	wanted(t, cli.Done, "", "rewind", moved, "--txid", "2", "--from", url)
	if got := rows(t, moved, "SELECT group_concat(a) FROM t"); got != "1" {
		t.Errorf("taken back the rows are %s", got)
	}

	other := filepath.Join(dir, "other.db")
	written(t, other, "CREATE TABLE u(a)")
	wanted(t, cli.Usage, "another database", "rewind", other, "--txid", "2", "--from", url)
}

func TestRewindRefused(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	written(t, db, "PRAGMA page_size=1024", "CREATE TABLE t(a)", "PRAGMA page_size=4096", "VACUUM", "PRAGMA journal_mode=wal", "INSERT INTO t VALUES(1)")
	for _, c := range []struct {
		code cli.Code
		says string
		args []string
	}{
		{cli.Usage, "to which moment", []string{db}},
		{cli.Usage, "which database", []string{db, db, "--txid", "1"}},
		{cli.Usage, "--from s3://backups/app", []string{"s3://backups/app", "--txid", "1"}},
		{cli.Usage, "is no URL", []string{db, "--txid", "1", "--from", dir}},
		{cli.Usage, "is a trail", []string{db + "-pagetrail", "--txid", "1"}},
		{cli.Nothing, "--txid 4", []string{db, "--txid", "77"}},
		{cli.Nothing, "pagetrail points", []string{db, "--point", "none"}},
		{cli.Failed, "1024 bytes then and have 4096 now", []string{db, "--txid", "1"}},
	} {
		wanted(t, c.code, c.says, append([]string{"rewind"}, c.args...)...)
	}
	if got := rows(t, db, "SELECT count(*) FROM t"); got != "1" {
		t.Errorf("%s rows", got)
	}
	replica := filepath.Join(dir, "replica.db")
	wanted(t, cli.Done, "", "follow", db, replica, "--once")
	wanted(t, cli.Usage, "rewind the primary", "rewind", replica, "--txid", "1")
	if err := os.WriteFile(db, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	wanted(t, cli.Failed, "pagetrail hydrate", "rewind", db, "--txid", "4")
	if err := os.Remove(db); err != nil {
		t.Fatal(err)
	}
	wanted(t, cli.Nothing, "pagetrail hydrate", "rewind", db, "--txid", "2")
}
