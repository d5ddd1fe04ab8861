package vfs_test

import (
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestNamePoint names the state that an outsider has left, which has to be recorded first.
func TestNamePoint(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := open(t, path, "")
			run(t, c, "PRAGMA journal_mode="+mode, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
			last := txid(t, c)
			if p, err := vfs.NamePoint(t.Context(), path, "beside"); err != nil || p.TXID != last {
				t.Errorf("at %d: %+v, %v", last, p, err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			plain, err := sqlite3.Open("file:" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			run(t, plain, "INSERT INTO t VALUES(2)")
			p, err := vfs.NamePoint(t.Context(), path, "after an outsider")
			if err != nil || p.TXID <= last {
				t.Fatalf("after %d: %+v, %v", last, p, err)
			}
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			sameBytes(t, "what was named", r.at(p.TXID), snapshot(t, path))
			if _, err := vfs.NamePoint(t.Context(), path, ""); err == nil {
				t.Error("a point without a name")
			}
		})
	}
}

// TestPointFirst names a point on a connection that has done nothing else, as a script before a deploy does: that is as good as
// the trail knows the present state, and refused where a program without the VFS may have made another.
func TestPointFirst(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			point := func(what, before string) error {
				t.Helper()
				c := open(t, path, "")
				defer c.Close()
				run(t, c, before)
				err := c.Exec("PRAGMA pagetrail_point='" + what + "'")
				if err == nil {
					trail, err := journal.Open(path+"-pagetrail", nil)
					if err != nil {
						t.Fatal(err)
					}
					defer trail.Close()
					p, err := trail.FindPoint(what)
					if err != nil {
						t.Fatal(err)
					}
					r := newReplica(t, path+"-pagetrail")
					defer r.close()
					sameBytes(t, what, r.at(p.TXID), snapshot(t, path))
				}
				return err
			}
			c := open(t, path, "")
			run(t, c, "PRAGMA journal_mode="+mode, "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
			if err := point("beside another connection", "SELECT * FROM t"); err != nil {
				t.Error(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := point("alone", ""); err != nil {
				t.Error(err)
			}

			// A program without the VFS, which still has it open.
			plain, err := sqlite3.Open("file:" + path)
			if err != nil {
				t.Fatal(err)
			}
			defer plain.Close()
			run(t, plain, "INSERT INTO t VALUES(2)")
			if err := point("after an outsider", ""); err == nil {
				t.Error("a state was named that the trail does not have")
			}
			// Whoever has read knows the WAL, and with it what the outsider committed.
			if err := point("after an outsider", "SELECT * FROM t"); (err == nil) != (mode == "WAL") {
				t.Errorf("having read: %v", err)
			}
		})
	}
}
