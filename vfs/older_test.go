package vfs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestOlderCopy puts an older copy in the place of the database, as a restored
// backup does: the trail goes on from the state that the copy has, and says
// which one that is.
func TestOlderCopy(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			write := func(sqls ...string) journal.TXID {
				c := open(t, path, "")
				defer c.Close()
				run(t, c, sqls...)
				return txid(t, c)
			}
			at := write("PRAGMA journal_mode="+mode, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
			copied := readFile(t, path)
			// The last ones know that those before are durable, so that no power
			// cut can have taken them: else they would be cut off the trail.
			write("INSERT INTO t VALUES(2)", "INSERT INTO t VALUES(2)")
			last := write("INSERT INTO t VALUES(3)", "INSERT INTO t VALUES(3)")
			if err := os.WriteFile(path, copied, 0o644); err != nil {
				t.Fatal(err)
			}
			now := write("INSERT INTO t VALUES(4)")
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			sameBytes(t, "the copy, written to", r.at(now), readFile(t, path))
			if tx := find(t, path+"-pagetrail", last+1); now != last+2 || tx.Kind != journal.CatchUp ||
				!strings.Contains(tx.Note, "again as it was after transaction "+at.String()+",") {
				t.Errorf("%d transactions of which the copy has %d, then a catch-up noted %q, up to %d", last, at, tx.Note, now)
			}
		})
	}
}

func find(t *testing.T, dir string, id journal.TXID) journal.Tx {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer trail.Close()
	tx, err := trail.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}
