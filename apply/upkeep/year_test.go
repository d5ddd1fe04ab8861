package upkeep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
)

// A year and more of a database's life, with everything that happens to one: work at all hours, restore points, bases,
// holds, upkeep every day or week that is killed now and then, and the database restored in place. All along, what the
// retention says can be restored, byte for byte, by transaction and by time, what is not kept is refused, and in the end
// nothing lies around in the store, one call of which in two hundred fails, in either way. In the clear, and encrypted.
func TestRandomYear(t *testing.T) {
	length := 400 * day
	if testing.Short() {
		length = 25 * day
	}
	random, err := strconv.ParseUint(os.Getenv("PAGETRAIL_SEED"), 0, 64)
	if err != nil {
		random = rand.Uint64()
	}
	for seed, sealed := range map[uint64]bool{1: false, random: true} {
		t.Run(fmt.Sprintf("seed %d, encrypted %v", seed, sealed), func(t *testing.T) {
			t.Parallel()
			y := newYear(t, seed, sealed)
			for end := y.p.now.Add(length); y.p.now.Before(end); {
				y.live()
			}
			y.end()
		})
	}
}

// year is a database and its archive as time passes.
type year struct {
	t      *testing.T
	p      *primary
	rnd    *rand.Rand
	keep   archive.Retention
	grace  time.Duration
	held   map[journal.TXID]bool // what could be restored when the hold was put on; nil: there is none
	fails  atomic.Bool           // calls of the store, now and then
	faults objstore.Faults

	line                                       journal.Timeline
	visits, runs, killed, forks, bases, checks int
}

func newYear(t *testing.T, seed uint64, sealed bool) *year {
	y := &year{
		t: t, p: newPrimary(t, seed), rnd: rand.New(rand.NewPCG(seed, 77)), line: 1,
		keep: archive.Retention{All: 7 * day, Minutes: 30 * day, Hours: 365 * day},
	}
	y.grace = []time.Duration{-1, time.Hour}[y.rnd.IntN(2)]
	every := 190 + int(seed%20)
	y.faults.Decide = func(i int, _ objstore.Call) objstore.Outcome {
		if !y.fails.Load() || i%every != 0 {
			return objstore.Pass
		}
		return []objstore.Outcome{objstore.Refuse, objstore.Deceive}[i/every%2]
	}
	y.p.store = objstore.Faulty(y.p.store, &y.faults)
	if sealed {
		ids, err := encrypt.ParseIdentities("AGE-SECRET-KEY-1Q04Y769AMGTUQ8XEZREDKTNZFZ5YCR8SPC5DG745STNJH5L7647Q52YCXT")
		y.p.check(err)
		to, err := encrypt.ParseRecipients("age1zpxqdja4rk8zv0qvlljmveaggfql3c8mzsugdmpdukn07caqfslsqlv9hp")
		y.p.check(err)
		y.p.store, err = encrypt.New(y.p.store, encrypt.Keys{Recipients: to, Identities: ids}, nil)
		y.p.check(err)
	}
	return y
}

// live is what happens in some days.
func (y *year) live() {
	p := y.p
	y.visits++
	y.fails.Store(true)
	defer y.fails.Store(false)
	p.now = p.now.Add(time.Duration(y.rnd.Int64N(int64(5 * day))))
	p.live(1+y.rnd.IntN(40), time.Duration(1+y.rnd.Int64N(int64([]time.Duration{time.Minute, time.Hour}[y.rnd.IntN(2)]))))
	switch y.rnd.IntN(12) {
	case 0:
		p.point(fmt.Sprint("point of ", p.last()))
	case 1:
		p.base()
		y.bases++
	case 2:
		y.hold()
	case 3:
		y.restoreInPlace()
	}
	p.live(1, time.Second)
	if y.rnd.IntN(3) > 0 {
		y.upkeep()
	}
}

// hold keeps what there is up to a transaction, or lets it go again.
func (y *year) hold() {
	if y.held != nil {
		y.again(func() error { return archive.SetHold(y.t.Context(), y.p.store, "", nil) })
		y.held = nil
		return
	}
	at := 1 + journal.TXID(y.rnd.Uint64N(uint64(y.p.last())))
	y.again(func() error {
		return archive.SetHold(y.t.Context(), y.p.store, "", &archive.Hold{TXID: at, What: "evidence"})
	})
	y.fails.Store(false)
	y.held = y.p.restorable()
	maps.DeleteFunc(y.held, func(id journal.TXID, _ bool) bool { return id > at })
}

// upkeep runs what cron would, and is killed at some call of the store now and then: then it has not done all, and what is
// to be kept is there all the same.
func (y *year) upkeep() {
	p, o := y.p, y.p.options(y.keep)
	o.Grace = y.grace
	y.runs++
	if y.rnd.IntN(4) > 0 {
		y.again(func() error {
			_, err := upkeep.Run(y.t.Context(), p.store, o)
			return err
		})
	} else {
		ctx, kill := context.WithCancel(y.t.Context())
		at, out := y.rnd.IntN(60), []objstore.Outcome{objstore.Refuse, objstore.Deceive}[y.rnd.IntN(2)]
		_, err := upkeep.Run(ctx, objstore.Faulty(p.store, &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
			switch {
			case n < at:
				return objstore.Pass
			case n == at:
				kill()
				return out
			}
			return objstore.Refuse
		}}), o)
		kill()
		if err != nil {
			y.killed++
		}
	}
	y.fails.Store(false)
	r, err := archive.Open(y.t.Context(), p.store, nil)
	p.check(err)
	defer r.Close()
	window, err := r.Window(y.t.Context())
	p.check(err)
	y.promised(p.kept(r, &window))
	if y.runs%12 == 0 {
		y.check()
	}
}

// again does what failed for the store until it does not.
func (y *year) again(do func() error) {
	y.t.Helper()
	err := do()
	for n := 0; err != nil && n < 10; n++ {
		err = do()
	}
	y.p.check(err)
}

// promised checks that there is all that is to be kept.
func (y *year) promised(got map[journal.TXID]bool) {
	y.t.Helper()
	for id := range y.p.want(y.keep) {
		if !got[id] {
			y.t.Fatalf("transaction %d of %v, which is to be kept, cannot be restored at %v", id, y.p.times[id], y.p.now)
		}
	}
	for id := range y.held {
		if !got[id] {
			y.t.Fatalf("transaction %d, on which there is a hold, cannot be restored", id)
		}
	}
}

// check compares what can be restored with what was promised.
func (y *year) check() map[journal.TXID]bool {
	y.t.Helper()
	y.checks++
	got := y.p.restorable()
	y.promised(got)
	r, err := archive.Open(y.t.Context(), y.p.store, nil)
	y.p.check(err)
	defer r.Close()
	kept := slices.Sorted(maps.Keys(got))
	for range 20 {
		id := 1 + journal.TXID(y.rnd.Uint64N(uint64(y.p.last())))
		if !got[id] {
			if _, err := apply.HydrateTo(y.t.Context(), r.Trail, new(bytes.Buffer), apply.AtTXID(id), nil); err == nil {
				y.t.Errorf("transaction %d, which is not kept, was restored as something", id)
			}
		}
		// By time it is the last one before, of those that are kept.
		at := y.p.times[id].Add(time.Duration(y.rnd.Int64N(int64(time.Hour))))
		i, _ := slices.BinarySearchFunc(kept, at, func(id journal.TXID, at time.Time) int {
			if y.p.times[id].After(at) {
				return 1
			}
			return -1
		})
		plan, err := apply.Resolve(y.t.Context(), r.Trail, apply.AtTime(journal.TimeOf(at)))
		switch {
		case i == 0 && err == nil && plan.Tx.TXID != 0:
			y.t.Errorf("%v, before all that is kept, is transaction %d", at, plan.Tx.TXID)
		case i > 0 && (err != nil || plan.Tx.TXID != kept[i-1]):
			y.t.Errorf("%v is transaction %d (%v), want %d", at, plan.Tx.TXID, err, kept[i-1])
		}
	}
	return got
}

// restoreInPlace makes the database what it was some transactions ago, from where it goes on with the next timeline.
func (y *year) restoreInPlace() {
	p := y.p
	at := p.last() - journal.TXID(y.rnd.IntN(30))
	if at < 1 || p.now.Sub(p.times[at]) > y.keep.All || y.held[p.last()] {
		return
	}
	before := p.w.Identity()
	r, err := journal.Open(p.dir, nil)
	p.check(err)
	tx, err := r.Find(y.t.Context(), at)
	p.check(errors.Join(err, r.Close()))
	p.check(p.w.CutAfter(at))
	p.check(p.w.Close())
	y.line++
	id, err := journal.Identity{
		Format: 1, Database: before.Database, Timeline: y.line,
		Parent: &journal.Position{Database: before.Database, Timeline: before.Timeline, TXID: at, Sum: tx.Sum},
	}.Encode()
	p.check(err)
	p.check(os.WriteFile(filepath.Join(p.dir, "identity"), id, 0o644))
	p.w, err = journal.OpenWriter(p.dir, nil)
	p.check(err)
	_, err = p.w.Lock()
	p.check(err)
	y.t.Cleanup(func() { p.w.Close() })
	p.pages = nil
	for image := p.images[at]; len(image) > 0; image = image[pageSize:] {
		p.pages = append(p.pages, bytes.Clone(image[:pageSize]))
	}
	for id := range p.images {
		if id > at {
			delete(p.images, id)
			delete(p.times, id)
			delete(p.points, id)
		}
	}
	y.forks++
}

// end restores everything that is kept, and looks for what lies around.
func (y *year) end() {
	p, t := y.p, y.t
	if y.held != nil {
		y.hold()
	}
	p.live(5, time.Second)
	y.grace = -1
	p.run(y.keep)
	p.run(y.keep)
	got := y.check()
	r, err := archive.Open(t.Context(), p.store, nil)
	p.check(err)
	defer r.Close()
	for id := range got {
		var out bytes.Buffer
		if _, err := apply.HydrateTo(t.Context(), r.Trail, &out, apply.AtTXID(id), nil); err != nil || !bytes.Equal(out.Bytes(), p.images[id]) {
			t.Fatalf("transaction %d is not what it was: %v", id, err)
		}
	}
	segments, bases, points := y.holds(r)
	if len(points) < len(p.points) {
		t.Errorf("%d restore points, %d were named", len(points), len(p.points))
	}
	// A day of transactions is folded at a time, a month of minutes and 360 days of hours; the last state of each object stays,
	// and of what a base was made of once, and those that take less room than what would stand for them.
	want := p.want(archive.Retention{All: y.keep.All + day, Minutes: y.keep.Minutes + 30*day, Hours: y.keep.Hours + 360*day})
	if most := len(want) + len(segments) + len(bases) + y.bases + 2*y.visits; len(got) > most {
		t.Errorf("%d states can be restored, at most %d should", len(got), most)
	}
	t.Logf("%d transactions, %d kept of %d wanted, %d segments, %d runs, %d killed, %d forks, %d checks, %d calls failed",
		p.last(), len(got), len(want), len(segments), y.runs, y.killed, y.forks, y.checks, y.faults.Fired())

	// After years without a transaction restore points are left, what was given up is gone as well, and nothing lies around.
	p.now = p.now.Add(800 * day)
	p.live(1, time.Second)
	p.run(y.keep)
	p.run(y.keep)
	y.check()
	again, err := archive.Open(t.Context(), p.store, nil)
	p.check(err)
	defer again.Close()
	segments, bases, _ = y.holds(again)
	keys, _ := objects(t, p.store)
	keys = slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, "probe-") }) // not a day old
	if used := 1 + len(segments) + len(bases) + y.forks; len(keys) > used {                           // the head, and a fence at the end of each timeline
		t.Errorf("%d objects, of which %d are of use: %v", len(keys), used, keys)
	}
}

// holds is what an archive has.
func (y *year) holds(r *archive.Reader) ([]journal.SegmentInfo, []journal.BaseInfo, []journal.Point) {
	segments, err := r.Segments()
	y.p.check(err)
	bases, err := r.Bases()
	y.p.check(err)
	points, err := r.Points()
	y.p.check(err)
	return segments, bases, points
}
