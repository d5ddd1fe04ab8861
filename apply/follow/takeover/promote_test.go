//go:build linux || darwin

package takeover_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/apply/follow/takeover"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// TestTakeover is the whole story, for replicas that are where the archive is, behind it, or ahead of it because they
// follow the primary's stream, with and without a trail of their own: promoted, written to, shipped; the old primary is
// fenced, rejoins, and all are one database again. What it had not shipped is a branch of its trail.
func TestTakeover(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		for _, keep := range []bool{true, false} {
			for _, where := range []string{"level", "behind", "ahead"} {
				t.Run(fmt.Sprintf("%s trail=%v %s", mode, keep, where), func(t *testing.T) { story(t, mode, keep, where) })
			}
		}
	}
}

func story(t *testing.T, mode string, keep bool, where string) {
	store := new(mem.Store)
	old, b := newNode(t, "old", store), newNode(t, "new", store)
	old.begin(mode, 10)
	old.check(old.ship())
	var o follow.Options
	if keep {
		o.Trail = b.trail
	}
	old.check(b.follow(o))
	shipped := old.txid()
	switch where {
	case "behind":
		old.insert(11, 15)
		shipped = old.txid()
		old.check(old.ship())
	case "ahead":
		old.insert(11, 15)
		old.txid()
		b.followTrail(old, o)
	}
	begins, merged := shipped, journal.TXID(0)
	if where == "ahead" && keep {
		begins = old.txid()
	} else if where == "ahead" {
		merged = old.txid()
	}
	had := old.txid()
	old.insert(101, 104) // not shipped
	lost := old.txid()

	r := b.promote(b.options())
	if r.Position.TXID != begins || r.Timeline != 2 || r.Merged != merged || r.Already || r.Readers {
		t.Fatalf("promoted: %+v, want after %d, merged %d", r, begins, merged)
	}
	for _, suffix := range []string{"-pos", "-takeover", "-wal", "-shm"} {
		if _, err := os.Stat(b.path + suffix); err == nil {
			t.Errorf("%s is left", suffix)
		}
	}
	b.insert(16, 20)
	b.txid()
	b.check(b.ship())
	same(t, "the archive", sound(t, b.archive().Trail), b.content())
	if keep {
		same(t, "its trail", sound(t, openTrail(t, b.trail)), b.content())
	}
	held, ok := errors.AsType[*archive.HeldError](old.ship())
	if !ok || held.Holder.Name != "new" || held.Timeline != 2 {
		t.Errorf("the old primary ships: %v", held)
	}

	if lost <= had {
		t.Fatalf("nothing was lost: %d, %d", had, lost)
	}
	comesBack(t, old, b, r.Position, lost)
	b.insert(21, 25) // and on
	b.txid()
	b.check(b.ship())
	old.check(old.follow(follow.Options{Trail: old.trail}))
	same(t, "the follower", old.content(), b.content())
	if again := b.promote(b.options()); !again.Already || again.Timeline != 2 {
		t.Errorf("once more: %+v", again)
	}
}

// comesBack makes the old primary a follower of the new one, which took over at a position, and looks for what it had
// not shipped, up to lost.
func comesBack(t *testing.T, old, b *node, at journal.Position, lost journal.TXID) {
	t.Helper()
	old.check(old.rejoin())
	same(t, "the old primary", old.content(), b.content())
	trail := openTrail(t, old.trail)
	same(t, "its trail", sound(t, trail), b.content())
	if id := trail.Identity(); id.Timeline != 2 || *id.Parent != at {
		t.Errorf("its trail is %+v", id)
	}
	branches, err := trail.Branches()
	if err != nil || len(branches) != 1 || branches[0].Common.TXID != at.TXID || branches[0].Last != lost {
		t.Fatalf("branches %+v, %v", branches, err)
	}
	hydrated := filepath.Join(t.TempDir(), "branch.db")
	if err := os.WriteFile(hydrated, sound(t, openTrail(t, branches[0].Dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := shell(t, hydrated, "SELECT count(*) FROM t WHERE a>100"); got != "4" {
		t.Errorf("the branch has %s of the transactions that were not shipped", got)
	}
	if got := shell(t, old.path, "SELECT count(*) FROM t WHERE a>100; PRAGMA integrity_check"); got != "0\nok" {
		t.Errorf("the follower says %q", got)
	}
}

// errStop is what stops a takeover.
var errStop = errors.New("stopped")

// TestPromoteStopped stops a promotion before each of its steps, and has it called again: with the same outcome,
// whatever was done before. Programs cannot write before it is over, nor can the replica be followed into; the archive
// can be read all the while.
func TestPromoteStopped(t *testing.T) {
	for _, way := range []string{"archive", "archive, own trail", "force", "force, own trail"} {
		steps := map[string]bool{}
		for n := 1; ; n++ {
			store := new(mem.Store)
			old, b := newNode(t, "old", store), newNode(t, "new", store)
			old.begin([]string{"DELETE", "WAL"}[n%2], 4)
			old.check(old.ship())
			var fo follow.Options
			if strings.Contains(way, "own") {
				fo.Trail = b.trail
			}
			old.check(b.follow(fo))
			if !strings.HasPrefix(way, "force") {
				old.insert(5, 6)
				old.txid()
				old.check(old.ship())
			}
			at := old.txid()
			o := b.options()
			if strings.HasPrefix(way, "force") {
				o.Store, o.Force = nil, true
			}
			left, stopped := n, ""
			_, err := takeover.Promote(t.Context(), b.path, o.WithHook(func(step string) error {
				if left--; left == 0 {
					stopped = step
					steps[step] = true
					return errStop
				}
				return nil
			}))
			if stopped == "" {
				if err != nil {
					t.Fatal(err)
				}
				break
			}
			if !errors.Is(err, errStop) {
				t.Fatalf("%s: %v", stopped, err)
			}
			between(t, b, stopped)
			r := b.promote(o.WithHook(nil))
			if r.Position.TXID != at || r.Timeline != 2 {
				t.Fatalf("%s, stopped before %q: %+v", way, stopped, r)
			}
			b.insert(7, 8)
			b.txid()
			if o.Store != nil {
				b.check(b.ship())
				same(t, "the archive", sound(t, b.archive().Trail), b.content())
			} else {
				same(t, "the trail", sound(t, openTrail(t, b.trail)), b.content())
			}
		}
		want := []string{"write the plan", "catch up", "write where the timeline begins", "begin the timeline", "let programs write", "remove the plan"}
		if strings.HasPrefix(way, "archive") {
			want = append(want, "end the timeline", "take the archive")
		}
		for _, step := range want {
			if !steps[step] {
				t.Errorf("%s: never stopped before %q", way, step)
			}
		}
	}
}

// between looks at a replica whose promotion was stopped before a step.
func between(t *testing.T, b *node, step string) {
	t.Helper()
	sound(t, b.archive().Trail)
	if _, err := os.Stat(b.path + "-takeover"); err != nil {
		if step != "write the plan" && step != "catch up" {
			t.Errorf("before %q: %v", step, err)
		}
		return
	}
	if err := b.follow(follow.Options{}); !errors.Is(err, journal.ErrLocked) {
		t.Errorf("before %q it can be followed into: %v", step, err)
	}
	if step == "remove the plan" {
		return
	}
	c, err := sqlite3.Open("file:" + b.path + "?vfs=pagetrail")
	b.check(err)
	defer c.Close()
	if err := c.Exec("INSERT INTO t VALUES(1000,'')"); !errors.Is(err, sqlite3.READONLY) {
		t.Errorf("before %q programs can write: %v", step, err)
	}
}

// TestTwoTakeOver: of two replicas that are promoted at the same time one wins, whichever step the other was stopped
// before; the other is told by whom, and follows.
func TestTwoTakeOver(t *testing.T) {
	for _, step := range []string{"catch up", "end the timeline", "write where the timeline begins", "take the archive"} {
		store := new(mem.Store)
		old, a, b := newNode(t, "old", store), newNode(t, "first", store), newNode(t, "second", store)
		old.begin("WAL", 4)
		old.check(old.ship())
		old.check(a.follow(follow.Options{Trail: a.trail}))
		old.check(b.follow(follow.Options{}))
		o := a.options().WithHook(func(s string) error {
			if s == step {
				b.promote(b.options())
			}
			return nil
		})
		_, err := takeover.Promote(t.Context(), a.path, o)
		held, ok := errors.AsType[*archive.HeldError](err)
		if !ok || held.Holder.Name != "second" || held.Timeline != 2 {
			t.Fatalf("%s: %v", step, err)
		}
		b.insert(5, 6)
		b.txid()
		b.check(b.ship())
		b.check(a.follow(follow.Options{Trail: a.trail}))
		same(t, "the loser", a.content(), b.content())
		same(t, "its trail", sound(t, openTrail(t, a.trail)), b.content())
	}
}
