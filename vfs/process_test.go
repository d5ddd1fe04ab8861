package vfs_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
)

// TestMain lets the test binary be one of several writers of a database.
func TestMain(m *testing.M) {
	if path := os.Getenv("PAGETRAIL_TEST_WRITER"); path != "" {
		writer(path)
		return
	}
	os.Exit(m.Run())
}

// writer writes to the database until its input ends, and prints a line with
// the number of each row that it has committed.
func writer(path string) {
	done := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(done)
	}()
	fail := func(err error) {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	c, err := sqlite3.Open("file:" + path + os.Getenv("PAGETRAIL_TEST_PARAMS"))
	if err != nil {
		fail(err)
	}
	if err := c.BusyTimeout(time.Minute); err != nil {
		fail(err)
	}
	pause, _ := time.ParseDuration(os.Getenv("PAGETRAIL_TEST_PAUSE"))
	for i := 1; ; i++ {
		select {
		case <-done:
			if err := c.Close(); err != nil {
				fail(err)
			}
			return
		default:
		}
		sql := fmt.Sprintf("INSERT INTO t(a,b) VALUES('%d/%d', randomblob(%d))", os.Getpid(), i, i%1000)
		if i%5 == 0 {
			sql = "BEGIN IMMEDIATE; " + sql + "; UPDATE t SET b=randomblob(100) WHERE id IN (SELECT id FROM t ORDER BY random() LIMIT 3); COMMIT"
		}
		if err := c.Exec(sql); err != nil {
			fail(err)
		}
		fmt.Println(i)
		time.Sleep(pause)
	}
}

type process struct {
	cmd    *exec.Cmd
	stdin  io.Closer
	mu     sync.Mutex
	rows   int // committed, as far as it has said
	bad    string
	enough chan struct{} // closed when it has written some rows
	done   chan struct{}
}

func startWriter(t *testing.T, path, params string, enough int) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0]), enough: make(chan struct{}), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), "PAGETRAIL_TEST_WRITER="+path, "PAGETRAIL_TEST_PARAMS="+params)
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.done)
		for s := bufio.NewScanner(out); s.Scan(); {
			n, err := strconv.Atoi(s.Text())
			p.mu.Lock()
			if err != nil {
				p.bad = s.Text()
			} else {
				p.rows = n
			}
			p.mu.Unlock()
			if n == enough {
				close(p.enough)
			}
		}
	}()
	return p
}

// stop ends the process in order, kill does not.
func (p *process) stop(t *testing.T) {
	t.Helper()
	p.stdin.Close()
	<-p.done
	if err := p.cmd.Wait(); err != nil || p.bad != "" {
		t.Errorf("writer: %v %s", err, p.bad)
	}
}

func (p *process) kill() {
	p.cmd.Process.Kill()
	<-p.done
	p.cmd.Wait()
}

func (p *process) wait(t *testing.T) {
	t.Helper()
	select {
	case <-p.enough:
	case <-p.done:
		t.Fatalf("a writer ended early: %s", p.bad)
	}
}

// rounds is n, or a quarter of it with -short: the race detector, which the
// tests are run under then, makes them ten times slower.
func rounds(n int) int {
	if testing.Short() {
		return (n + 3) / 4
	}
	return n
}

// TestSeveralProcesses has three processes write one database, one of which is
// killed and followed by another again and again.
func TestSeveralProcesses(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := open(t, path, "")
			run(t, c, "PRAGMA journal_mode="+mode, schema)
			const params = "?vfs=pagetrail&_txlock=immediate"
			a := startWriter(t, path, params, rounds(300))
			b := startWriter(t, path, params, rounds(300))
			killed := map[int]int{}
			for range rounds(8) {
				p := startWriter(t, path, params, 5+rand.IntN(40))
				p.wait(t)
				p.kill()
				killed[p.cmd.Process.Pid] = p.rows
			}
			a.wait(t)
			b.wait(t)
			a.stop(t)
			b.stop(t)
			run(t, c, "DELETE FROM t WHERE id=0", "UPDATE t SET a=a WHERE id=1")
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			agrees(t, r, c, path, "after all")
			for p, rows := range map[*process]int{a: a.rows, b: b.rows} {
				killed[p.cmd.Process.Pid] = rows
			}
			for pid, rows := range killed {
				got, _ := strconv.Atoi(query(t, c, fmt.Sprintf("SELECT count(*) FROM t WHERE a LIKE '%d/%%'", pid)))
				if got < rows || got > rows+1 {
					t.Errorf("process %d committed %d rows, %d are there", pid, rows, got)
				}
			}
			c.Close()
			if got := shell(t, path, "PRAGMA integrity_check;"); got != "ok" {
				t.Error(got)
			}
			t.Logf("%s: %d transactions, kinds %v", mode, r.state.TXID(), r.kinds)
			if mode == "WAL" && r.kinds[journal.CatchUp] > 0 {
				t.Errorf("%d catch-up records: transactions were merged", r.kinds[journal.CatchUp])
			}
		})
	}
}

// TestProcessAndOutsider has the C shell write beside a process of ours.
func TestProcessAndOutsider(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.db")
			c := open(t, path, "")
			run(t, c, "PRAGMA journal_mode="+mode, schema)
			// SQLite has no queue for its locks: a fast writer that does not pause keeps everybody else out for minutes.
			t.Setenv("PAGETRAIL_TEST_PAUSE", "1ms")
			a := startWriter(t, path, "?vfs=pagetrail", rounds(200))
			for i := range 10 {
				shell(t, path, ".timeout 60000\n"+strings.Repeat("INSERT INTO t(a) VALUES('outside');", i+1))
			}
			a.wait(t)
			a.stop(t)
			if err := c.BusyTimeout(time.Minute); err != nil {
				t.Fatal(err)
			}
			run(t, c, "UPDATE t SET a=a WHERE id=1")
			r := newReplica(t, path+"-pagetrail")
			defer r.close()
			agrees(t, r, c, path, "after all")
			if got := query(t, c, "SELECT count(*) FROM t WHERE a='outside'"); got != "55" {
				t.Errorf("%s rows from outside", got)
			}
			t.Logf("%s: %d transactions, kinds %v", mode, r.state.TXID(), r.kinds)
			c.Close()
		})
	}
}

// TestAskAfterKill asks for the position, and names it, as the first thing
// after a writer was killed in WAL mode, before anything is written.
func TestAskAfterKill(t *testing.T) {
	for i := range 10 {
		path := filepath.Join(t.TempDir(), "x.db")
		c := open(t, path, "")
		run(t, c, "PRAGMA journal_mode=WAL", schema)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		p := startWriter(t, path, "?vfs=pagetrail", 20+i)
		p.wait(t)
		p.kill()
		c = open(t, path, "")
		defer c.Close()
		rows, _ := strconv.Atoi(query(t, c, "SELECT count(*) FROM t"))
		point := query(t, c, "PRAGMA pagetrail_point='after the crash'")
		id := txid(t, c)
		if point != fmt.Sprint(id) {
			t.Fatalf("point at %s, TXID %d", point, id)
		}
		r := newReplica(t, path+"-pagetrail")
		defer r.close()
		sameBytes(t, fmt.Sprintf("at the point, %d rows", rows), r.at(id), snapshot(t, path))
	}
}
