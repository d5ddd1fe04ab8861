package vfs_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// plain opens a database as a program does that knows nothing of us.
func plain(t tb, path string) *sqlite3.Conn {
	t.Helper()
	c, err := sqlite3.Open("file:" + path)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	return c
}

// watched makes a database in WAL mode with a plain writer, and a Watcher.
func watched(t *testing.T, o *vfs.WatchOptions) (path string, c *sqlite3.Conn, w *vfs.Watcher) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.db")
	c = plain(t, path)
	t.Cleanup(func() { c.Close() })
	run(t, c, "PRAGMA journal_mode=WAL", schema)
	w, err := vfs.NewWatcher(path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	step(t, w)
	return path, c, w
}

func step(t tb, w *vfs.Watcher) {
	t.Helper()
	if _, err := w.Step(); err != nil {
		t.Fatalf("step: %v", err)
	}
}

// lastOf is the last transaction of the trail.
func lastOf(t tb, path string) journal.TXID {
	t.Helper()
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer trail.Close()
	tx, err := trail.Last()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return tx.TXID
}

// TestWatch has a plain writer commit, checkpoint, vacuum, close and come back,
// and each commit is one record.
func TestWatch(t *testing.T) {
	path, c, w := watched(t, nil)
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	same := func(what string, commits int) {
		t.Helper()
		before := r.state.TXID()
		step(t, w)
		sameBytes(t, what, r.at(lastOf(t, path)), snapshot(t, path))
		if got := int(r.state.TXID() - before); got != commits {
			t.Errorf("%s: %d commits are %d records", what, commits, got)
		}
	}
	same("base", 1)
	insert := func(n int) {
		for i := range n {
			run(t, c, fmt.Sprintf("INSERT INTO t(a,b) VALUES('%d', randomblob(3000))", i))
		}
	}
	insert(20)
	same("inserts", 20)
	// The writer checkpoints by itself, twice and more, in the middle of it.
	run(t, c, "PRAGMA wal_autocheckpoint=10")
	for range 30 {
		insert(5)
		same("with checkpoints", 5)
	}
	run(t, c, "BEGIN", "PRAGMA cache_size=2")
	insert(100)
	run(t, c, "COMMIT", "PRAGMA auto_vacuum=FULL", "VACUUM", "DELETE FROM t WHERE id%3=0")
	same("spill, vacuum and delete", 3)
	step(t, w)
	for i := range 4 {
		run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)")
		if i%2 == 0 {
			step(t, w)
		}
		insert(3)
		same("after TRUNCATE", 3)
		step(t, w)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	c = plain(t, path)
	defer c.Close()
	insert(3)
	same("another connection", 3)
	if r.kinds[journal.CatchUp] > 0 {
		t.Errorf("%d catch-up records: commits were merged", r.kinds[journal.CatchUp])
	}
}

// TestWatchInterleaved has the writer commit, checkpoint or both at every point
// of the Watcher's protocol. No commit is lost.
func TestWatchInterleaved(t *testing.T) {
	for seed := range uint64(rounds(4)) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var c *sqlite3.Conn
		commits := 0
		o := &vfs.WatchOptions{}
		points := map[string]int{}
		meddle := func(at string) {
			if c == nil {
				return
			}
			points[at]++
			for range rnd.IntN(4) {
				switch rnd.IntN(4) {
				case 0:
					run(t, c, "PRAGMA wal_checkpoint(PASSIVE)")
				case 1:
					_ = c.Exec("PRAGMA wal_checkpoint(TRUNCATE)") // which is busy, or is not
				default:
					run(t, c, fmt.Sprintf("INSERT INTO t(a,b) VALUES('x', randomblob(%d))", rnd.IntN(9000)))
					commits++
				}
			}
		}
		o.SetHook(meddle)
		path, conn, w := watched(t, o)
		r := newReplica(t, path+"-pagetrail")
		first := lastOf(t, path)
		c = conn
		for range 80 {
			step(t, w)
			meddle("between")
		}
		c = nil
		for range 3 {
			step(t, w)
		}
		sameBytes(t, fmt.Sprintf("seed %d", seed), r.at(lastOf(t, path)), snapshot(t, path))
		if got := int(r.state.TXID() - first); got != commits || r.kinds[journal.CatchUp] > 0 {
			t.Errorf("seed %d: %d commits are %d records, kinds %v", seed, commits, got, r.kinds)
		}
		for _, p := range []string{"lock a mark", "record", "lock mark 0", "unlock the mark", "unlock mark 0", "set the mark"} {
			if points[p] == 0 {
				t.Errorf("seed %d: %q was never reached: %v", seed, p, points)
			}
		}
		r.close()
	}
}

// outsider starts a program that commits without a pause until its input ends,
// and prints a line for each commit.
func outsider(t *testing.T, path, language string) (lines <-chan int, stop func() int) {
	t.Helper()
	var cmd *exec.Cmd
	switch language {
	case "python":
		cmd = exec.Command("python3", "-c", pythonWriter, path)
	case "sqlite3":
		cmd = exec.Command("sqlite3", "-bail", path)
	}
	if _, err := exec.LookPath(cmd.Args[0]); err != nil {
		t.Skip("skipped: " + cmd.Args[0] + " is not installed")
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if language == "sqlite3" {
		go func() {
			fmt.Fprintln(in, ".timeout 5000\nPRAGMA synchronous=NORMAL;")
			for i := 1; ; i++ {
				if _, err := fmt.Fprintf(in, "INSERT INTO t(a,b) VALUES('c%d', randomblob(%d)); SELECT %d;\n", i, i%4000, i); err != nil {
					return
				}
			}
		}()
	}
	count := make(chan int, 1<<16)
	done := make(chan int)
	go func() {
		defer close(count)
		last := 0
		for s := bufio.NewScanner(out); s.Scan(); {
			last, _ = strconv.Atoi(s.Text())
			select {
			case count <- last:
			default:
			}
		}
		done <- last
	}()
	return count, func() int {
		if language == "sqlite3" {
			cmd.Process.Kill()
		} else {
			io.WriteString(in, "end\n")
			in.Close()
		}
		last := <-done
		cmd.Wait()
		return last
	}
}

const pythonWriter = `
import sqlite3, sys, threading
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), stop.set()), daemon=True).start()
db = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=5)
db.execute("PRAGMA synchronous=NORMAL")
i = 0
while not stop.is_set():
    i += 1
    if i % 7 == 0:
        db.execute("BEGIN IMMEDIATE")
        db.execute("UPDATE t SET b=randomblob(500) WHERE id = ?", (i // 2,))
        db.execute("INSERT INTO t(a) VALUES('p')")
        db.execute("COMMIT")
    else:
        db.execute("INSERT INTO t(a,b) VALUES('p', randomblob(?))", (i * 37 % 5000,))
    print(i, flush=True)
db.close()
`

// TestWatchOutsiders has C and Python write at full speed while a Watch runs,
// one of them killed in the middle: every commit is a record, and the WAL is no
// longer than a busy writer without us would have it, give or take.
func TestWatchOutsiders(t *testing.T) {
	for _, language := range []string{"sqlite3", "python"} {
		t.Run(language, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := plain(t, path)
			defer c.Close()
			run(t, c, "PRAGMA busy_timeout=60000", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=NORMAL", schema)
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error)
			go func() { ended <- vfs.Watch(ctx, path, nil) }()
			waitFor(t, func() bool { _, err := os.Stat(path + "-pagetrail/identity"); return err == nil && lastOf(t, path) > 0 })
			lines, stop := outsider(t, path, language)
			longest := int64(0)
			for n := range lines {
				if info, err := os.Stat(path + "-wal"); err == nil {
					longest = max(longest, info.Size())
				}
				if n > rounds(1500) {
					break
				}
			}
			wrote := stop()
			rows, _ := strconv.Atoi(query(t, c, "SELECT count(*) FROM t"))
			if rows < wrote || rows > wrote+1 {
				t.Fatalf("%d rows after %d commits", rows, wrote)
			}
			run(t, c, "UPDATE t SET a=a WHERE id=1") // over the frames of a commit that was killed before it was one
			rows++
			waitFor(t, func() bool { return int(lastOf(t, path)) >= rows+1 })
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			sameBytes(t, language, r.at(journal.TXID(rows+1)), snapshot(t, path)) // the base and the commits
			if r.kinds[journal.CatchUp] > 0 {
				t.Errorf("%d catch-up records", r.kinds[journal.CatchUp])
			}
			t.Logf("%d commits, the WAL had %d bytes at the most", rows, longest)
			if longest > 64<<20 {
				t.Errorf("the WAL grew to %d bytes", longest)
			}
		})
	}
}

// waitFor polls for what another goroutine or process brings about.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited for a minute")
		}
	}
}

// TestWatchBesideVFS has programs with and without the VFS write a database
// that is watched too: all of them record, and nothing is there twice.
func TestWatchBesideVFS(t *testing.T) {
	path, c, w := watched(t, nil)
	if err := c.BusyTimeout(time.Minute); err != nil {
		t.Fatal(err)
	}
	first := lastOf(t, path)
	p := startWriter(t, path, "?vfs=pagetrail", 100)
	outside := 0
	for {
		run(t, c, "BEGIN IMMEDIATE; INSERT INTO t(a,b) VALUES('outside', randomblob(2000)); COMMIT")
		outside++
		step(t, w)
		select {
		case <-p.enough:
		default:
			continue
		}
		break
	}
	p.stop(t)
	step(t, w)
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	sameBytes(t, "after both", r.at(lastOf(t, path)), snapshot(t, path))
	if got, want := int(r.state.TXID()-first), outside+p.rows; got < want || got > want+1 || r.kinds[journal.CatchUp] > 0 {
		t.Errorf("%d records, %d commits were told of, kinds %v", got, want, r.kinds)
	}
}

// TestWatchLimit: a reader that stays does not make the WAL grow for ever on
// our account, and a program is never refused for it; what is lost is one
// record.
func TestWatchLimit(t *testing.T) {
	path, c, w := watched(t, &vfs.WatchOptions{WALBytes: 40 << 12})
	for range 60 {
		run(t, c, "INSERT INTO t(a,b) VALUES('x', randomblob(4000))")
	}
	step(t, w)
	if wal, file := w.Held(); wal || file {
		t.Errorf("the WAL of 60 frames and more is held: %v %v", wal, file)
	}
	first, err := w.Step()
	if err != nil {
		t.Fatal(err)
	}
	if wait, err := w.Step(); wait <= first || err != nil {
		t.Errorf("what was recorded is looked at again, within %v after %v: %v", wait, first, err)
	}
	run(t, c, "PRAGMA wal_checkpoint(TRUNCATE)", "INSERT INTO t(a) VALUES('y')", "INSERT INTO t(a) VALUES('z')")
	step(t, w)
	step(t, w)
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	sameBytes(t, "after it was let go", r.at(lastOf(t, path)), snapshot(t, path))
	if wal, file := w.Held(); !wal && !file {
		t.Error("it is not held again")
	}
}

// TestWatchNobodyThere: a database that no program has open is watched from its
// present state on, and so is one without a page.
func TestWatchNobodyThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	c := plain(t, path)
	run(t, c, "PRAGMA journal_mode=WAL", schema, "INSERT INTO t(a) VALUES('one')")
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := vfs.NewWatcher(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	step(t, w)
	step(t, w)
	c = plain(t, path)
	defer c.Close()
	run(t, c, "INSERT INTO t(a) VALUES('two')", "INSERT INTO t(a) VALUES('three')")
	step(t, w)
	r := newReplica(t, path+"-pagetrail")
	defer r.close()
	sameBytes(t, "after two commits", r.at(3), snapshot(t, path))
	if r.kinds[journal.CatchUp] > 0 {
		t.Errorf("kinds %v", r.kinds)
	}
}

// TestWatchRefuses what cannot be watched, and ends when the file is gone.
func TestWatchRefuses(t *testing.T) {
	dir := t.TempDir()
	c := plain(t, filepath.Join(dir, "delete.db"))
	run(t, c, schema)
	c.Close()
	if _, err := vfs.NewWatcher(filepath.Join(dir, "delete.db"), nil); !errors.Is(err, vfs.ErrNotWAL) {
		t.Errorf("journal_mode=DELETE: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "delete.db-pagetrail")); err == nil {
		t.Error("a trail was begun all the same")
	}
	if _, err := vfs.NewWatcher(filepath.Join(dir, "none.db"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no database: %v", err)
	}
	path, _, w := watched(t, nil)
	step(t, w)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Step(); !errors.Is(err, vfs.ErrMoved) {
		t.Errorf("moved away: %v", err)
	}
}

// TestWatchLast: the last to close leaves the database as SQLite would, whole
// and without a WAL, whatever lock the Watcher held.
func TestWatchLast(t *testing.T) {
	for _, steps := range []int{0, 1, 2, 3} {
		path, c, w := watched(t, nil)
		run(t, c, "INSERT INTO t(a) VALUES('one')", "PRAGMA wal_checkpoint(PASSIVE)")
		for range steps {
			step(t, w)
		}
		run(t, c, "INSERT INTO t(a) VALUES('two')")
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path + "-wal"); err == nil {
			t.Errorf("%d steps: the WAL is still there", steps)
		}
		if got := strings.ReplaceAll(shell(t, path, "SELECT a FROM t; PRAGMA integrity_check;"), "\n", " "); got != "one two ok" {
			t.Errorf("%d steps: the database has %s", steps, got)
		}
		r := newReplica(t, path+"-pagetrail")
		sameBytes(t, "after closing", r.at(lastOf(t, path)), readFile(t, path))
		r.close()
	}
}
