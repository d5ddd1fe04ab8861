//go:build linux || darwin

package takeover_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// TestRetire: a primary becomes a replica when nobody uses it, with everything that was committed in its trail, also by
// programs without the VFS that died; nobody can use it before it is released, and nobody writes to it afterwards.
func TestRetire(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		n := newNode(t, "primary", new(mem.Store))
		n.begin(mode, 3)
		n.close()
		other, err := sqlite3.Open("file:" + n.path)
		n.check(err)
		n.check(other.Exec("BEGIN; SELECT * FROM t"))
		if _, err := takeover.Retire(t.Context(), n.path, retireOptions()); !errors.Is(err, journal.ErrLocked) || replica.Is(n.path) {
			t.Fatalf("%s: while it is read: %v", mode, err)
		}
		n.check(other.Exec("COMMIT"))
		n.check(other.Exec("INSERT INTO t VALUES(1000, 'without the VFS')"))
		n.check(other.Close())
		if _, err := takeover.Retire(t.Context(), n.path, retireOptions().WithHook(func(string) error { return errStop })); !errors.Is(err, errStop) || replica.Is(n.path) {
			t.Fatalf("%s: stopped: %v", mode, err)
		}
		r, err := takeover.Retire(t.Context(), n.path, retireOptions())
		n.check(err)
		if c, err := sqlite3.Open("file:" + n.path); err == nil {
			if err := c.Exec("SELECT * FROM t"); !errors.Is(err, sqlite3.BUSY) {
				t.Errorf("%s: before it is released: %v", mode, err)
			}
			c.Close()
		}
		n.check(r.Release())
		n.check(r.Release())
		trail := openTrail(t, n.trail)
		same(t, "the trail", sound(t, trail), n.content())
		if last, err := trail.Last(); err != nil || last.TXID != r.Position.TXID || last.Sum != r.Position.Sum {
			t.Errorf("%s: retired at %+v, the trail ends with %+v, %v", mode, r.Position, last, err)
		}
		n.open()
		if err := n.conn.Exec("INSERT INTO t VALUES(1001,'')"); !errors.Is(err, sqlite3.READONLY) {
			t.Errorf("%s: a write to what was retired: %v", mode, err)
		}
		n.close()
		again, err := takeover.Retire(t.Context(), n.path, retireOptions())
		if err != nil || again.Position != r.Position {
			t.Errorf("%s: again: %+v, %v", mode, again, err)
		}
		if res := n.promote(&takeover.Options{Force: true}); res.Position != r.Position || res.Timeline != 2 {
			t.Errorf("%s: wanted back: %+v", mode, res)
		}
		n.insert(5, 6)
		n.txid()
		same(t, "the trail", sound(t, openTrail(t, n.trail)), n.content())
	}
}

// TestReadersStay promotes a replica that programs have open, in the middle of what they read: they go on with that and
// see what is written to the new primary, and its trail is the history, although their WAL is the follower's.
func TestReadersStay(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		store := new(mem.Store)
		old, b := newNode(t, "old", store), newNode(t, "new", store)
		old.begin(mode, 5)
		old.check(old.ship())
		old.check(b.follow(follow.Options{Trail: b.trail}))
		reader, err := sqlite3.Open("file:" + b.path)
		b.check(err)
		defer reader.Close()
		count := func(want int) {
			t.Helper()
			s, _, err := reader.Prepare("SELECT count(*) FROM t")
			b.check(err)
			defer s.Close()
			if !s.Step() || s.ColumnInt(0) != want {
				t.Fatalf("%s: the reader sees %d rows, want %d; %v", mode, s.ColumnInt(0), want, s.Err())
			}
		}
		// In a rollback mode nobody may be reading in the moment in which the WAL begins.
		held := false
		o := b.options()
		o.Events.Ended = func(journal.Position) {
			if mode == "WAL" {
				b.check(reader.Exec("BEGIN"))
				count(7)
				held = true
			}
		}
		if mode == "WAL" {
			count(5) // so that it is the last to have it open
		}
		old.insert(6, 7)
		old.txid()
		old.check(old.ship())
		r := b.promote(o)
		if r.Readers != held {
			t.Errorf("%s: readers %v, want %v", mode, r.Readers, held)
		}
		b.insert(8, 9)
		b.txid()
		if held {
			count(7)
			b.check(reader.Exec("COMMIT"))
		}
		count(9)
		b.insert(10, 12)
		b.txid()
		count(12)
		b.check(b.ship())
		want := sound(t, openTrail(t, b.trail))
		b.check(reader.Close())
		same(t, "the database", b.content(), want)
		same(t, "the archive", sound(t, b.archive().Trail), want)
	}
}

// TestFollowersGoOn: a follower with a trail of its own follows through a takeover, at the point of it, behind it or
// beyond it, and its trail is one with the new timeline's.
func TestFollowersGoOn(t *testing.T) {
	for _, at := range []string{"behind", "level", "ahead", "far ahead"} {
		store := new(mem.Store)
		old, b, c := newNode(t, "old", store), newNode(t, "new", store), newNode(t, "third", store)
		old.begin("WAL", 5)
		old.check(old.ship())
		o := follow.Options{Trail: c.trail, Rewind: true}
		old.check(c.follow(o))
		old.check(b.follow(follow.Options{}))
		shipped := old.txid()
		if at == "behind" {
			old.insert(6, 8)
			shipped = old.txid()
			old.check(old.ship())
		}
		lost := 0
		if at == "ahead" || at == "far ahead" {
			lost = 3
			old.insert(6, 8)
			old.txid()
			c.followTrail(old, o)
		}
		if at == "far ahead" { // the branch would begin before the segment that grows
			w, err := journal.OpenWriter(c.trail, nil)
			c.check(err)
			_, err = w.Lock()
			c.check(errors.Join(err, w.Rotate(), w.Close()))
		}
		b.promote(b.options())
		b.insert(21, 22)
		b.txid()
		b.check(b.ship())
		aside := ""
		o.Events.TrailBegun = func(_, name string) { aside = name }
		c.check(c.follow(o))
		same(t, at, c.content(), b.content())
		if pos, err := follow.Where(c.path); err != nil || pos.Timeline != 2 {
			t.Errorf("%s: readers see %+v, %v", at, pos, err)
		}
		trail := openTrail(t, c.trail)
		same(t, at+": its trail", sound(t, trail), b.content())
		branches, err := trail.Branches()
		c.check(err)
		switch {
		case at == "far ahead":
			if got := shellOf(t, sound(t, openTrail(t, aside)), "SELECT count(*) FROM t WHERE a BETWEEN 6 AND 8"); got != fmt.Sprint(lost) {
				t.Errorf("%s: set aside with %s of %d rows", at, got, lost)
			}
		case aside != "" || (lost > 0) != (len(branches) > 0):
			t.Errorf("%s: set aside %q, branches %+v", at, aside, branches)
		case lost > 0:
			if got := shellOf(t, sound(t, openTrail(t, branches[0].Dir)), "SELECT count(*) FROM t WHERE a BETWEEN 6 AND 8"); got != fmt.Sprint(lost) {
				t.Errorf("%s: the branch has %s of %d rows", at, got, lost)
			}
		}
		if id := trail.Identity(); id.Timeline != 2 || id.Parent == nil || id.Parent.TXID != shipped {
			t.Errorf("%s: its trail is %+v", at, id)
		}
		b.insert(23, 24)
		b.txid()
		b.check(b.ship())
		aside = ""
		c.check(c.follow(o))
		same(t, at+", and on", sound(t, openTrail(t, c.trail)), b.content())
		if aside != "" {
			t.Errorf("%s: set aside %q, and nothing had happened", at, aside)
		}
	}
}

// shellOf asks a database of which there are the bytes.
func shellOf(t testing.TB, db []byte, sql string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "asked.db")
	if err := os.WriteFile(name, db, 0o600); err != nil {
		t.Fatal(err)
	}
	return shell(t, name, sql)
}
