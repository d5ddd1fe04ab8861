//go:build linux || darwin

package follow_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// TestMain lets the test binary be a follower that dies.
func TestMain(m *testing.M) {
	if path := os.Getenv("PAGETRAIL_TEST_FOLLOWER"); path != "" {
		follower(path, os.Getenv("PAGETRAIL_TEST_TRAIL"), os.Getenv("PAGETRAIL_TEST_STEP"))
		return
	}
	os.Exit(m.Run())
}

// small makes checkpoints and restarts of the WAL frequent.
func small() *follow.Options {
	return &follow.Options{CheckpointFrames: 20, BatchTransactions: 4, WALLimitBytes: 256 << 10, WALWait: 1}
}

// follower follows and kills itself before step number n, counted from 1, of
// those that change a file; with a name, of the steps of that name. Without
// it ends when it has caught up.
func follower(path, dir, step string) {
	name, text, _ := strings.Cut(step, ":")
	left, err := strconv.Atoi(text)
	kill := err == nil
	o := small()
	o.Once, o.Trail = true, os.Getenv("PAGETRAIL_TEST_OWN_TRAIL")
	follow.WithHook(o, func(s string) {
		if kill && (name == "" || name == s) {
			if left--; left == 0 {
				fmt.Println("killed before:", s)
				syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}
	})
	if n, err := strconv.ParseUint(os.Getenv("PAGETRAIL_TEST_FILE_LIMIT"), 10, 64); err == nil {
		signal.Ignore(syscall.SIGXFSZ)
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			fmt.Println("no limit:", err)
			return
		}
	}
	trail, err := journal.Open(dir, nil)
	if err == nil {
		err = follow.Run(context.Background(), path, follow.TrailSource(trail, ""), o)
	}
	fmt.Println("ended:", err)
}

// runFollower runs a follower as a process of its own and says how it ended.
func runFollower(t testing.TB, path, trail, step string) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PAGETRAIL_TEST_FOLLOWER="+path, "PAGETRAIL_TEST_TRAIL="+trail, "PAGETRAIL_TEST_STEP="+step)
	cmd.Stderr = os.Stderr
	out, _ := cmd.Output() // being killed is an error
	s := strings.TrimSpace(string(out))
	if !strings.HasPrefix(s, "killed before: ") && s != "ended: <nil>" && os.Getenv("PAGETRAIL_TEST_FILE_LIMIT") == "" {
		t.Fatalf("follower %s: %q", step, s)
	}
	return s
}

// steps are all there are; each must have been met.
var steps = []string{
	"write replica", "name replica", "remove temporary file", "begin log", "truncate index", "recover", "build index",
	"enter frame", "publish", "publish the second copy", "write frames", "frames written", "write log header",
	"sync log header", "restart", "reset backfill", "reset marks", "checkpoint", "copy pages", "truncate database",
	"sync database", "write position", "set backfill", "remove log", "remove index",
}

// TestKillBeforeEveryStep kills the follower before each kind of step, early
// and late, with and without a reader that goes on meanwhile; the next one
// continues, and SQLite reads what the dead one left.
func TestKillBeforeEveryStep(t *testing.T) {
	met := map[string]bool{}
	for i, mode := range []string{"DELETE", "WAL"} {
		b := newBank(t, mode, uint64(i))
		path := filepath.Join(t.TempDir(), "replica.db")
		r := rand.New(rand.NewPCG(uint64(i), 5))
		for round := range max(1, rounds(2)) {
			for _, step := range steps {
				if step == "write replica" || step == "name replica" || step == "remove temporary file" {
					for _, suffix := range []string{"", "-wal", "-shm", "-pos"} {
						os.Remove(path + suffix)
					}
				}
				for range max(8, fewer(20)) {
					b.transfer()
				}
				if r.IntN(5) == 0 {
					b.upset(mode)
				}
				b.txid()
				said := runFollower(t, path, b.path+"-pagetrail", fmt.Sprintf("%s:%d", step, 1+round*r.IntN(4)))
				met[strings.TrimPrefix(said, "killed before: ")] = true
				if _, err := os.Stat(path); err == nil && r.IntN(2) == 0 {
					if got := shell(t, path, "SELECT sum(balance)/1000 FROM accounts; PRAGMA integrity_check"); got != "200\nok" {
						t.Fatalf("after %s: SQLite reads %q", said, got)
					}
				}
			}
		}
		b.txid()
		runFollower(t, path, b.path+"-pagetrail", "")
		alone(t, path)
		same(t, "replica", read(t, path), b.content())
	}
	for _, step := range steps {
		if !met[step] {
			t.Errorf("never killed before: %s", step)
		}
	}
}

// TestKillRandom kills followers at random steps, with readers all the while.
func TestKillRandom(t *testing.T) {
	b := newBank(t, "WAL", 9)
	path := filepath.Join(t.TempDir(), "replica.db")
	runFollower(t, path, b.path+"-pagetrail", "")
	var readers []*reader
	for _, way := range []string{"warm", "openclose", "long"} {
		readers = append(readers, startReader(t, path, way))
	}
	kills := 0
	for range rounds(60) {
		for range 1 + b.r.IntN(10) {
			b.transfer()
		}
		if b.r.IntN(10) == 0 {
			b.upset("WAL")
		}
		b.txid()
		if said := runFollower(t, path, b.path+"-pagetrail", fmt.Sprintf(":%d", 1+b.r.IntN(60))); strings.HasPrefix(said, "killed") {
			kills++
		}
	}
	for _, rd := range readers {
		rd.stop(t)
	}
	t.Logf("%d kills", kills)
	b.txid()
	runFollower(t, path, b.path+"-pagetrail", "")
	alone(t, path)
	same(t, "replica", read(t, path), b.content())
}

// TestDiskFull lets every file end at some size, as a full disk does: the
// follower says so, what readers see is whole, and with room it goes on.
func TestDiskFull(t *testing.T) {
	b := newBank(t, "WAL", 21)
	path := filepath.Join(t.TempDir(), "replica.db")
	runFollower(t, path, b.path+"-pagetrail", "")
	full, step := 0, 31_000
	if testing.Short() {
		step *= 3
	}
	for limit := 33 << 10; limit < 500<<10; limit += step {
		for range max(15, fewer(30)) {
			b.transfer()
		}
		b.txid()
		t.Setenv("PAGETRAIL_TEST_FILE_LIMIT", strconv.Itoa(limit))
		said := runFollower(t, path, b.path+"-pagetrail", "")
		if strings.Contains(said, "file too large") {
			full++
		} else if said != "ended: <nil>" {
			t.Fatalf("limit %d: %s", limit, said)
		}
		if got := shell(t, path, "SELECT sum(balance)/1000 FROM accounts; PRAGMA integrity_check"); got != "200\nok" {
			t.Fatalf("limit %d: %s; SQLite reads %q", limit, said, got)
		}
	}
	t.Setenv("PAGETRAIL_TEST_FILE_LIMIT", "")
	if full < max(1, fewer(3)) {
		t.Fatalf("the disk was full %d times", full)
	}
	runFollower(t, path, b.path+"-pagetrail", "")
	alone(t, path)
	same(t, "replica", read(t, path), b.content())
}
