//go:build real

package realtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/internal/workload"
	"github.com/pagetrail/pagetrail/journal"
	_ "github.com/pagetrail/pagetrail/vfs"
)

// What a child process is to write until it is killed, and in which journal mode.
const (
	doomedEnv     = "PAGETRAIL_DOOMED"
	doomedModeEnv = "PAGETRAIL_DOOMED_MODE"
)

// TestMain lets the test's binary be that child.
func TestMain(m *testing.M) {
	if path := os.Getenv(doomedEnv); path != "" {
		if err := doomed(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// doomed runs the document API and prints the number of each commit after it returned.
func doomed(path string) error {
	conn, err := sqlite3.Open("file:" + path + "?vfs=pagetrail")
	if err != nil {
		return err
	}
	defer conn.Close()
	hooks := workload.Hooks{
		JournalMode: os.Getenv(doomedModeEnv),
		Committed: func(_ *sqlite3.Conn, c workload.Commit) error {
			_, err := fmt.Println(c.Number)
			return err
		},
	}
	d := workload.NewDocument(conn, workload.DocumentSmall, 7, hooks)
	defer d.Close()
	return d.Run(context.Background())
}

// TestKilledWriter kills a process in the middle of its work, some commits after one that it told
// of. Whoever opens the database next finds every commit that was told of, all that the workload
// promises of it, and a trail that makes the same file.
func TestKilledWriter(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for _, kills := range []struct {
		mode   string
		n, max int // kills, each after at most max commits
	}{{"wal", 8, 1500}, {"delete", 4, 300}, {"persist", 2, 300}} {
		for range kills.n {
			after := 1 + random.IntN(kills.max)
			t.Run(fmt.Sprintf("%s/%d", kills.mode, after), func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "killed.db")
				told := killAfter(t, path, kills.mode, after)
				checkSurvivor(t, path, kills.mode, told)
			})
		}
	}
}

// killAfter kills the child when it has told of a number of commits; it returns the last it told of.
func killAfter(t *testing.T, path, mode string, after int) (told int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), doomedEnv+"="+path, doomedModeEnv+"="+mode)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if told, err = strconv.Atoi(lines.Text()); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		// The child goes on while the signal is on its way, and what it tells until then counts.
		if told == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Success() {
		t.Fatalf("the child ended with %v before it was killed, after %d commits", err, told)
	}
	return told
}

func checkSurvivor(t *testing.T, path, mode string, told int) {
	p := openPrimary(t, path)
	if err := workload.CheckDocuments(p.conn); err != nil {
		t.Error(err)
	}
	// What rolling back a hot journal leaves is found when the next writer begins.
	if mode != "wal" {
		p.exec("BEGIN IMMEDIATE; COMMIT")
	}
	// The first question already is answered with what the connection sees, not with where the dead
	// process had come: a restore point may hang on it.
	last := p.txid()
	want := p.content()
	if after := p.txid(); after != last {
		t.Errorf("TXID %d at first, %d after a checkpoint of the same state", last, after)
	}
	trail := p.trail()
	defer trail.Close()
	commits := 0
	for record, err := range trail.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if record.Kind == journal.Ordinary {
			commits++
		}
	}
	// Before the first that is told of come the statements of the schema.
	if commits < told {
		t.Errorf("%d commits in the trail, but %d had returned", commits, told)
	}
	same(t, "the survivor", read(t, p.hydrate(trail, last)), want)
	p.verified(trail)
}
