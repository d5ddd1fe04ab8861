//go:build linux || darwin

package follow_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
)

// sameHistory wants a replica's own trail to be sound, to hold transactions
// from first to last, and to lead to what the primary's leads to at each.
func sameHistory(t testing.TB, own, primary string, first, last journal.TXID) {
	t.Helper()
	a, b := openDir(t, own), openDir(t, primary)
	if _, err := apply.Verify(context.Background(), a, nil); err != nil {
		t.Fatalf("the replica's trail: %v", err)
	}
	w, err := a.Window(context.Background())
	if err != nil || len(w.Spans) != 1 || w.Spans[0].First != first || w.Spans[0].Last != last {
		t.Fatalf("the replica's trail restores %+v, want %d to %d; %v", w, first, last, err)
	}
	for id := first; id <= last; id++ {
		x, err1 := a.Find(context.Background(), id)
		y, err2 := b.Find(context.Background(), id)
		if id > first && (err1 != nil || err2 != nil || x.Time != y.Time || x.Kind != y.Kind || x.Note != y.Note || x.Pages != y.Pages || x.Bytes != y.Bytes) {
			t.Fatalf("transaction %d is %+v, the primary's %+v; %v, %v", id, x, y, err1, err2)
		}
		if int64(y.PageCount)*int64(y.PageSize) < 1<<20 || id == last {
			same(t, fmt.Sprint("state ", id), hydrate(t, a, id), hydrate(t, b, id))
		}
	}
}

func openDir(t testing.TB, dir string) *journal.Trail {
	t.Helper()
	trail, err := journal.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { trail.Close() })
	return trail
}

func hydrate(t testing.TB, trail *journal.Trail, id journal.TXID) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := apply.HydrateTo(context.Background(), trail, &out, apply.AtTXID(id), nil); err != nil {
		t.Fatalf("at %d: %v", id, err)
	}
	return out.Bytes()
}

// TestOwnTrail keeps a trail through everything that a history can hold, with
// ends and beginnings of the follower between, and follows it with another.
func TestOwnTrail(t *testing.T) {
	for _, mode := range []string{"DELETE", "WAL"} {
		large := 1000
		if mode == "WAL" && !testing.Short() {
			large = 18_000_000 // in several groups, as TestMadeTrails has small ones
		}
		p := newPrimary(t, journalMode(mode), "CREATE TABLE t(id INTEGER PRIMARY KEY, b BLOB)")
		first := p.txid()
		dir := t.TempDir()
		path, second := filepath.Join(dir, "replica.db"), filepath.Join(dir, "second.db")
		o := &follow.Options{Trail: path + "-pagetrail", BatchTransactions: 3}
		r := openReplica(t, path, p.source(), o)
		catchUp(t, r)
		for i, sql := range []string{
			"INSERT INTO t(b) VALUES('one')",
			"INSERT INTO t(b) WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i+1 FROM n WHERE i<50) SELECT randomblob(500) FROM n",
			"PRAGMA pagetrail_note='a note'; DELETE FROM t WHERE id%3=0",
			"VACUUM",
			fmt.Sprintf("INSERT INTO t(b) VALUES(randomblob(%d))", large),
			"DELETE FROM t WHERE length(b)>100000; PRAGMA journal_mode=DELETE; PRAGMA page_size=8192; VACUUM",
			"UPDATE t SET b=randomblob(300) WHERE id%7=0",
			"VACUUM",
			"INSERT INTO t(b) VALUES('last')",
		} {
			p.exec(sql)
			p.txid()
			if i%3 == 1 {
				closeReplica(t, r)
				r = openReplica(t, path, p.source(), o)
			}
			catchUp(t, r)
		}
		closeReplica(t, r)
		sameHistory(t, o.Trail, p.path+"-pagetrail", first, p.txid())

		r = openReplica(t, second, openSource(t, o.Trail), nil)
		catchUp(t, r)
		closeReplica(t, r)
		same(t, "the replica's replica", read(t, second), p.content())
	}
}

// TestOwnTrailGoesOn: behind the replica as a power cut leaves it, ahead as a
// commit that failed does, without its base: the next follower brings it in step.
// Where transactions are lost for good a new one begins, and the old one stays.
func TestOwnTrailGoesOn(t *testing.T) {
	p := newPrimary(t, "PRAGMA journal_mode=WAL", "CREATE TABLE t(a)")
	first := p.txid()
	path := filepath.Join(t.TempDir(), "replica.db")
	var begun []string
	o := &follow.Options{Trail: path + "-pagetrail"}
	o.Events.TrailBegun = func(reason, aside string) { begun = append(begun, reason, aside) }
	step := func() {
		t.Helper()
		r := openReplica(t, path, p.source(), o)
		catchUp(t, r)
		for range 3 {
			p.exec("INSERT INTO t VALUES(1)")
			p.txid()
			catchUp(t, r)
		}
		closeReplica(t, r)
	}
	edit := func(fn func(*journal.Writer) error) {
		t.Helper()
		w, err := journal.OpenWriter(o.Trail, nil)
		if err == nil {
			_, err = w.Lock()
		}
		if err == nil {
			err = fn(w)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
	}
	step()
	last := p.txid()
	edit(func(w *journal.Writer) error { return w.CutAfter(last - 2) })
	step()
	sameHistory(t, o.Trail, p.path+"-pagetrail", first, p.txid())
	old := read(t, path)
	oldPos := read(t, path+"-pos")
	step()
	write(t, path, old) // the replica as it was before
	write(t, path+"-pos", oldPos)
	step()
	sameHistory(t, o.Trail, p.path+"-pagetrail", first, p.txid())
	if len(begun) > 0 {
		t.Fatal(begun)
	}
	base, err := filepath.Glob(o.Trail + "/*.base")
	if err != nil || len(base) != 1 || os.Remove(base[0]) != nil {
		t.Fatal(base, err)
	}
	at := p.txid()
	step()
	sameHistory(t, o.Trail, p.path+"-pagetrail", at, p.txid())
	if len(begun) != 2 || !strings.Contains(begun[0], "cannot restore") || begun[1] != fmt.Sprintf("%s-until-%d", o.Trail, at) {
		t.Fatal(begun)
	}
	if _, err := journal.Open(begun[1], nil); err != nil {
		t.Error(err)
	}
}

// TestOwnTrailKilled kills the follower before every third step that changes a
// file, its trail's included; with -short before one of each kind. The next one
// goes on, and the trail is the history.
func TestOwnTrailKilled(t *testing.T) {
	b := newBank(t, "WAL", 21)
	dir := t.TempDir()
	start := filepath.Join(dir, "start.db")
	r := openReplica(t, start, b.source(), nil)
	catchUp(t, r)
	closeReplica(t, r)
	first := b.txid()
	for range 12 {
		b.transfer()
		b.txid()
	}
	last := b.txid()
	prepare := func(n int) string {
		path := filepath.Join(dir, fmt.Sprintf("r%d.db", n))
		write(t, path, read(t, start))
		write(t, path+"-pos", read(t, start+"-pos"))
		return path
	}
	all := ownTrailSteps(t, prepare(0), b.source())
	if len(all) < 20 {
		t.Errorf("only %d steps", len(all))
	}
	final, want := map[string]int{}, b.content()
	for n, step := range all {
		final[step] = n
	}
	for n, step := range all {
		if !testing.Short() && n%3 != 0 || testing.Short() && final[step] != n {
			continue
		}
		path := prepare(n + 1)
		t.Setenv("PAGETRAIL_TEST_OWN_TRAIL", path+"-pagetrail")
		how := runFollower(t, path, b.path+"-pagetrail", fmt.Sprint(":", n+1))
		if strings.ReplaceAll(how, path, "") != "killed before: "+step {
			t.Fatalf("%s, want before %s", how, step)
		}
		o := small()
		o.Once, o.Trail = true, path+"-pagetrail"
		if err := follow.Run(t.Context(), path, b.source(), o); err != nil {
			t.Fatalf("%s, and then %v", how, err)
		}
		same(t, how, read(t, path), want)
		own := openDir(t, path+"-pagetrail")
		if w, err := own.Window(t.Context()); err != nil || len(w.Spans) != 1 || w.Spans[0].Last != last || w.Spans[0].First < first {
			t.Fatalf("%s: %+v, %v", how, w, err)
		}
		if _, err := apply.Verify(t.Context(), own, nil); err != nil {
			t.Fatalf("%s: %v", how, err)
		}
	}
}

// ownTrailSteps are those of a follower that is not killed.
func ownTrailSteps(t *testing.T, path string, src follow.Source) (all []string) {
	t.Helper()
	o := small()
	o.Once, o.Trail = true, path+"-pagetrail"
	follow.WithHook(o, func(step string) {
		if name, synced := strings.CutPrefix(step, "synced "+path); synced {
			step = "synced " + name // the same for every replica
		}
		all = append(all, step)
	})
	if err := follow.Run(t.Context(), path, src, o); err != nil {
		t.Fatal(err)
	}
	return all
}

// breaking is a source whose transactions break off after a few, as a connection does.
type breaking struct {
	follow.Source
	after int // so many come; negative: all
}

func (s *breaking) Records(ctx context.Context, from journal.TXID) iter.Seq2[*journal.Record, error] {
	return func(yield func(*journal.Record, error) bool) {
		n := 0
		for rec, err := range s.Source.Records(ctx, from) {
			if n == s.after {
				rec, err = nil, fmt.Errorf("it broke off: %w", follow.ErrUnreachable)
			}
			if n++; !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// TestOwnTrailOutage: the source breaks off while the replica's own trail is filled, or is compared with it. That says
// nothing about the trail: it is gone on with when the source is there again, and no new one begins.
func TestOwnTrailOutage(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		for after := range 3 {
			p := newPrimary(t, "CREATE TABLE t(a)")
			first := p.txid()
			path := filepath.Join(t.TempDir(), "replica.db")
			begun := 0
			o := &follow.Options{Trail: path + "-pagetrail", Events: follow.Events{TrailBegun: func(string, string) { begun++ }}}
			step := func() {
				t.Helper()
				for range 3 {
					p.exec("INSERT INTO t VALUES(1)")
					p.txid()
				}
				r := openReplica(t, path, p.source(), o)
				catchUp(t, r)
				closeReplica(t, r)
			}
			r := openReplica(t, path, p.source(), o)
			catchUp(t, r)
			closeReplica(t, r)
			step()
			db, pos := read(t, path), read(t, path+"-pos")
			step()
			if ahead {
				write(t, path, db)
				write(t, path+"-pos", pos)
			} else {
				cutTrail(t, o.Trail, p.txid()-3)
			}
			src := &breaking{Source: p.source(), after: -1}
			r = openReplica(t, path, src, o)
			if src.after = after; ahead {
				src.after = 0 // one transaction is looked at
			}
			if _, err := r.CatchUp(t.Context()); !errors.Is(err, follow.ErrUnreachable) || begun > 0 {
				t.Fatalf("ahead %v, broken off after %d: %v, %d trails begun", ahead, after, err, begun)
			}
			src.after = -1
			catchUp(t, r)
			closeReplica(t, r)
			if begun > 0 {
				t.Fatalf("ahead %v, broken off after %d: the trail began anew", ahead, after)
			}
			sameHistory(t, o.Trail, p.path+"-pagetrail", first, p.txid())
		}
	}
}

// cutTrail takes off the transactions after id, as a power cut does.
func cutTrail(t *testing.T, dir string, id journal.TXID) {
	t.Helper()
	w, err := journal.OpenWriter(dir, nil)
	if err == nil {
		_, err = w.Lock()
	}
	if err == nil {
		err = w.CutAfter(id)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
}
