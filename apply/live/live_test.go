package live_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	_ "github.com/ncruces/go-sqlite3/driver"

	"github.com/pagetrail/pagetrail/apply/live"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// open opens a database with one connection, through the VFS or past it.
func open(t testing.TB, path, params string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?"+params)
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t testing.TB, db *sql.DB, script string) {
	t.Helper()
	if _, err := db.Exec(script); err != nil {
		t.Fatalf("%s: %v", script, err)
	}
}

// primary is a database with a table of some pages, written through the VFS.
func primary(t testing.TB, mode string) (path string, db *sql.DB) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "app.db")
	db = open(t, path, "vfs=pagetrail")
	exec(t, db, "PRAGMA page_size=512; PRAGMA journal_mode="+mode+"; CREATE TABLE t(x); "+fill(20))
	return path, db
}

// fill is SQL that writes rows of a page each.
func fill(n int) string {
	return fmt.Sprintf("WITH RECURSIVE i(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM i WHERE n<%d) INSERT INTO t SELECT randomblob(400) FROM i;", n)
}

func trailOf(t testing.TB, path string) *journal.Trail {
	t.Helper()
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return trail
}

func compare(t testing.TB, path string) live.Report {
	t.Helper()
	r, err := live.Compare(t.Context(), trailOf(t, path), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantSame wants trail and database to agree.
func wantSame(t testing.TB, path string) live.Report {
	t.Helper()
	r := compare(t, path)
	if !r.Agrees || r.Sum != r.Tx.Sum || r.PageCount != r.Tx.PageCount || len(r.Different) != 0 {
		t.Fatalf("differ: %+v", r)
	}
	return r
}

// names are the files of a directory.
func names(t testing.TB, dir string) (out []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(e.Name(), info.Size(), info.ModTime()))
	}
	return out
}

// TestAgrees compares a database that is open, between transactions, in every mode; then closed.
func TestAgrees(t *testing.T) {
	for _, mode := range []string{"delete", "truncate", "persist", "memory", "wal"} {
		path, db := primary(t, mode)
		for range 3 {
			exec(t, db, fill(3)+"DELETE FROM t WHERE rowid%5=0; PRAGMA pagetrail_txid")
			before := names(t, filepath.Dir(path))
			if r := wantSame(t, path); r.Later.Frames != 0 || mode == "wal" != (r.Frames > 0) {
				t.Fatalf("%s: %+v", mode, r)
			}
			if now := names(t, filepath.Dir(path)); !slices.Equal(before, now) {
				t.Fatalf("%s: files changed: %v, then %v", mode, before, now)
			}
		}
		if mode == "wal" {
			exec(t, db, "PRAGMA wal_checkpoint(passive)")
			if r := wantSame(t, path); r.Frames != 0 {
				t.Fatalf("%+v", r)
			}
		}
		db.Close()
		wantSame(t, path)
	}
}

// TestLater commits past the VFS: in the WAL it is what comes later; checkpointed, it is what differs.
func TestLater(t *testing.T) {
	path, db := primary(t, "wal")
	exec(t, db, "PRAGMA wal_checkpoint(truncate); "+fill(1)+"PRAGMA pagetrail_txid")
	last := wantSame(t, path).Tx.TXID
	outside := open(t, path, "")
	exec(t, outside, "SELECT count(*) FROM t") // so that the WAL outlives what is closed next
	// Its goroutine looks at the WAL once more after a commit, and would record what is not its own.
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, outside, fill(2))
	exec(t, outside, fill(2))
	r := wantSame(t, path)
	if r.Tx.TXID != last || r.Later.Transactions != 2 || r.Later.Frames < 2 {
		t.Fatalf("%+v", r)
	}
	exec(t, outside, "PRAGMA wal_checkpoint(passive)")
	r = compare(t, path)
	if r.Same() || r.Differing == 0 || int(r.Differing) != len(r.Different) || r.Unlisted != nil {
		t.Fatalf("%+v", r)
	}
	kinds := map[string]int{}
	for _, p := range r.Different {
		kinds[p.Kind.String()]++
		if p.No > r.Tx.PageCount != p.Extra {
			t.Fatalf("%+v", p)
		}
	}
	if kinds["table leaf"] < 4 || kinds["unknown"] > 0 {
		t.Fatal(kinds)
	}
	exec(t, open(t, path, "vfs=pagetrail"), fill(1)+"PRAGMA pagetrail_txid") // the VFS notices
	wantSame(t, path)
}

// TestDiffers changes bytes behind everybody's back.
func TestDiffers(t *testing.T) {
	path, db := primary(t, "delete")
	db.Close()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[5*512+100] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	r := compare(t, path)
	if r.Same() || len(r.Different) != 1 || r.Different[0].No != 6 || r.Different[0].Kind.String() != "table leaf" || r.Different[0].Name != "t" {
		t.Fatalf("%+v", r)
	}
	b[5*512+100] ^= 1
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	exec(t, open(t, path, ""), "DELETE FROM t WHERE rowid>5; VACUUM")
	r = compare(t, path)
	last := r.Different[len(r.Different)-1]
	if r.Same() || r.Different[0].No != 1 || last.No != uint32(len(b)/512) || !last.Missing || last.Name != "t" {
		t.Fatalf("%+v", r)
	}
}

// TestAbandoned reads a WAL that no program has open, as a killed process leaves it.
func TestAbandoned(t *testing.T) {
	path, db := primary(t, "wal")
	exec(t, db, "PRAGMA wal_checkpoint; "+fill(2)+"PRAGMA pagetrail_txid")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Dir(path))); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(dir, "app.db")
	if r := wantSame(t, copied); r.Frames == 0 {
		t.Fatalf("%+v", r)
	}
	if err := os.Remove(copied + "-shm"); err != nil {
		t.Fatal(err)
	}
	if r := wantSame(t, copied); r.Frames == 0 {
		t.Fatalf("%+v", r)
	}
	if err := os.Remove(copied + "-wal"); err != nil {
		t.Fatal(err)
	}
	if r := compare(t, copied); r.Same() {
		t.Fatalf("the WAL is gone: %+v", r)
	}
}

// TestMoved: a WAL without an index is opened by somebody while it is read.
func TestMoved(t *testing.T) {
	path, db := primary(t, "wal")
	exec(t, db, fill(2))
	copied := filepath.Join(t.TempDir(), "app.db")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + suffix)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(copied+suffix, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := live.Open(t.Context(), copied, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	exec(t, open(t, copied, ""), "SELECT * FROM t")
	if err := s.Check(); !errors.Is(err, live.ErrBusy) {
		t.Fatalf("got %v", err)
	}
}

// TestKept: what others do while a snapshot is open is not in it.
func TestKept(t *testing.T) {
	for _, done := range []bool{false, true} { // everything checkpointed, or not
		path, db := primary(t, "wal")
		if done {
			exec(t, db, "PRAGMA wal_checkpoint(passive)")
		}
		s, err := live.Open(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		before, err := s.Sum(t.Context(), nil)
		if err != nil || (s.Frames() == 0) != done {
			t.Fatal(err, s.Frames())
		}
		exec(t, db, fill(3)+"UPDATE t SET x=1; PRAGMA wal_checkpoint(passive); DELETE FROM t; VACUUM; PRAGMA wal_checkpoint(passive)")
		after, err := s.Sum(t.Context(), nil)
		if err == nil {
			err = s.Check()
		}
		if err != nil || before != after {
			t.Fatal(err, before, after)
		}
	}
}

// TestHeld: a snapshot of a database in a rollback mode keeps a writer from its commit, as a reader does.
func TestHeld(t *testing.T) {
	path, _ := primary(t, "delete")
	s, err := live.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	other := open(t, path, "_pragma=busy_timeout(0)")
	if _, err := other.Exec(fill(1)); err == nil {
		t.Error("committed beside a snapshot")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	exec(t, other, fill(1))
}

// TestBusy waits no longer than it is told to, and says what for.
func TestBusy(t *testing.T) {
	path, db := primary(t, "delete")
	exec(t, db, "BEGIN EXCLUSIVE")
	_, err := live.Compare(t.Context(), trailOf(t, path), path, &live.Options{Wait: -1})
	if !errors.Is(err, live.ErrBusy) || !errors.Is(err, journal.ErrLocked) {
		t.Fatalf("got %v", err)
	}
	exec(t, db, "COMMIT")
	wantSame(t, path)
}

// TestHotJournal refuses a database that SQLite would first roll back.
func TestHotJournal(t *testing.T) {
	path, db := primary(t, "persist")
	db.Close()
	wantSame(t, path) // the journal is there, and its header is zero
	if err := os.WriteFile(path+"-journal", []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := live.Compare(t.Context(), trailOf(t, path), path, nil); !errors.Is(err, live.ErrHotJournal) {
		t.Fatalf("got %v", err)
	}
}

func TestNotADatabase(t *testing.T) {
	path, db := primary(t, "delete")
	trail := trailOf(t, path)
	db.Close()
	for name, want := range map[string]error{filepath.Dir(path): live.ErrNotDatabase, path + "-none": os.ErrNotExist} {
		if _, err := live.Compare(t.Context(), trail, name, nil); !errors.Is(err, want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if err := os.WriteFile(path, []byte("something else"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := live.Compare(t.Context(), trail, path, nil); !errors.Is(err, live.ErrNotDatabase) {
		t.Errorf("got %v", err)
	}
}

// TestBeside compares while others write, restart the WAL, and checkpoint.
func TestBeside(t *testing.T) {
	for _, mode := range []string{"wal", "delete"} {
		path, _ := primary(t, mode)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 2 {
			db := open(t, path, "vfs=pagetrail&_pragma=busy_timeout(60000)&_pragma=wal_autocheckpoint(20)&_pragma=synchronous(off)")
			wg.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					if _, err := db.Exec(fill(1 + n%3)); err != nil {
						t.Error(err)
					}
					if n%7 == i {
						if _, err := db.Exec("DELETE FROM t WHERE rowid%3=1"); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		trail := trailOf(t, path)
		for range 60 {
			r, err := live.Compare(t.Context(), trail, path, nil)
			if err != nil || !r.Same() {
				t.Errorf("%s: %v, %+v", mode, err, r)
				break
			}
		}
		stop()
		wg.Wait()
	}
}
