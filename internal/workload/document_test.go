package workload_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/internal/workload"
)

func TestDocumentOraclesHoldAfterEveryTransaction(t *testing.T) {
	conn := open(t, filepath.Join(t.TempDir(), "a.db"))
	phases, rolledBack := map[string]int{}, 0
	random := rand.New(rand.NewPCG(3, 4))
	hooks := workload.Hooks{
		Committed: func(conn *sqlite3.Conn, c workload.Commit) error {
			phases[c.Phase]++
			// The questions cost more than the transactions: each kind of transaction is
			// looked at closely at first, then now and then.
			if phases[c.Phase] > 8 && random.IntN(10) != 0 {
				return nil
			}
			if err := workload.CheckDocuments(conn); err != nil {
				return fmt.Errorf("transaction %d (%s): %w", c.Number, c.Phase, err)
			}
			return nil
		},
		RolledBack: func(conn *sqlite3.Conn, _ string) error {
			rolledBack++
			return workload.CheckDocuments(conn)
		},
	}
	d := workload.NewDocument(conn, workload.DocumentTiny, 1, hooks)
	defer d.Close()
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rolledBack == 0 {
		t.Error("no purchase was rolled back")
	}
	for _, phase := range []string{"put", "update", "purchase", "batch", "delete", "drain", "metrics", "expire", "backup", "index", "finish"} {
		if phases[phase] == 0 {
			t.Errorf("no transaction of phase %s: %v", phase, phases)
		}
	}
}

func TestDocumentIsDeterministic(t *testing.T) {
	prints := map[uint64]string{}
	for _, seed := range []uint64{1, 2, 1} {
		path := filepath.Join(t.TempDir(), "a.db")
		conn := open(t, path)
		d := workload.NewDocument(conn, workload.DocumentTiny, seed, workload.Hooks{})
		if err := d.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		d.Close()
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

func TestDocumentOraclesSee(t *testing.T) {
	conn := open(t, filepath.Join(t.TempDir(), "a.db"))
	d := workload.NewDocument(conn, workload.DocumentTiny, 3, workload.Hooks{})
	defer d.Close()
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if err := d.Step(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct{ damage, want string }{
		{`DELETE FROM x_cust WHERE rowid=(SELECT max(rowid) FROM x_cust)`, "neither in the customers' index"},
		{`UPDATE counter SET v=v+1`, "changes missing"},
		{`UPDATE d_tickets SET doc=json_set(doc,'$.status.S','BAD') WHERE rowid=(SELECT min(rowid) FROM d_tickets)`, "as their last change"},
		{`DELETE FROM d_tickets WHERE rowid=(SELECT min(rowid) FROM d_tickets)`, "as their last change"},
		{`INSERT INTO d_tickets SELECT pk, 'new', doc FROM d_tickets LIMIT 1`, "without a change"},
		{`UPDATE d_events SET doc=json_set(doc,'$.sold.N','-1') WHERE pk='ev-00000'`, "events that are not"},
		{`UPDATE x_venue SET doc='{}'`, "venues' index differs"},
		{`INSERT INTO token VALUES('a','void-1','','')`, "rolled back"},
		{`PRAGMA foreign_keys=off; UPDATE shard SET coll='none'`, "foreign keys"},
	}
	for _, test := range tests {
		replica := copyOf(t, conn)
		if err := workload.CheckDocuments(replica); err != nil {
			t.Fatalf("an exact copy: %v", err)
		}
		if err := replica.Exec(test.damage); err != nil {
			t.Fatal(err)
		}
		if err := workload.CheckDocuments(replica); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.damage, err, test.want)
		}
	}
}

func TestReadDocumentsBesideTheWriter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.db")
	conn := open(t, path)
	d := workload.NewDocument(conn, workload.DocumentTiny, 4, workload.Hooks{})
	defer d.Close()
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	reader := open(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := workload.ReadDocuments(ctx, reader, workload.DocumentTiny, 5, nil)
		done <- err
	}()
	for i := range 300 {
		if err := d.Step(t.Context(), i); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := conn.Exec(`UPDATE change SET rec='{"seq":1}'`); err != nil {
		t.Fatal(err)
	}
	_, err := workload.ReadDocuments(t.Context(), reader, workload.DocumentTiny, 6, nil)
	if err == nil || !strings.Contains(err.Error(), "change stream") {
		t.Errorf("a reader of a damaged stream: %v", err)
	}
}

// TestDocumentSmall checks the shape of scale S: the number of transactions that its description promises.
func TestDocumentSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("scale S takes seconds: not in -short")
	}
	conn := open(t, filepath.Join(t.TempDir(), "a.db"))
	random := rand.New(rand.NewPCG(1, 2))
	total, phases := 0, map[string]int{}
	hooks := workload.Hooks{Committed: func(conn *sqlite3.Conn, c workload.Commit) error {
		total++
		phases[c.Phase]++
		if random.IntN(500) != 0 {
			return nil
		}
		return workload.CheckDocuments(conn)
	}}
	d := workload.NewDocument(conn, workload.DocumentSmall, 7, hooks)
	defer d.Close()
	if err := d.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d transactions: %v", total, phases)
	if total < 5_400 || total > 6_200 {
		t.Errorf("%d transactions, the workload is described with about 5,800", total)
	}
}
