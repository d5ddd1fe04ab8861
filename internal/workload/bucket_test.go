package workload_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	_ "github.com/ncruces/go-sqlite3/driver"
	"github.com/pagetrail/pagetrail/internal/workload"
)

func open(t *testing.T, path string) *sqlite3.Conn {
	t.Helper()
	conn, err := sqlite3.Open("file:" + path)
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

// copyOf makes a copy of the database as it is now and opens it.
func copyOf(t *testing.T, conn *sqlite3.Conn) *sqlite3.Conn {
	t.Helper()
	path := filepath.Join(t.TempDir(), "copy.db")
	if err := conn.Exec("VACUUM INTO '" + path + "'"); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

// fingerprint is the hash of the database file after a full checkpoint.
func fingerprint(t *testing.T, conn *sqlite3.Conn, path string) string {
	t.Helper()
	if err := conn.Exec("PRAGMA wal_checkpoint(TRUNCATE)"); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(data))
}

func TestBucketForetellsTheOracle(t *testing.T) {
	conn := open(t, filepath.Join(t.TempDir(), "a.db"))
	phases, last := map[string]int{}, workload.State{}
	rolledBack := 0
	hooks := workload.Hooks{
		Committed: func(conn *sqlite3.Conn, c workload.Commit) error {
			phases[c.Phase]++
			got, err := workload.ReadState(conn)
			if err != nil {
				return err
			}
			if got != c.State {
				return fmt.Errorf("transaction %d (%s): found %v, foretold %v", c.Number, c.Phase, got, c.State)
			}
			if got.Checkpoint < last.Checkpoint {
				return fmt.Errorf("transaction %d: checkpoint %d after %d", c.Number, got.Checkpoint, last.Checkpoint)
			}
			last = got
			return nil
		},
		RolledBack: func(*sqlite3.Conn, string) error { rolledBack++; return nil },
	}
	b := workload.NewBucket(conn, workload.BucketTiny, 1, hooks)
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if rolledBack < 2 {
		t.Errorf("%d copies were rolled back, want at least the aborted and the cancelled one", rolledBack)
	}
	if phases["live"] < 2*workload.BucketTiny.Rounds || phases["compact"] < 3*19 || phases["empty"] != 2 {
		t.Errorf("transactions by phase: %v", phases)
	}
	if last.Operations != 0 || last.Checkpoint == 0 {
		t.Errorf("after everything was deleted: %v", last)
	}
}

func TestBucketIsDeterministic(t *testing.T) {
	prints := map[uint64]string{}
	for _, seed := range []uint64{1, 2, 1} {
		path := filepath.Join(t.TempDir(), "a.db")
		conn := open(t, path)
		b := workload.NewBucket(conn, workload.BucketTiny, seed, workload.Hooks{})
		steps := []func(context.Context) error{b.Setup, b.Copy, b.Compact}
		for _, step := range steps {
			if err := step(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		b.Close()
		print := fingerprint(t, conn, path)
		if old := prints[seed]; old != "" && old != print {
			t.Errorf("seed %d made two different files", seed)
		}
		prints[seed] = print
	}
	if prints[1] == prints[2] {
		t.Error("two seeds made the same file")
	}
}

// TestBucketOracleSees shows that the oracle tells copies apart that differ in one operation.
func TestBucketOracleSees(t *testing.T) {
	conn := open(t, filepath.Join(t.TempDir(), "a.db"))
	b := workload.NewBucket(conn, workload.BucketTiny, 3, workload.Hooks{})
	defer b.Close()
	for _, step := range []func(context.Context) error{b.Setup, b.Copy} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	damages := []string{
		"DELETE FROM oplog WHERE seq=17",
		"UPDATE oplog SET crc=crc+1 WHERE seq=17",
		"UPDATE oplog SET bucket='list[\"none\"]' WHERE seq=17",
		"UPDATE streams SET cp_seq=cp_seq-1",
	}
	for _, damage := range damages {
		replica := copyOf(t, conn)
		if got, err := workload.ReadState(replica); err != nil || got != b.State() {
			t.Fatalf("an exact copy: %v, %v, want %v", got, err, b.State())
		}
		if err := replica.Exec(damage); err != nil {
			t.Fatal(err)
		}
		if got, _ := workload.ReadState(replica); got == b.State() {
			t.Errorf("not noticed: %s", damage)
		}
	}
}

func TestReadBucketsBesideTheWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	conn := open(t, path)
	b := workload.NewBucket(conn, workload.BucketTiny, 4, workload.Hooks{})
	defer b.Close()
	for _, step := range []func(context.Context) error{b.Setup, b.Copy} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reader := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		reads workload.Reads
		err   error
	}
	done := make(chan result)
	go func() {
		reads, err := workload.ReadBuckets(ctx, reader, 5, nil)
		done <- result{reads, err}
	}()
	if err := b.Live(t.Context(), 100); err != nil {
		t.Error(err)
	}
	cancel()
	if r := <-done; r.err != nil {
		t.Error(r.err)
	}

	// The same reader fails when bodies are not what their checksums say.
	if err := conn.Exec("UPDATE oplog SET body='x' WHERE kind='PUT'"); err != nil {
		t.Fatal(err)
	}
	_, err := workload.ReadBuckets(t.Context(), reader, 6, nil)
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a reader of damaged bodies: %v", err)
	}
}

// countdown is a context that is cancelled when it has been asked for its error a number of times.
type countdown struct {
	context.Context
	left *int
}

func (c countdown) Err() error {
	if *c.left--; *c.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestReadBucketsEndsItsTransaction interrupts a reader at each of its first steps: wherever it was,
// it must leave no read transaction open, or checkpoints would wait for it.
func TestReadBucketsEndsItsTransaction(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	conn := open(t, path)
	b := workload.NewBucket(conn, workload.BucketTiny, 4, workload.Hooks{})
	defer b.Close()
	for _, step := range []func(context.Context) error{b.Setup, b.Copy} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	reader := open(t, path)
	for n := range 100 {
		left := n
		ctx := countdown{t.Context(), &left}
		reader.SetInterrupt(ctx)
		_, err := workload.ReadBuckets(ctx, reader, 1, nil)
		reader.SetInterrupt(t.Context())
		if err != nil {
			t.Fatalf("interrupted at step %d: %v", n, err)
		}
		if !reader.GetAutocommit() {
			t.Errorf("interrupted at step %d: the transaction is still open", n)
			if err := reader.Exec("ROLLBACK"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestBucketSmall checks the shape of scale S: the transactions by kind that its description promises.
func TestBucketSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("scale S takes seconds: not in -short")
	}
	path := filepath.Join(t.TempDir(), "a.db")
	conn := open(t, path)
	random := rand.New(rand.NewPCG(1, 2))
	phases, checked := map[string]int{}, 0
	hooks := workload.Hooks{Committed: func(conn *sqlite3.Conn, c workload.Commit) error {
		phases[c.Phase]++
		if random.IntN(300) != 0 {
			return nil
		}
		checked++
		if got, err := workload.ReadState(conn); err != nil || got != c.State {
			return fmt.Errorf("found %v (%w), foretold %v", got, err, c.State)
		}
		return nil
	}}
	b := workload.NewBucket(conn, workload.BucketSmall, 7, hooks)
	defer b.Close()
	if err := b.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("transactions by phase %v, %d checked", phases, checked)
	if n := phases["compact"]; n < 7_000 || n > 10_000 {
		t.Errorf("%d compaction transactions, the workload is described with about 8,900", n)
	}
}
