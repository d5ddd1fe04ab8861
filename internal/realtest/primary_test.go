//go:build real

package realtest_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// primary is a database that is written through the VFS, by one connection.
type primary struct {
	t    *testing.T
	path string
	conn *sqlite3.Conn
	dir  string // for replicas
}

// openPrimary opens the database; options are more parameters for the DSN, each with a "&" before it.
func openPrimary(t *testing.T, path string, options ...string) *primary {
	t.Helper()
	dsn := "file:" + path + "?vfs=pagetrail" + strings.Join(options, "")
	p := &primary{t: t, path: path, dir: t.TempDir(), conn: connect(t, dsn)}
	if err := p.conn.Exec("PRAGMA busy_timeout=10000"); err != nil {
		t.Fatal(err)
	}
	return p
}

// connect opens a connection that the test closes at its end.
func connect(t *testing.T, dsn string) *sqlite3.Conn {
	t.Helper()
	conn, err := sqlite3.Open(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

func (p *primary) exec(sql string) {
	p.t.Helper()
	if err := p.conn.Exec(sql); err != nil {
		p.t.Fatalf("%.60q: %v", sql, err)
	}
}

// txid asks the VFS for the last transaction.
func txid(conn *sqlite3.Conn) (journal.TXID, error) {
	stmt, _, err := conn.Prepare("PRAGMA pagetrail_txid")
	if err != nil {
		return 0, err
	}
	defer stmt.Close()
	if !stmt.Step() {
		return 0, fmt.Errorf("PRAGMA pagetrail_txid gave no row: %w", stmt.Err())
	}
	return journal.TXID(stmt.ColumnInt64(0)), nil
}

func (p *primary) txid() journal.TXID {
	p.t.Helper()
	id, err := txid(p.conn)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// content is the database file; in WAL, after a full checkpoint.
func (p *primary) content() []byte {
	p.t.Helper()
	// In a rollback mode there is nothing to do, and no error. A checkpoint that meets another one, as
	// that in the background, is refused at once whatever the busy timeout, so it is asked for again:
	// see https://sqlite.org/c3ref/wal_checkpoint_v2.html.
	for deadline := time.Now().Add(time.Minute); ; runtime.Gosched() {
		_, _, err := p.conn.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE)
		if err == nil {
			break
		}
		if !errors.Is(err, sqlite3.BUSY) || time.Now().After(deadline) {
			p.t.Fatalf("checkpoint: %v", err)
		}
	}
	return read(p.t, p.path)
}

func (p *primary) trail() *journal.Trail {
	p.t.Helper()
	trail, err := journal.Open(p.path+"-pagetrail", nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return trail
}

// hydrate makes the database of a TXID and returns the name of its file.
func (p *primary) hydrate(trail *journal.Trail, id journal.TXID) string {
	p.t.Helper()
	out := filepath.Join(p.dir, fmt.Sprintf("%d.db", id))
	result, err := apply.Hydrate(p.t.Context(), trail, out, apply.AtTXID(id), nil)
	if err != nil {
		p.t.Fatalf("hydrate TXID %d: %v", id, err)
	}
	if result.Position.TXID != id {
		p.t.Fatalf("hydrate TXID %d made TXID %d", id, result.Position.TXID)
	}
	return out
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// same fails the test when a replica is not the copy taken at its TXID.
func same(t *testing.T, what string, replica, want []byte) {
	t.Helper()
	if bytes.Equal(replica, want) {
		return
	}
	at := 0
	for at < min(len(replica), len(want)) && replica[at] == want[at] {
		at++
	}
	t.Errorf("%s: %d bytes with SHA-256 %.8x, want %d bytes with %.8x; the first difference is at byte %d",
		what, len(replica), sha256.Sum256(replica), len(want), sha256.Sum256(want), at)
}

// verified reads the whole trail and says what is in it.
func (p *primary) verified(trail *journal.Trail) apply.Report {
	p.t.Helper()
	report, err := apply.Verify(p.t.Context(), trail, nil)
	if err != nil {
		p.t.Errorf("verify: %v", err)
	}
	return report
}
