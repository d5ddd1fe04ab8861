//go:build linux || darwin

package follow_test

import (
	"bufio"
	"context"
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

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// bank is a primary whose every transaction keeps an invariant that any reader
// of any snapshot can check: see testdata/reader.py.
type bank struct {
	*primary
	r *rand.Rand
	n int
}

const accounts = 200

func newBank(t testing.TB, mode string, seed uint64) *bank {
	b := &bank{primary: newPrimary(t, journalMode(mode), `
		CREATE TABLE accounts(id INTEGER PRIMARY KEY, balance INTEGER, filler BLOB);
		CREATE INDEX balances ON accounts(balance);
		CREATE TABLE counter(n INTEGER);
		CREATE TABLE history(n INTEGER PRIMARY KEY, note TEXT);`), r: rand.New(rand.NewPCG(seed, 1))}
	b.exec(fmt.Sprintf(`BEGIN; INSERT INTO counter VALUES(0); INSERT INTO history VALUES(0, 'start');
		WITH RECURSIVE i(x) AS (VALUES(1) UNION ALL SELECT x+1 FROM i WHERE x<%d)
		INSERT INTO accounts SELECT x, 1000, randomblob(300) FROM i; COMMIT`, accounts))
	b.txid() // from here on the trail has all of it
	return b
}

// txid is that of the last transfer: whoever asks gets it after the capture
// has passed the asker's own commits.
func (b *bank) txid() journal.TXID {
	b.t.Helper()
	return b.primary.txid()
}

// transfer is one transaction. It touches a few pages, now and then many.
func (b *bank) transfer() {
	b.t.Helper()
	b.n++
	from, to, sum := b.r.IntN(accounts)+1, b.r.IntN(accounts)+1, b.r.IntN(100)
	sql := fmt.Sprintf(`BEGIN; UPDATE accounts SET balance=balance-%d WHERE id=%d; UPDATE accounts SET balance=balance+%d WHERE id=%d;
		UPDATE counter SET n=%d; INSERT INTO history VALUES(%d, hex(randomblob(%d)))`, sum, from, sum, to, b.n, b.n, b.r.IntN(40))
	switch b.r.IntN(100) {
	case 0:
		sql += "; UPDATE accounts SET filler=randomblob(300)"
	case 1:
		sql += fmt.Sprintf("; DELETE FROM history WHERE n<%d", b.n-200)
	}
	b.exec(sql + "; COMMIT")
}

// upset is what is rare: it changes every page, the page size or the mode.
func (b *bank) upset(mode string) {
	b.t.Helper()
	switch b.r.IntN(4) {
	case 0:
		b.exec("VACUUM")
	case 1:
		b.exec("PRAGMA journal_mode=DELETE", fmt.Sprintf("PRAGMA page_size=%d", 512<<b.r.IntN(6)), "VACUUM", journalMode(mode))
	case 2:
		b.exec("PRAGMA journal_mode=WAL", journalMode(mode))
	case 3:
		b.exec("PRAGMA journal_mode=DELETE", journalMode(mode))
	}
}

// reader is another program that reads the replica and checks what it sees.
type reader struct {
	way  string
	cmd  *exec.Cmd
	in   io.Closer
	out  *bufio.Scanner
	said []string
}

func startReader(t testing.TB, path, way string) *reader {
	t.Helper()
	exe, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("python3 is not installed")
	}
	cmd := exec.Command(exe, "testdata/reader.py", path, way)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = cmd.Stdout
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r := &reader{way: way, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	if !r.out.Scan() || r.out.Text() != "ready" {
		cmd.Process.Kill()
		t.Fatalf("reader %s: %q", way, r.out.Text())
	}
	return r
}

// stop ends the reader and fails the test for everything it complained of.
func (r *reader) stop(t testing.TB) {
	t.Helper()
	r.in.Close()
	var reads, bad int
	for r.out.Scan() {
		if n, _ := fmt.Sscanf(r.out.Text(), "reads %d bad %d", &reads, &bad); n < 2 {
			r.said = append(r.said, r.out.Text())
		}
	}
	if err := r.cmd.Wait(); err != nil || len(r.said) > 0 || reads == 0 {
		t.Errorf("reader %s: %d reads, %v, said:\n%s", r.way, reads, err, strings.Join(r.said[:min(5, len(r.said))], "\n"))
	}
	t.Logf("reader %s: %d reads", r.way, reads)
}

// client is a connection of C SQLite's shell that is asked again and again.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startClient(t testing.TB, path string) *client {
	t.Helper()
	exe, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("sqlite3 is not installed")
	}
	cmd := exec.Command(exe, "-batch", path)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	cmd.Stderr = cmd.Stdout
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); cmd.Wait() })
	c := &client{cmd, in, bufio.NewScanner(out)}
	// Other connections that close take SQLite's PENDING lock for a moment.
	fmt.Fprintln(in, ".timeout 10000")
	return c
}

// ask returns the one line that answers sql.
func (c *client) ask(t testing.TB, sql string) string {
	t.Helper()
	if _, err := fmt.Fprintln(c.in, sql); err != nil {
		t.Fatal(err)
	}
	if !c.out.Scan() {
		t.Fatalf("the shell ended at %s: %v", sql, c.out.Err())
	}
	return c.out.Text()
}

// fewer is how many of n of the same a test does: a quarter with -short, as under
// the race detector.
func fewer(n int) int {
	if testing.Short() {
		return n / 4
	}
	return n
}

// rounds is how many rounds of n a test goes: a tenth with -short, and with
// PAGETRAIL_TEST_SOAK=k, k times as many.
func rounds(n int) int {
	if k, err := strconv.Atoi(os.Getenv("PAGETRAIL_TEST_SOAK")); err == nil {
		return k * n
	}
	if testing.Short() {
		return max(1, n/10)
	}
	return n
}

// TestReaders applies thousands of transactions under the eyes of other
// programs. Warm connections must see what was announced at once, and nobody
// may ever see half a transaction or an older state than before.
func TestReaders(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		t.Run(mode, func(t *testing.T) {
			b := newBank(t, mode, 7)
			path := filepath.Join(t.TempDir(), "replica.db")
			r := openReplica(t, path, b.source(), &follow.Options{
				CheckpointFrames: 50, WALLimitBytes: 1 << 20, WALWait: 1, // so that all of it happens often
				BatchTransactions: 3,
			})
			var readers []*reader
			for _, way := range []string{"warm", "openclose", "long", "integrity", "mmap", "readonly"} {
				readers = append(readers, startReader(t, path, way))
			}
			c, warm := startClient(t, path), connect(t, path)
			for i := range rounds(1000) {
				b.transfer()
				if i%60 == 59 {
					b.upset(mode)
				}
				if b.r.IntN(3) > 0 {
					continue
				}
				id := b.txid()
				catchUp(t, r)
				want := fmt.Sprint(b.n)
				if got := c.ask(t, "SELECT n FROM counter;"); got != want || r.Position().TXID != id {
					t.Fatalf("transaction %d of %d is announced, the shell reads counter %s, want %s", r.Position().TXID, id, got, want)
				}
				if got := fmt.Sprint(queryInt(t, warm, "SELECT n FROM counter")); got != want {
					t.Fatalf("the Go driver reads counter %s, want %s", got, want)
				}
			}
			for _, rd := range readers {
				rd.stop(t)
			}
			c.in.Close()
			c.cmd.Wait()
			warm.Close()
			b.txid()
			catchUp(t, r)
			closeReplica(t, r)
			alone(t, path)
			same(t, "replica", read(t, path), b.content())
		})
	}
}

func connect(t testing.TB, path string) *sqlite3.Conn {
	t.Helper()
	// As in startClient: other connections that close take SQLite's PENDING lock for a moment.
	c, err := sqlite3.Open("file:" + path + "?_pragma=busy_timeout(60000)")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestRun follows in the background, while the primary is written to and
// readers read; the last state arrives without being asked for.
func TestRun(t *testing.T) {
	b := newBank(t, "WAL", 3)
	path := filepath.Join(t.TempDir(), "replica.db")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var mu sync.Mutex
	arrived := sync.NewCond(&mu)
	var at follow.Applied
	o := &follow.Options{Events: follow.Events{
		Attached: func(pos journal.Position) { mu.Lock(); at.Position = pos; mu.Unlock(); arrived.Broadcast() },
		Applied:  func(a follow.Applied) { mu.Lock(); at = a; mu.Unlock(); arrived.Broadcast() },
	}}
	done := make(chan error)
	go func() { done <- follow.Run(ctx, path, b.source(), o) }()
	for range 200 {
		b.transfer()
	}
	id := b.txid()
	mu.Lock()
	for at.Position.TXID < id {
		arrived.Wait()
	}
	mu.Unlock()
	if got := shell(t, path, "SELECT n FROM counter"); got != fmt.Sprint(b.n) {
		t.Fatalf("counter %s, want %d", got, b.n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	alone(t, path)
	same(t, "replica", read(t, path), b.content())
}
