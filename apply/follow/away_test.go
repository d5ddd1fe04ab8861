//go:build linux || darwin

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// TestAwayForLong: while the follower was away, the trail let go of the
// transactions that it lacks, or the archive folded them, in the middle of which
// it is. It jumps to the last state by the pages that differ, under the eyes of a
// reader, and its own trail begins anew.
func TestAwayForLong(t *testing.T) {
	for hows := []string{"pruned", "folded", "forgotten"}; len(hows) > 0; hows = hows[1:] {
		how, hour := hows[0], time.Now().Truncate(time.Hour)
		b, store := newBank(t, "WAL", 5), new(mem.Store)
		path := filepath.Join(t.TempDir(), "replica.db")
		source := func() follow.Source { return b.source() }
		if how != "pruned" {
			b.shipTo(store)
			source = func() follow.Source {
				a, err := archive.Open(t.Context(), store, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { a.Close() })
				return follow.TrailSource(a.Trail, "")
			}
		}
		var done repairs
		o := done.options()
		o.Trail = path + "-pagetrail"
		var begun []string
		o.Events.TrailBegun = func(reason, aside string) { begun = append(begun, reason) }
		live := func(n int) journal.TXID {
			for i := range n {
				b.transfer()
				if id := b.txid(); how != "pruned" && i%5 == 4 {
					b.shipTo(store)
				} else if i == n-1 {
					return id
				}
			}
			return b.txid()
		}
		live(23)
		if how != "pruned" {
			b.shipTo(store)
		}
		r := openReplica(t, path, source(), o)
		catchUp(t, r)
		closeReplica(t, r)
		reader := connect(t, path)
		if err := reader.Exec("BEGIN"); err != nil {
			t.Fatal(err)
		}
		before := queryInt(t, reader, "SELECT n FROM counter")
		id := live(max(30, fewer(70)))
		if how == "folded" && !time.Now().Truncate(time.Hour).Equal(hour) {
			hows = append(hows, how) // what is folded ends with an hour, and that may be where the follower is: once more
			continue
		}
		if how == "pruned" {
			id = prune(t, b)
		} else {
			maintain(t, store, how)
		}
		r = openReplica(t, path, source(), o)
		catchUp(t, r)
		if got := r.Position().TXID; got != id || len(done.reasons) != 1 || len(begun) != 1 {
			t.Fatalf("%s: at %d, want %d; repairs %q, trails %q", how, got, id, done.reasons, begun)
		}
		if got := queryInt(t, reader, "SELECT n FROM counter"); got != before {
			t.Errorf("%s: the snapshot went from %d to %d", how, before, got)
		}
		if err := reader.Exec("COMMIT"); err != nil {
			t.Fatal(err)
		}
		if got := queryInt(t, reader, "SELECT n FROM counter"); got != int64(b.n) {
			t.Errorf("%s: readers see counter %d, want %d", how, got, b.n)
		}
		id = live(5)
		catchUp(t, r)
		reader.Close()
		closeReplica(t, r)
		alone(t, path)
		same(t, how, read(t, path), b.content())
		own := openDir(t, o.Trail)
		same(t, how+": its trail", hydrate(t, own, id), b.content())
	}
}

// prune has the trail part with what is old.
func prune(t *testing.T, b *bank) (last journal.TXID) {
	t.Helper()
	for range 2 { // what the base is checked against stays
		b.conn.Close()
		rotated(t, b.path+"-pagetrail")
		b.open()
		b.transfer()
		last = b.txid()
	}
	removed, err := journal.Prune(t.Context(), b.path+"-pagetrail", last, nil)
	if err != nil || len(removed) == 0 {
		t.Fatalf("pruned %q, %v", removed, err)
	}
	return last
}

// maintain has the archive fold what is old, or forget it.
func maintain(t *testing.T, store *mem.Store, how string) {
	t.Helper()
	r := archive.Retention{All: time.Minute, Minutes: time.Hour, Hours: 1000 * time.Hour}
	if how == "forgotten" {
		r = archive.Retention{All: time.Minute}
	}
	done, err := upkeep.Run(t.Context(), store, &archive.MaintainOptions{
		Retention: r, Grace: -1, Now: time.Now().Add(24 * time.Hour), TempDir: t.TempDir(),
	})
	if err != nil || len(done.Plans) == 0 {
		t.Fatalf("maintained %+v, %v", done, err)
	}
}

// rotated ends the segment that grows, seals it, and makes a base of the last state.
func rotated(t *testing.T, dir string) {
	t.Helper()
	state := hydrate(t, openDir(t, dir), lastOf(t, dir))
	w, err := journal.OpenWriter(dir, nil)
	if err == nil {
		_, err = w.Lock()
	}
	if err == nil {
		err = w.Rotate()
	}
	if err != nil {
		t.Fatal(err)
	}
	size := w.Last().PageSize
	b, err := w.CreateBase(size, uint32(len(state)/size), 0, false)
	if err == nil {
		err = b.WritePages(1, state)
	}
	if err == nil {
		_, err = b.Commit()
	}
	if err = errors.Join(err, w.Close()); err == nil {
		_, err = journal.Seal(t.Context(), dir, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func lastOf(t *testing.T, dir string) journal.TXID {
	t.Helper()
	last, err := openDir(t, dir).Last()
	if err != nil {
		t.Fatal(err)
	}
	return last.TXID
}

// TestRewindKeepsTheSurplus: a replica is beside its source's history, or ahead of
// it. It goes back to what both have and on from there, and the transactions that
// only it had are in the trail that it keeps aside.
func TestRewindKeepsTheSurplus(t *testing.T) {
	for _, beside := range []bool{false, true} {
		p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)", "INSERT INTO t VALUES('common')")
		old := p.twin()
		path := filepath.Join(t.TempDir(), "replica.db")
		o := &follow.Options{Trail: path + "-pagetrail", Rewind: true}
		aside := ""
		o.Events.TrailBegun = func(_, name string) { aside = name }
		r := openReplica(t, path, p.source(), o)
		catchUp(t, r)
		for i := range 3 {
			p.exec(fmt.Sprintf("INSERT INTO t VALUES('surplus %d')", i))
			p.txid()
			catchUp(t, r)
		}
		surplus := p.txid()
		want := p.content()
		closeReplica(t, r)

		old.open() // the primary came back as it was before
		defer old.conn.Close()
		if beside {
			for i := range 4 {
				old.exec(fmt.Sprintf("INSERT INTO t VALUES('other %d')", i))
			}
		}
		id := old.txid()
		r = openReplica(t, path, old.source(), o)
		catchUp(t, r)
		if got := shell(t, path, "SELECT count(*) FROM t WHERE a LIKE 'surplus%'; PRAGMA integrity_check"); got != "0\nok" || r.Position().TXID != id {
			t.Fatalf("beside %v: at %d, want %d; readers see %q", beside, r.Position().TXID, id, got)
		}
		old.exec("INSERT INTO t VALUES('and on')")
		id = old.txid()
		catchUp(t, r)
		closeReplica(t, r)
		same(t, "replica", read(t, path), old.content())
		same(t, "its trail", hydrate(t, openDir(t, o.Trail), id), old.content())
		kept := keptAside(t, o.Trail, aside)
		same(t, "what is kept aside", hydrate(t, openDir(t, kept), surplus), want)
	}
}

// keptAside is the trail that has what was cut off from one: a branch, or the
// whole trail under another name.
func keptAside(t *testing.T, dir, aside string) string {
	t.Helper()
	if aside != "" {
		return aside
	}
	branches, err := openDir(t, dir).Branches()
	if err != nil || len(branches) != 1 {
		left, _ := filepath.Glob(filepath.Dir(dir) + "/*")
		in, _ := filepath.Glob(dir + "/*")
		t.Fatalf("nothing is kept aside: %+v, %v; %q %q", branches, err, left, in)
	}
	return branches[0].Dir
}

// TestReaderForEver: a replica in a rollback mode, in which a program reads and
// does not end, cannot be given a log. The follower says so in bounded time, has
// changed nothing, and neither has the reader been disturbed.
func TestReaderForEver(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=DELETE", "CREATE TABLE t(a)", "INSERT INTO t VALUES(1)")
	p.txid()
	path := filepath.Join(t.TempDir(), "replica.db")
	closeReplica(t, openReplica(t, path, p.source(), nil))
	p.exec("INSERT INTO t VALUES(2)")
	id := p.txid()
	reader := connect(t, path)
	if err := reader.Exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	queryInt(t, reader, "SELECT count(*) FROM t")
	before := files(t, path)
	now := time.Now()
	o := &follow.Options{Now: func() time.Time { return now }}
	o.Wait = func(_ context.Context, d time.Duration) error { now = now.Add(d); return nil }
	start := now
	_, err := follow.Open(t.Context(), path, p.source(), o)
	if !errors.Is(err, journal.ErrLocked) || !strings.Contains(err.Error(), "using the replica") || now.Sub(start) > 11*time.Second {
		t.Fatalf("after %v: %v", now.Sub(start), err)
	}
	if files(t, path) != before {
		t.Error("the files changed")
	}
	if got := queryInt(t, reader, "SELECT count(*) FROM t"); got != 1 {
		t.Errorf("the reader sees %d rows", got)
	}
	if err := connect(t, path).Exec("SELECT * FROM t"); err != nil {
		t.Errorf("another reader: %v", err)
	}
	if err := reader.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	r := openReplica(t, path, p.source(), o)
	catchUp(t, r)
	if got := queryInt(t, reader, "SELECT count(*) FROM t"); got != 2 || r.Position().TXID != id {
		t.Errorf("the reader sees %d rows, at %d", got, r.Position().TXID)
	}
	closeReplica(t, r)
}

// TestDiskFullAtFirst: the disk fills up while a replica is made, or its trail is
// begun. There is no half of a file, and with room all is well.
func TestDiskFullAtFirst(t *testing.T) {
	b := newBank(t, "DELETE", 22)
	b.txid()
	full := int(size(t, b.path))
	dir := t.TempDir()
	limits := []int{full - 1, full + 100, 4096, 100, full / 2, full + 4000}
	if testing.Short() {
		limits = limits[:3]
	}
	for i, limit := range limits {
		path := filepath.Join(dir, fmt.Sprintf("replica%d.db", i))
		t.Setenv("PAGETRAIL_TEST_OWN_TRAIL", path+"-pagetrail")
		t.Setenv("PAGETRAIL_TEST_FILE_LIMIT", fmt.Sprint(limit))
		said := runFollower(t, path, b.path+"-pagetrail", "")
		if limit < full && !strings.Contains(said, "file too large") {
			t.Fatalf("limit %d: %s", limit, said)
		}
		if _, err := os.Stat(path); limit < full != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("limit %d: %s: %v", limit, said, err)
		}
		if left, _ := filepath.Glob(path + "*.tmp"); len(left) > 0 {
			t.Errorf("limit %d: %q are left", limit, left)
		}
		t.Setenv("PAGETRAIL_TEST_FILE_LIMIT", "")
		if err := follow.Run(t.Context(), path, b.source(), &follow.Options{Once: true, Trail: path + "-pagetrail"}); err != nil {
			t.Fatalf("limit %d, and then with room: %v", limit, err)
		}
		alone(t, path)
		same(t, "replica", read(t, path), b.content())
		same(t, "its trail", hydrate(t, openDir(t, path+"-pagetrail"), lastOf(t, path+"-pagetrail")), b.content())
	}
}

// TestIdleForAnHour: a reader keeps a snapshot for an hour, in which the primary
// commits again and again. The follower is held up for the bounded time that
// is documented, each time that the log has grown by its limit, and at no other;
// what readers see that begin now is never older than that.
func TestIdleForAnHour(t *testing.T) {
	b := newBank(t, "WAL", 13)
	path := filepath.Join(t.TempDir(), "replica.db")
	now, stalled, told := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC), time.Duration(0), 0
	mon := new(follow.Monitor)
	every := 5 * time.Second
	if testing.Short() {
		every = time.Minute
	}
	o := &follow.Options{WALLimitBytes: int64(fewer(1 << 20)), Monitor: mon, Now: func() time.Time { return now }}
	o.Wait = func(_ context.Context, d time.Duration) error { now, stalled = now.Add(d), stalled+d; return nil }
	o.Events.Waiting = func(string) { told++ }
	b.txid()
	r := openReplica(t, path, b.source(), o)
	idle, warm := connect(t, path), connect(t, path)
	if err := idle.Exec("BEGIN"); err != nil {
		t.Fatal(err)
	}
	old := queryInt(t, idle, "SELECT n FROM counter")
	end := now.Add(time.Hour)
	for now.Before(end) {
		now = now.Add(every)
		b.transfer()
		id, before := b.txid(), stalled
		catchUp(t, r)
		if got := queryInt(t, warm, "SELECT n FROM counter"); got != int64(b.n) || r.Position().TXID != id {
			t.Fatalf("transaction %d is announced of %d, a reader sees counter %d of %d", r.Position().TXID, id, got, b.n)
		}
		if lag := mon.Lag(); lag.Staleness(now) > 2100*time.Millisecond || stalled-before > 2100*time.Millisecond {
			t.Fatalf("held up for %v, %v behind", stalled-before, lag.Staleness(now))
		}
	}
	if got := queryInt(t, idle, "SELECT n FROM counter"); got != old {
		t.Fatalf("the snapshot went from %d to %d", old, got)
	}
	limits := size(t, path+"-wal") / o.WALLimitBytes
	if limits == 0 || told == 0 || int64(told) > limits || stalled > time.Duration(told)*2100*time.Millisecond {
		t.Errorf("a log of %d bytes: held up for %v, told %d times", size(t, path+"-wal"), stalled, told)
	}
	t.Logf("%d transactions, a log of %d bytes, held up for %v", b.n, size(t, path+"-wal"), stalled)
	if err := idle.Exec("COMMIT"); err != nil {
		t.Fatal(err)
	}
	before := stalled
	for range 3 {
		b.transfer()
		b.txid()
		catchUp(t, r)
	}
	if got := size(t, path+"-wal"); got > o.WALLimitBytes || stalled > before {
		t.Errorf("the reader ended: a log of %d bytes, held up for %v", got, stalled-before)
	}
	for _, c := range []*sqlite3.Conn{idle, warm} {
		c.Close()
	}
	closeReplica(t, r)
	alone(t, path)
	same(t, "replica", read(t, path), b.content())
}
