//go:build real

package realtest_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/pagetrail/pagetrail/internal/workload"
	"github.com/pagetrail/pagetrail/journal"
)

const moments = 50 // TXIDs drawn at random, at which the oracles are put to replicas; a fifth of them at scale M

// scales are S, or M when PAGETRAIL_SCALE=M asks for ten times as much.
func scales() (workload.BucketScale, workload.DocumentScale) {
	if os.Getenv("PAGETRAIL_SCALE") == "M" {
		return workload.BucketMedium, workload.DocumentMedium
	}
	return workload.BucketSmall, workload.DocumentSmall
}

// ledger knows the TXID of every transaction of a workload. It asks for it only now and then, since
// asking makes the trail catch up, and fails when between two answers not every commit was one TXID.
type ledger struct {
	random *rand.Rand
	commit []workload.Commit
	ids    []journal.TXID
	known  journal.TXID // of commit number asked
	asked  int
}

func (l *ledger) committed(conn *sqlite3.Conn, c workload.Commit) error {
	l.commit = append(l.commit, c)
	if c.Number == 1 || l.random.IntN(40) == 0 {
		return l.ask(conn)
	}
	return nil
}

func (l *ledger) ask(conn *sqlite3.Conn) error {
	id, err := txid(conn)
	if err != nil {
		return err
	}
	if l.asked > 0 && int(id-l.known) != len(l.commit)-l.asked {
		return fmt.Errorf("%d commits after TXID %d is TXID %d", len(l.commit)-l.asked, l.known, id)
	}
	for len(l.ids) < len(l.commit) {
		l.ids = append(l.ids, id-journal.TXID(len(l.commit)-len(l.ids)-1))
	}
	l.known, l.asked = id, len(l.commit)
	return nil
}

// beside runs a reader on a connection of its own until the returned function is called. It reads
// at most a thousand times a second, so that on two cores the writer gets its share.
func beside(t *testing.T, p *primary, read func(context.Context, *sqlite3.Conn, func()) (workload.Reads, error)) (stop func()) {
	t.Helper()
	conn := connect(t, "file:"+p.path+"?vfs=pagetrail")
	if err := conn.Exec("PRAGMA busy_timeout=10000"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	conn.SetInterrupt(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		reads, err := read(ctx, conn, func() {
			select {
			case <-ctx.Done():
			case <-ticks.C:
			}
		})
		if err != nil {
			t.Errorf("reader: %v", err)
		}
		t.Logf("reader: %d snapshots, %d rows", reads.Snapshots, reads.Rows)
	}()
	return func() {
		cancel()
		<-done
		conn.SetInterrupt(context.Background())
	}
}

func TestBucketStore(t *testing.T) {
	all := judges(t)
	p := openPrimary(t, filepath.Join(t.TempDir(), "bucket.db"))
	l := &ledger{random: rand.New(rand.NewPCG(1, 1))}
	scale, _ := scales()
	b := workload.NewBucket(p.conn, scale, 7, workload.Hooks{Committed: l.committed})
	defer b.Close()
	if err := b.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := beside(t, p, func(ctx context.Context, conn *sqlite3.Conn, pause func()) (workload.Reads, error) {
		return workload.ReadBuckets(ctx, conn, 1, pause)
	})
	for _, step := range []func(context.Context) error{
		b.Copy, func(ctx context.Context) error { return b.Live(ctx, scale.Rounds) }, b.Compact, b.Empty,
	} {
		if err := step(t.Context()); err != nil {
			stop()
			t.Fatal(err)
		}
	}
	stop()
	checkMoments(t, p, l, all, func(conn *sqlite3.Conn, c workload.Commit) error {
		state, err := workload.ReadState(conn)
		if err == nil && state != c.State {
			err = fmt.Errorf("found %v, want %v", state, c.State)
		}
		return err
	})
}

func TestDocumentStore(t *testing.T) {
	all := judges(t)
	p := openPrimary(t, filepath.Join(t.TempDir(), "document.db"))
	l := &ledger{random: rand.New(rand.NewPCG(2, 2))}
	_, scale := scales()
	d := workload.NewDocument(p.conn, scale, 7, workload.Hooks{Committed: l.committed})
	defer d.Close()
	if err := d.Setup(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop := beside(t, p, func(ctx context.Context, conn *sqlite3.Conn, pause func()) (workload.Reads, error) {
		return workload.ReadDocuments(ctx, conn, scale, 1, pause)
	})
	for i := range scale.Operations {
		if err := d.Step(t.Context(), i); err != nil {
			stop()
			t.Fatal(err)
		}
	}
	stop()
	if err := d.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkMoments(t, p, l, all, func(conn *sqlite3.Conn, _ workload.Commit) error {
		return workload.CheckDocuments(conn)
	})
}

// checkMoments hydrates the last TXID and random ones, and puts the oracle to each replica; the last
// is the primary's file, bit for bit. Every tenth is judged by others too.
func checkMoments(t *testing.T, p *primary, l *ledger, all []judge, oracle func(*sqlite3.Conn, workload.Commit) error) {
	if err := l.ask(p.conn); err != nil {
		t.Fatal(err)
	}
	primaryHash := sha256.Sum256(p.content())
	trail := p.trail()
	defer trail.Close()
	name := p.hydrate(trail, l.known)
	if got := sha256.Sum256(read(t, name)); got != primaryHash {
		t.Errorf("SHA-256 of the replica %x, of the primary %x", got, primaryHash)
	}
	if err := putOracle(name, l.commit[len(l.commit)-1], oracle); err != nil {
		t.Errorf("the last replica: %v", err)
	}
	judged(t, all, name)
	os.Remove(name)
	n := moments
	if bucket, _ := scales(); bucket == workload.BucketMedium {
		n /= 5
	}
	for n := range n {
		i := l.random.IntN(len(l.ids))
		name := p.hydrate(trail, l.ids[i])
		if n%10 == 0 {
			judged(t, all, name)
		}
		if err := putOracle(name, l.commit[i], oracle); err != nil {
			t.Errorf("TXID %d, %s: %v", l.ids[i], l.commit[i].Phase, err)
		}
		os.Remove(name)
	}
	report := p.verified(trail)
	pages, bytes := written(t, trail)
	t.Logf("%d transactions, %d bytes of pages written, %d of patches, %d of trail in %d files", len(l.commit), pages, bytes,
		report.Files.Bytes, report.Files.Segments)
}

func putOracle(name string, c workload.Commit, oracle func(*sqlite3.Conn, workload.Commit) error) error {
	conn, err := sqlite3.Open("file:" + name)
	if err != nil {
		return err
	}
	defer conn.Close()
	return oracle(conn, c)
}

// written sums up what the transactions of a trail changed, as whole pages and as patches.
func written(t *testing.T, trail *journal.Trail) (pages, patches int64) {
	t.Helper()
	for record, err := range trail.Records(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		pages += int64(record.Pages) * int64(record.PageSize)
		patches += record.Bytes
	}
	return pages, patches
}
