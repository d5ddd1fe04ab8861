package vfs_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
)

// TestDamagedMiddle has a connection for each commit, as a script has that runs now and then, so that nobody lives long
// enough to note in the trail what was synced. A flipped byte of a transaction that was committed and synced is damage
// all the same, whichever it is, and not a torn tail, with which all transactions after it would go: readers and writers
// say so, and change nothing.
func TestDamagedMiddle(t *testing.T) {
	for _, mode := range []string{"DELETE", "TRUNCATE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			commit := func(sqls ...string) error {
				c := open(t, path, "&_pragma=synchronous(full)")
				defer c.Close()
				for _, sql := range append([]string{"PRAGMA journal_mode=" + mode}, sqls...) {
					if err := c.Exec(sql); err != nil {
						return err
					}
				}
				return nil
			}
			ends := []int64{}
			segment := filepath.Join(path+"-pagetrail", "0000000000000001.seg")
			for _, sql := range []string{"CREATE TABLE t(a)", "INSERT INTO t VALUES(1)", "INSERT INTO t VALUES(2)", "INSERT INTO t VALUES(3)"} {
				if err := commit(sql); err != nil {
					t.Fatal(err)
				}
				fi, err := os.Stat(segment)
				if err != nil {
					t.Fatal(err)
				}
				ends = append(ends, fi.Size())
			}
			whole := readFile(t, segment)
			last, db := ends[len(ends)-1]-32, readFile(t, path) // but for the mark that it was committed, which is not synced
			if mode == "WAL" {
				last = ends[len(ends)-2]
			}
			for at := int64(128); at < last; at++ {
				data := bytes.Clone(whole)
				data[at] ^= 0x10
				if err := os.WriteFile(segment, data, 0o644); err != nil {
					t.Fatal(err)
				}
				if _, err := journal.Open(path+"-pagetrail", nil); !errors.Is(err, journal.ErrCorrupt) {
					t.Fatalf("byte %d of %d: a reader says %v", at, len(whole), err)
				}
				if at%29 != 0 {
					continue
				}
				if err := commit("INSERT INTO t VALUES(4)"); err == nil {
					t.Fatalf("byte %d of %d: written to, with damage", at, len(whole))
				}
				if !bytes.Equal(readFile(t, segment), data) || !bytes.Equal(readFile(t, path), db) {
					t.Fatalf("byte %d of %d: the trail or the database was changed", at, len(whole))
				}
			}
		})
	}
}
