//go:build linux || darwin

package follow_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// forge appends a record to a trail whose checksums are all right, save the
// one of the state, and whose patches touch the given page.
func forge(t *testing.T, dir string, page uint32, sum diff.Sum) {
	t.Helper()
	w, err := journal.OpenWriter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	defer w.Unlock()
	last := w.Last()
	var enc diff.Encoder
	body, n := enc.Encode(diff.Body{}, last.PageSize, []diff.Page{{No: page, New: make([]byte, last.PageSize)}})
	_, err = w.Add(journal.Tx{
		Time: last.Time + 1, PageSize: last.PageSize, PageCount: max(last.PageCount, page),
		Sum: sum, SumKnown: true, SumCut: sum.Cut(),
	}, body, n, false)
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// files are the bytes of all that belongs to a replica.
func files(t *testing.T, path string) string {
	t.Helper()
	var all strings.Builder
	for _, suffix := range []string{"", "-wal", "-shm", "-pos"} {
		b, err := os.ReadFile(path + suffix)
		fmt.Fprintf(&all, "%s %v %q\n", suffix, err, b)
	}
	return all.String()
}

// TestForgedRecordChangesNothing: a record with patches that do not lead to the
// state it says is refused, and what came before it in the batch is kept.
func TestForgedRecordChangesNothing(t *testing.T) {
	for _, page := range []uint32{1, 2, 9000} {
		p := newPrimary(t, "CREATE TABLE t(a)")
		path := filepath.Join(t.TempDir(), "replica.db")
		r := openReplica(t, path, p.source(), nil)
		p.exec("INSERT INTO t VALUES('kept')")
		id := p.txid()
		p.conn.Close()
		forge(t, p.path+"-pagetrail", page, diff.Sum{Hi: 1, Lo: 2})
		if _, err := r.CatchUp(context.Background()); !errors.Is(err, journal.ErrDiverged) {
			t.Fatalf("page %d: %v", page, err)
		}
		if got := r.Position().TXID; got != id {
			t.Fatalf("page %d: at %d, want %d", page, got, id)
		}
		before := files(t, path)
		var mismatch *apply.MismatchError
		if _, err := r.CatchUp(context.Background()); !errors.As(err, &mismatch) || mismatch.TXID != id+1 {
			t.Fatalf("page %d, again: %v", page, err)
		}
		if files(t, path) != before {
			t.Fatalf("page %d: the refused record changed a byte", page)
		}
		if got := shell(t, path, "SELECT a FROM t; PRAGMA integrity_check"); got != "kept\nok" {
			t.Fatalf("page %d: readers see %q", page, got)
		}
		closeReplica(t, r)
	}
}

// TestDamagedTrail flips bits in a sealed trail; the follower stops at a whole
// transaction or, where what was hit means nothing to it, arrives.
func TestDamagedTrail(t *testing.T) {
	// Damage of what was never durable would be taken for a torn tail.
	p := newPrimary(t, "PRAGMA synchronous=FULL", "CREATE TABLE t(a)")
	ref := filepath.Join(t.TempDir(), "ref.db")
	closeReplica(t, openReplica(t, ref, p.source(), nil))
	start, pos := read(t, ref), read(t, ref+"-pos")
	states := map[string]journal.TXID{string(start): p.txid()}
	for i := range 10 {
		p.exec(fmt.Sprintf("INSERT INTO t VALUES(hex(randomblob(%d)))", 50*i))
		states[string(p.content())] = p.txid()
	}
	p.conn.Close()
	name := filepath.Join(p.path+"-pagetrail", "0000000000000001.seg")
	whole := read(t, name)
	stopped := 0
	for off := 200; off < len(whole); off += 97 {
		b := append([]byte(nil), whole...)
		b[off] ^= 0x10
		write(t, name, b)
		path := filepath.Join(t.TempDir(), "replica.db")
		write(t, path, start)
		write(t, path+"-pos", pos)
		trail, err := journal.Open(p.path+"-pagetrail", nil)
		if err != nil {
			stopped++
			continue
		}
		r, err := follow.Open(context.Background(), path, follow.TrailSource(trail, ""), nil)
		if err == nil {
			if _, e := r.CatchUp(context.Background()); e != nil {
				stopped++
			}
			id := r.Position().TXID
			closeReplica(t, r)
			if got := states[string(read(t, path))]; got != id {
				t.Fatalf("byte %d: the replica says %d and is %d", off, id, got)
			}
		}
		trail.Close()
	}
	if stopped == 0 {
		t.Fatal("no damage was noticed")
	}
}

// TestRefusedPaths: nothing that is not a replica is overwritten.
func TestRefusedPaths(t *testing.T) {
	p := newPrimary(t, "CREATE TABLE t(a)")
	p.txid()
	other := newPrimary(t, "CREATE TABLE other(a)")
	other.txid()
	ctx, dir := context.Background(), t.TempDir()
	mine := filepath.Join(dir, "mine.db")
	closeReplica(t, openReplica(t, mine, other.source(), nil))
	plain := filepath.Join(dir, "plain.db")
	shell(t, plain, "CREATE TABLE precious(a)")
	text := filepath.Join(dir, "text")
	write(t, text, []byte("precious"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(p.path, link); err != nil {
		t.Fatal(err)
	}
	orphan := filepath.Join(dir, "orphan.db")
	write(t, orphan+"-wal", []byte("precious"))
	hot := filepath.Join(dir, "hot.db")
	closeReplica(t, openReplica(t, hot, p.source(), nil))
	write(t, hot+"-journal", []byte("\xd9\xd5\x05\xf9\x20\xa1\x63\xd7 and so on"))
	for _, c := range []struct {
		path string
		want error
	}{
		{p.path, fs.ErrInvalid},
		{link, fs.ErrInvalid},
		{p.path + "-pagetrail/replica.db", fs.ErrInvalid},
		{other.path + "-pagetrail/replica.db", fs.ErrInvalid},
		{other.path, fs.ErrInvalid},
		{dir, fs.ErrInvalid},
		{mine, journal.ErrForeign},
		{plain, fs.ErrExist},
		{text, nil},
		{orphan, fs.ErrExist},
		{hot, journal.ErrLocked},
		{filepath.Join(dir, "nowhere", "replica.db"), fs.ErrNotExist},
	} {
		before, _ := os.ReadFile(c.path)
		_, err := follow.Open(ctx, c.path, p.source(), nil)
		if err == nil || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.path, err, c.want)
		}
		if after, _ := os.ReadFile(c.path); string(after) != string(before) {
			t.Errorf("%s was changed", c.path)
		}
	}
}

// TestOneFollower: neither a second follower nor another writer gets in.
func TestOneFollower(t *testing.T) {
	for _, mode := range modes {
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(a)")
		p.txid()
		path := filepath.Join(t.TempDir(), "replica.db")
		r := openReplica(t, path, p.source(), nil)
		if _, err := follow.Open(context.Background(), path, p.source(), &follow.Options{BusyTimeout: 1}); !errors.Is(err, journal.ErrLocked) {
			t.Fatalf("%s: a second follower: %v", mode, err)
		}
		for _, sql := range []string{"INSERT INTO t VALUES(1)", "PRAGMA journal_mode=MEMORY; INSERT INTO t VALUES(1)", "VACUUM"} {
			out, err := exec.Command("sqlite3", "-batch", "-bail", path, sql).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "locked") {
				t.Fatalf("%s: %s: %v %s", mode, sql, err, out)
			}
		}
		p.exec("INSERT INTO t VALUES(2)")
		p.txid()
		catchUp(t, r)
		closeReplica(t, r)
		same(t, "replica", read(t, path), p.content())
	}
}
