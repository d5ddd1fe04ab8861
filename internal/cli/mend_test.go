package cli_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
)

// What is gone from the middle of an archive is said, and sent again if the trail has it; a damaged object is named, and
// not replaced.
func TestMissingInTheArchive(t *testing.T) {
	dir := t.TempDir()
	db := filepath.Join(dir, "app.db")
	c, err := sqlite3.Open("file:" + db + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	url := "file://" + filepath.Join(dir, "store")
	does := func(code cli.Code, says string, args ...string) string {
		t.Helper()
		r := run(t, t.Context(), nil, args...)
		if r.code != code || !strings.Contains(r.err+r.out, says) {
			t.Fatalf("%v: ended with %d, want %d and %q:\n%s%s", args, r.code, code, says, r.out, r.err)
		}
		return r.out
	}
	var want []byte
	for i := range 4 {
		if err := c.Exec("CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(randomblob(3000)); INSERT INTO t VALUES(randomblob(30)); PRAGMA pagetrail_txid"); err != nil {
			t.Fatal(err)
		}
		does(0, "shipped", "ship", db, "--to", url, "--once")
		if i == 2 {
			if want, err = os.ReadFile(db); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost := filepath.Join(dir, "store", "00000001", "0", "0000000000000006.seg")
	restored := func() {
		t.Helper()
		does(0, "is sound", "verify", url)
		out := filepath.Join(dir, "out.db")
		does(0, "", "hydrate", url, "-o", out, "--force", "--txid", "7")
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("transaction 7 is another, %v", err)
		}
	}
	restored()

	remove := func() {
		t.Helper()
		if err := os.Remove(lost); err != nil {
			t.Fatal(err)
		}
	}
	remove()
	does(4, "no segment holds transaction 6", "verify", url)
	does(4, "pagetrail ship --mend sends it again", "compact", url)
	does(0, "sent transactions 6 to 7 again, which were missing in the archive", "ship", db, "--to", url, "--once")
	restored()

	if err := os.Truncate(lost, 100); err != nil {
		t.Fatal(err)
	}
	does(3, "move the object out of the archive, and run this again", "ship", db, "--to", url, "--once", "--mend")
	remove()
	if out := does(0, "", "ship", db, "--to", url, "--once", "--mend", "--json"); !strings.Contains(out, `"mended":1,`) {
		t.Error(out)
	}
	restored()
}
