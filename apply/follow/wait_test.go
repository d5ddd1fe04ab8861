//go:build linux || darwin

package follow_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply/follow"
)

// TestIdleSnapshot: a reader keeps a snapshot open. The follower goes on, new
// readers see everything, the old one its snapshot; when it ends, the WAL
// begins anew and gives its disk space back.
func TestIdleSnapshot(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		b := newBank(t, mode, 11)
		path := filepath.Join(t.TempDir(), "replica.db")
		waits := 0
		o := &follow.Options{CheckpointFrames: 50, WALLimitBytes: int64(fewer(200 << 10)), WALWait: 1, BatchTransactions: 1}
		o.Events.Waiting = func(string) { waits++ }
		r := openReplica(t, path, b.source(), o)
		b.transfer()
		b.txid()
		catchUp(t, r)
		idle := connect(t, path)
		if err := idle.Exec("BEGIN"); err != nil {
			t.Fatal(err)
		}
		old := queryInt(t, idle, "SELECT n FROM counter")
		for range fewer(200) {
			b.transfer()
		}
		id := b.txid()
		catchUp(t, r)
		if got := shell(t, path, "SELECT n FROM counter"); got != fmt.Sprint(b.n) || r.Position().TXID != id {
			t.Fatalf("%s: new readers see %s, want %d", mode, got, b.n)
		}
		if got := queryInt(t, idle, "SELECT n FROM counter"); got != old {
			t.Fatalf("%s: the snapshot went from %d to %d", mode, old, got)
		}
		if waits == 0 || size(t, path+"-wal") < o.WALLimitBytes {
			t.Fatalf("%s: the WAL of %d bytes was never waited for", mode, size(t, path+"-wal"))
		}
		if err := idle.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
		for range fewer(50) {
			b.transfer()
			b.txid()
			catchUp(t, r)
		}
		if got := size(t, path+"-wal"); got > 2*o.WALLimitBytes {
			t.Fatalf("%s: the WAL still has %d bytes", mode, got)
		}
		idle.Close()
		closeReplica(t, r)
		alone(t, path)
		same(t, mode, read(t, path), b.content())
	}
}

func size(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// TestPageSizeWaitsForReaders: another page size needs a WAL of its own, so it
// waits for the readers of the old, says so, and gives up only when told to.
func TestPageSizeWaitsForReaders(t *testing.T) {
	b := newBank(t, "DELETE", 12)
	path := filepath.Join(t.TempDir(), "replica.db")
	o := &follow.Options{WALWait: 1}
	r := openReplica(t, path, b.source(), o)
	b.transfer()
	before := b.txid()
	catchUp(t, r)
	idle := connect(t, path)
	if err := idle.Exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	old := queryInt(t, idle, "SELECT n FROM counter")
	b.exec("PRAGMA page_size=1024", "VACUUM")
	b.transfer()
	id := b.txid()
	closeReplica(t, r)

	ctx, cancel := context.WithCancel(context.Background())
	o.Events.Waiting = func(string) { cancel() }
	r = openReplica(t, path, b.source(), o)
	if _, err := r.CatchUp(ctx); err == nil || r.Position().TXID != before {
		t.Fatalf("with a reader of the old size: at %d, %v", r.Position().TXID, err)
	}
	if got := queryInt(t, idle, "SELECT n FROM counter"); got != old {
		t.Fatalf("the snapshot went from %d to %d", old, got)
	}
	closeReplica(t, r)

	waits := 0
	o.Events.Waiting = func(string) {
		if waits++; waits == 3 {
			if err := idle.Exec("COMMIT"); err != nil {
				t.Error(err)
			}
		}
	}
	r = openReplica(t, path, b.source(), o)
	catchUp(t, r)
	if got := queryInt(t, idle, "SELECT n FROM counter"); got != int64(b.n) || r.Position().TXID != id || waits != 3 {
		t.Fatalf("counter %d, want %d; at %d, want %d; %d waits", got, b.n, r.Position().TXID, id, waits)
	}
	idle.Close()
	closeReplica(t, r)
	same(t, "replica", read(t, path), b.content())
}
