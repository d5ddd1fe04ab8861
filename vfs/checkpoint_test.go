package vfs_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// walLimit is the size that a WAL may have with background checkpoints: 4,000
// frames, and those of the commit that found so many.
const walLimit = (4000 + 20) * (4096 + 24)

// insertMany adds n rows, each in a transaction of its own and without a busy
// timeout, and returns the largest size that the file wal had. Once or twice it
// may be refused: a connection that looks at the WAL's index in the moment in
// which a commit changes it, as any that reads, looks again with the writers'
// lock.
func insertMany(t *testing.T, c *sqlite3.Conn, table string, n int, wal string) (largest int64) {
	t.Helper()
	if err := c.BusyTimeout(0); err != nil {
		t.Fatal(err)
	}
	s, _, err := c.Prepare("INSERT INTO " + table + "(a,b) VALUES(hex(randomblob(8)), zeroblob(200))")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	refused := 0
	for i := range n {
		err := s.Exec()
		if errors.Is(err, sqlite3.BUSY) && refused < 2 {
			refused++
			err = errors.Join(c.BusyTimeout(time.Minute), s.Exec(), c.BusyTimeout(0))
		}
		if err != nil {
			t.Fatalf("row %d, after %d refusals: %v", i, refused, err)
		}
		if fi, err := os.Stat(wal); err == nil {
			largest = max(largest, fi.Size())
		}
	}
	return largest
}

// TestBackgroundCheckpoints leaves checkpoints to the goroutine that
// checkpoint=background starts: the WAL stays bounded under steady writes, no
// checkpoint keeps writers out, and the WAL is gone with the last connection.
func TestBackgroundCheckpoints(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&checkpoint=background")
	run(t, c, "PRAGMA journal_mode=WAL", schema)
	if got := query(t, c, "PRAGMA wal_autocheckpoint"); got != "0" {
		t.Fatalf("wal_autocheckpoint is %s: commits would checkpoint", got)
	}
	n := 10000 // transactions, which write some 30,000 frames
	if testing.Short() {
		n = 2500
	}
	if largest := insertMany(t, c, "t", n, path+"-wal"); largest > walLimit {
		t.Errorf("the WAL grew to %d MB, want %d at most", largest>>20, walLimit>>20)
	}
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	agrees(t, r, c, path, "after steady writes")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + "-wal"); err == nil {
		t.Error("the WAL is still there after the last connection was closed")
	}
	if plain, err := sqlite3.Open("file:" + path + "?vfs=pagetrail"); err != nil {
		t.Fatal(err)
	} else {
		defer plain.Close()
		if got := query(t, plain, "PRAGMA wal_autocheckpoint"); got != "1000" {
			t.Errorf("wal_autocheckpoint is %s without checkpoint=background", got)
		}
	}
	if _, err := sqlite3.Open("file:" + path + "?vfs=pagetrail&checkpoint=nonsense"); err == nil {
		t.Error("checkpoint=nonsense was accepted")
	}
}

// TestBackgroundCheckpointsReader writes while a reader holds the WAL: commits
// go on, and after its end the WAL is bounded again. 2,400 rows make some 5,400 frames.
func TestBackgroundCheckpointsReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := open(t, path, "&checkpoint=background")
	run(t, c, "PRAGMA journal_mode=WAL", schema, "INSERT INTO t(a) VALUES('first')")
	reader := open(t, path, "&checkpoint=background")
	run(t, reader, "BEGIN")
	if got := query(t, reader, "SELECT count(*) FROM t"); got != "1" {
		t.Fatalf("the reader sees %s rows", got)
	}
	if held := insertMany(t, c, "t", 2400, path+"-wal"); held <= walLimit {
		t.Fatalf("the WAL has %d MB: the reader did not hold it, and nothing is tested", held>>20)
	}
	if got := query(t, reader, "SELECT count(*) FROM t"); got != "1" {
		t.Errorf("the reader sees %s rows in its snapshot", got)
	}
	run(t, reader, "COMMIT")
	before := walSalt(t, path)
	insertMany(t, c, "t", 500, path+"-wal")
	if walSalt(t, path) == before {
		t.Error("the WAL did not begin anew after the reader's end")
	}
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	agrees(t, r, c, path, "after the reader's end")
	for _, c := range []*sqlite3.Conn{reader, c} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// walSalt is the generation of the WAL of the database at path.
func walSalt(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path + "-wal")
	if err != nil || len(b) < 24 {
		t.Fatalf("read the WAL: %v", err)
	}
	return string(b[16:24])
}

// TestBackgroundCheckpointsAttached attaches a database that asks for nothing:
// SQLite's own checkpoints of it are kept up.
func TestBackgroundCheckpointsAttached(t *testing.T) {
	dir := t.TempDir()
	c := open(t, filepath.Join(dir, "x.db"), "&checkpoint=background")
	other := filepath.Join(dir, "y.db")
	run(t, c, "PRAGMA journal_mode=WAL", "ATTACH 'file:"+other+"?vfs=pagetrail' AS y", "PRAGMA y.journal_mode=WAL",
		"CREATE TABLE y.t(a,b)")
	if largest := insertMany(t, c, "y.t", 2000, other+"-wal"); largest > 1100*(4096+24) {
		t.Errorf("the WAL of the attached database grew to %d MB", largest>>20)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}
