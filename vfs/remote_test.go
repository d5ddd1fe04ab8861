package vfs_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// elsewhere acknowledges what it is asked for, or not.
type elsewhere struct {
	mu    sync.Mutex
	acked []journal.TXID
	err   error
	hang  bool
}

func (e *elsewhere) acknowledge(ctx context.Context, _ string, at journal.Position) error {
	e.mu.Lock()
	hang, err := e.hang, e.err
	if !hang && err == nil {
		e.acked = append(e.acked, at.TXID)
	}
	e.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}

// TestSyncRemote: a commit is acknowledged when it returns, in every mode; where
// it was not, it says so or not, as it was told, and stands; the connection goes
// on.
func TestSyncRemote(t *testing.T) {
	for _, mode := range []string{"DELETE", "PERSIST", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			e := new(elsewhere)
			name := "remote-" + mode
			if err := vfs.Register(name, &vfs.Options{Sync: vfs.SyncRemote, Acknowledge: e.acknowledge}); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(t.TempDir(), "x.db")
			dsn := "file:" + path + "?vfs=" + name
			c, err := sqlite3.Open(dsn)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			run(t, c, "PRAGMA journal_mode="+mode, schema)
			for i := range 5 {
				run(t, c, fmt.Sprintf("INSERT INTO t(a) VALUES('%d')", i))
				if got, want := e.acked[len(e.acked)-1], txid(t, c); got != want {
					t.Errorf("transaction %d came back when %d was acknowledged", want, got)
				}
			}
			asked := len(e.acked)
			query(t, c, "SELECT count(*) FROM t")
			if len(e.acked) != asked {
				t.Error("a reader waited")
			}
			e.err = errors.New("the line is down")
			err = c.Exec("INSERT INTO t(a) VALUES('alone')")
			if !errors.Is(err, vfs.ErrUnacknowledged) || !errors.Is(err, sqlite3.IOERR) {
				t.Errorf("not acknowledged: %v", err)
			}
			if got := query(t, c, "SELECT count(*) FROM t"); got != "6" {
				t.Errorf("%s rows: it does not stand", got)
			}
			e.err = nil
			run(t, c, "INSERT INTO t(a) VALUES('again')")
			for _, params := range []string{"&unacknowledged=continue&sync_timeout=1ms", "&sync=local"} {
				e.hang = true
				d, err := sqlite3.Open(dsn + params)
				if err != nil {
					t.Fatal(err)
				}
				run(t, d, "INSERT INTO t(a) VALUES('more')")
				d.Close()
				e.hang = false
			}
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			agrees(t, r, c, path, "after all")
			if got := query(t, c, "SELECT count(*) FROM t"); got != "9" {
				t.Errorf("%s rows", got)
			}
		})
	}
}

// TestSyncRemoteAttached: a transaction over several databases stands in all of
// them when none was acknowledged, and COMMIT says so wherever SQLite lets it.
func TestSyncRemoteAttached(t *testing.T) {
	for _, mode := range []struct {
		main, other string // PRAGMAs, those of other after its name
		silent      bool
	}{
		{main: "journal_mode=WAL", other: "journal_mode=WAL"},
		{main: "journal_mode=WAL", other: "journal_mode=DELETE"},
		{main: "journal_mode=MEMORY", other: "journal_mode=MEMORY"},
		{main: "synchronous=OFF", other: "synchronous=OFF"},
		{main: "journal_mode=DELETE", other: "journal_mode=DELETE", silent: true},
	} {
		t.Run(mode.main+" "+mode.other, func(t *testing.T) {
			e := new(elsewhere)
			if err := vfs.Register("remote-attached", &vfs.Options{Sync: vfs.SyncRemote, Acknowledge: e.acknowledge}); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			c, err := sqlite3.Open("file:" + filepath.Join(dir, "main.db") + "?vfs=remote-attached")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			run(t, c, "PRAGMA "+mode.main, schema, "ATTACH '"+filepath.Join(dir, "other.db")+"' AS other",
				"PRAGMA other."+mode.other, "CREATE TABLE other.u(a)")
			e.err = errors.New("the line is down")
			err = c.Exec("BEGIN; INSERT INTO t(a) VALUES(1); INSERT INTO other.u VALUES(1); COMMIT")
			if errors.Is(err, vfs.ErrUnacknowledged) == mode.silent || err != nil && mode.silent {
				t.Errorf("not acknowledged: %v", err)
			}
			e.err = nil
			run(t, c, "INSERT INTO other.u VALUES(2)")
			for table, want := range map[string]string{"t": "1", "other.u": "2"} {
				if got := query(t, c, "SELECT count(*) FROM "+table); got != want {
					t.Errorf("%s rows in %s, want %s", got, table, want)
				}
			}
			for name, schema := range map[string]string{"main.db": "main", "other.db": "other"} {
				path := filepath.Join(dir, name)
				d, err := sqlite3.Open("file:" + path + "?vfs=remote-attached&sync=local")
				if err != nil {
					t.Fatal(err)
				}
				r := newReplica(t, path+"-pagetrail")
				agrees(t, r, d, path, schema)
				r.close()
				d.Close()
			}
		})
	}
}

func TestSyncRemoteRefuses(t *testing.T) {
	if err := vfs.Register("remote-refuses", &vfs.Options{Acknowledge: new(elsewhere).acknowledge}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.db")
	for params, want := range map[string]string{
		"?vfs=pagetrail&sync=remote":                              "nobody is there to acknowledge",
		"?vfs=remote-refuses&sync=far":                            "sync=far: want",
		"?vfs=remote-refuses&sync=remote&sync_timeout=5":          "sync_timeout=5: want a time",
		"?vfs=remote-refuses&sync=remote&unacknowledged=whatever": "unacknowledged=whatever: want",
	} {
		c, err := sqlite3.Open("file:" + path + params)
		if err == nil {
			c.Close()
		}
		if text := fmt.Sprint(err, errors.Unwrap(err)); err == nil || !strings.Contains(text, want) {
			t.Errorf("%s: %s, want %s", params, text, want)
		}
	}
}
