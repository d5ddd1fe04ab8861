// Package pagetrailcheck is put into a copy of the SQLite driver's module by run.sh: it makes the
// driver's own tests use our VFS and compares every database with its trail at the end of a test.
//
// The copy must import it from each test, which also registers the VFS. It uses only what any
// program could: our public packages.
package pagetrailcheck

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/pagetrail/pagetrail/vfs" // registers "pagetrail"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// Off says that the tests run with the operating system's VFS, for comparison.
var Off = os.Getenv("PAGETRAIL_CONFORMANCE") == "off"

// TempDir is t.TempDir, whose databases are checked before it is removed.
func TempDir(t testing.TB) string {
	dir := t.TempDir()
	if !Off {
		// Cleanups run last first: this one before the removal, and after the test
		// has closed what it closes with defer.
		t.Cleanup(func() { checkDir(t, dir) })
	}
	return dir
}

// TestDB stands in for the memory VFS' function of that name: a database in a file of its own.
func TestDB(t testing.TB, params ...url.Values) string {
	query := url.Values{}
	for _, values := range params {
		for key, list := range values {
			query[key] = append(query[key], list...)
		}
	}
	dsn := "file:" + filepath.ToSlash(filepath.Join(TempDir(t), "test.db"))
	if len(query) > 0 {
		dsn += "?" + query.Encode()
	}
	return dsn
}

func checkDir(t testing.TB, dir string) {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() || !strings.HasSuffix(path, "-pagetrail") {
			return err
		}
		database := strings.TrimSuffix(path, "-pagetrail")
		if _, err := os.Stat(database); errors.Is(err, fs.ErrNotExist) {
			note(t, "%s: the test removed the database", filepath.Base(database))
			return fs.SkipDir
		}
		if err := checkDatabase(t, database, path); err != nil {
			t.Errorf("pagetrail: %s: %v", database, err)
			note(t, "%s: FAILED: %v", filepath.Base(database), err)
		}
		return fs.SkipDir
	})
	if err != nil {
		t.Errorf("pagetrail: %v", err)
	}
}

// checkDatabase settles the database, hydrates its trail and compares.
func checkDatabase(t testing.TB, database, dir string) error {
	if err := settle(database); err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return err
	}
	defer trail.Close()
	ctx := context.Background()
	if _, err := apply.Verify(ctx, trail, nil); err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	result, err := compareLatest(ctx, trail, database, filepath.Join(t.TempDir(), "replica.db"))
	if err != nil {
		return err
	}
	kinds := map[journal.Kind]int{}
	for record, err := range trail.Records(ctx, 1) {
		if err != nil {
			return err
		}
		kinds[record.Kind]++
	}
	note(t, "%s: %d transactions, %d physical, %d catch-up, %d bases, %d bytes: equal", filepath.Base(database),
		kinds[journal.Ordinary], kinds[journal.Physical], kinds[journal.CatchUp], kinds[journal.Base], result.Size)
	// Nobody writes these databases without the VFS, so there must be nothing to catch up with: a
	// difference found by a scan means that a transaction was missed. The exceptions are the scripts
	// that kill a client in the middle of a large transaction: rolling back a hot journal leaves
	// free pages changed, which only a scan can find, once for each client that was killed.
	killed := 0
	for script, clients := range map[string]int{"/crash01": 9, "/config02": 7} {
		if strings.Contains(t.Name(), script) {
			killed = clients
		}
	}
	if n := kinds[journal.CatchUp]; n > killed {
		return fmt.Errorf("%d catch-up records in a database that only the VFS wrote, with %d clients killed", n, killed)
	}
	return nil
}

// settle does what the next connection would: it recovers what a killed client left behind, and
// brings everything from the WAL into the database.
func settle(database string) error {
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(database) + "?_pragma=busy_timeout(10000)")
	if err != nil {
		return err
	}
	err = conn.Exec("BEGIN IMMEDIATE; COMMIT; PRAGMA wal_checkpoint(TRUNCATE)")
	return errors.Join(err, conn.Close())
}

// compareLatest hydrates the newest state of the trail and compares it with the database. mptest does not wait for its
// clients to the end: one may still commit that it leaves, between the two. Then the trail has gone on, and the next
// state is compared. A transaction that the trail lost does not make it go on.
func compareLatest(ctx context.Context, trail *journal.Trail, database, replica string) (apply.Result, error) {
	for {
		result, err := apply.Hydrate(ctx, trail, replica, apply.Latest(), &apply.Options{Force: true})
		if err != nil {
			return result, fmt.Errorf("hydrate: %w", err)
		}
		differ := compare(database, replica)
		if differ == nil {
			return result, nil
		}
		if err := trail.Refresh(); err != nil {
			return result, err
		}
		if last, err := trail.Last(); err != nil || last.TXID == result.Position.TXID {
			return result, errors.Join(differ, err)
		}
	}
}

// compare reads two files beside each other and names the first byte in which they differ.
func compare(database, replica string) error {
	a, err := os.Open(database)
	if err != nil {
		return err
	}
	defer a.Close()
	b, err := os.Open(replica)
	if err != nil {
		return err
	}
	defer b.Close()
	bufA, bufB := make([]byte, 1<<16), make([]byte, 1<<16)
	for offset := int64(0); ; {
		n, errA := io.ReadFull(a, bufA)
		m, errB := io.ReadFull(b, bufB)
		for i := range min(n, m) {
			if bufA[i] != bufB[i] {
				return fmt.Errorf("the database and its hydrated trail differ at byte %d", offset+int64(i))
			}
		}
		if n != m || !bytes.Equal(bufA[:n], bufB[:m]) {
			return fmt.Errorf("one of the database and its hydrated trail ends at byte %d", offset+int64(min(n, m)))
		}
		offset += int64(n)
		if errA != nil || errB != nil {
			return nil // both ended here: a read error would have shown as a shorter file
		}
	}
}

// note logs a line, and appends it to the file that the script makes its summary from.
func note(t testing.TB, format string, args ...any) {
	line := t.Name() + ": " + fmt.Sprintf(format, args...)
	t.Log("pagetrail: " + line)
	name := os.Getenv("PAGETRAIL_CONFORMANCE_LOG")
	if name == "" {
		return
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	fmt.Fprintln(f, line)
}
