//go:build linux || darwin

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

func queryText(t testing.TB, c *sqlite3.Conn, sql string) (string, error) {
	t.Helper()
	s, _, err := c.Prepare(sql)
	if err != nil {
		return "", err
	}
	defer s.Close()
	s.Step()
	return s.ColumnText(0), s.Err()
}

// TestGuarded: through the VFS a replica can be read, while it is followed into
// and when not, and every kind of write is refused as such, without a trail of
// its own coming up.
func TestGuarded(t *testing.T) {
	for _, mode := range modes {
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
		p.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		r := openReplica(t, path, p.source(), nil)
		check := func(want int64) {
			t.Helper()
			c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got := queryInt(t, c, "SELECT count(*) FROM t"); got != want {
				t.Fatalf("%s: %d rows, want %d", mode, got, want)
			}
			for _, sql := range []string{"INSERT INTO t VALUES(2)", "CREATE TABLE u(a)", "VACUUM", "PRAGMA user_version=1"} {
				if err := c.Exec(sql); !errors.Is(err, sqlite3.READONLY) {
					t.Errorf("%s: %s: %v", mode, sql, err)
				}
			}
			for _, sql := range []string{"PRAGMA pagetrail_note='x'", "PRAGMA pagetrail_point='x'"} {
				if err := c.Exec(sql); err == nil || !strings.Contains(err.Error(), "replica") {
					t.Errorf("%s: %s: %v", mode, sql, err)
				}
			}
		}
		check(1)
		p.exec("INSERT INTO t VALUES(2)")
		p.txid()
		catchUp(t, r)
		check(2)
		closeReplica(t, r)
		alone(t, path)
		check(2)
		alone(t, path)
		if m, _ := filepath.Glob(path + "*trail*"); len(m) > 0 {
			t.Errorf("%s: %v", mode, m)
		}
		same(t, mode, read(t, path), p.content())
	}
}

// TestWait: who waits for a position sees it, in any mode, whether frames, the
// slots or a follower that ended say where the replica is.
func TestWait(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	p.txid()
	path := filepath.Join(t.TempDir(), "replica.db")
	r := openReplica(t, path, p.source(), &follow.Options{CheckpointFrames: 5})
	c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 40 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(%d)", i))
		id := p.txid()
		position, err := queryText(t, p.conn, "PRAGMA pagetrail_position")
		if err != nil {
			t.Fatal(err)
		}
		applied := make(chan error, 1)
		go func() {
			_, err := r.CatchUp(context.Background())
			applied <- err
		}()
		want := position
		switch i % 3 {
		case 1:
			want = fmt.Sprint(id, " 1m")
		case 2: // reached already
			err := <-applied
			applied <- err
			want = r.Position().Token()
		}
		if got, err := queryText(t, c, "PRAGMA pagetrail_wait='"+want+"'"); err != nil || got != fmt.Sprint(id) {
			t.Fatalf("waiting for %s: %s, %v", want, got, err)
		}
		if got := queryInt(t, c, "SELECT count(*) FROM t"); got != int64(i+1) {
			t.Fatalf("after the wait there are %d rows, want %d", got, i+1)
		}
		if err := <-applied; err != nil {
			t.Fatal(err)
		}
	}
	at := r.Position()
	closeReplica(t, r)
	if got, err := follow.Wait(t.Context(), path, at); err != nil || got != at {
		t.Errorf("after the follower ended: %+v, %v", got, err)
	}
	for want, text := range map[string]string{
		fmt.Sprint(at.TXID+1, " 10ms"): "not yet",
		"x":                            "no position",
		"5 x":                          "no duration",
		strings.Replace(at.Token(), at.Database.String(), journal.NewDatabaseID().String(), 1): "replica of database",
	} {
		if got, err := queryText(t, c, "PRAGMA pagetrail_wait='"+want+"'"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("waiting for %s: %s, %v", want, got, err)
		}
	}
	other := at
	other.Sum.Lo++
	if _, err := follow.Wait(t.Context(), path, other); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("waiting for what did not happen: %v", err)
	}
	if _, err := follow.Wait(t.Context(), p.path, at); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("waiting for what is no replica: %v", err)
	}
}
