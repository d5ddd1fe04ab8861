package upkeep_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

const (
	pageSize = 512
	day      = 24 * time.Hour
)

// primary is a database whose time passes as the test says, and that ships.
type primary struct {
	t      testing.TB
	dir    string
	store  objstore.Store
	now    time.Time
	rnd    *rand.Rand
	pages  [][]byte
	images map[journal.TXID][]byte
	times  map[journal.TXID]time.Time
	points map[journal.TXID]string
	w      *journal.Writer
	enc    diff.Encoder
}

func newPrimary(t testing.TB, seed uint64) *primary {
	t.Helper()
	p := &primary{
		t: t, dir: filepath.Join(t.TempDir(), "app.db-pagetrail"), store: new(mem.Store), now: time.Unix(1_800_000_000, 0),
		rnd: rand.New(rand.NewPCG(seed, 5)), images: map[journal.TXID][]byte{}, times: map[journal.TXID]time.Time{}, points: map[journal.TXID]string{},
	}
	w, err := journal.OpenWriter(p.dir, &journal.WriterOptions{Create: true})
	p.check(err)
	_, err = w.Lock()
	p.check(err)
	t.Cleanup(func() { w.Close() })
	p.w = w
	for range 20 {
		p.pages = append(p.pages, bytes.Repeat([]byte{byte(len(p.pages))}, pageSize))
	}
	p.record(nil)
	return p
}

func (p *primary) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *primary) last() journal.TXID { return p.w.Committed().TXID }

// record commits what is in the pages.
func (p *primary) record(old [][]byte) {
	p.t.Helper()
	tx := journal.Tx{Time: journal.TimeOf(p.now), PageSize: pageSize, PageCount: uint32(len(p.pages))}
	var changed []diff.Page
	for i, page := range p.pages {
		tx.Sum = tx.Sum.Add(diff.PageSum(uint32(i+1), page))
		before := make([]byte, pageSize)
		if i < len(old) {
			before = old[i]
		}
		if !bytes.Equal(before, page) {
			changed = append(changed, diff.Page{No: uint32(i + 1), Old: before, New: page})
		}
	}
	body, kept := p.enc.Encode(diff.Body{}, pageSize, changed)
	tx, err := p.w.Add(tx, body, kept, false)
	p.check(err)
	p.check(p.w.Flush())
	p.images[tx.TXID], p.times[tx.TXID] = bytes.Join(p.pages, nil), p.now
}

// live commits n times, one each so often, and ships each ten.
func (p *primary) live(n int, every time.Duration) {
	p.t.Helper()
	for i := range n {
		p.now = p.now.Add(every)
		old := slices.Clone(p.pages)
		if p.rnd.IntN(20) == 0 {
			p.pages = append(p.pages, make([]byte, pageSize))
		}
		for range 1 + p.rnd.IntN(2) {
			k := p.rnd.IntN(min(len(p.pages), 6))
			p.pages[k] = bytes.Clone(p.pages[k])
			copy(p.pages[k][p.rnd.IntN(400):], fmt.Sprintf("%x %v", p.rnd.Uint64(), p.now))
		}
		p.record(old)
		if i%10 == 9 || i == n-1 {
			p.ship()
		}
	}
}

func (p *primary) ship() {
	p.t.Helper()
	_, err := ship.Run(p.t.Context(), p.dir, &ship.Options{Store: p.store, Once: true, Clock: hasty{}})
	p.check(err)
}

// hasty is a ship.Clock that does not wait.
type hasty struct{}

func (hasty) Now() time.Time { return time.Now() }

func (hasty) Sleep(ctx context.Context, _ time.Duration) error { return context.Cause(ctx) }

// point names the last transaction.
func (p *primary) point(name string) {
	p.t.Helper()
	_, err := p.w.AddPoint(name, journal.TimeOf(p.now))
	p.check(err)
	p.points[p.last()] = name
}

// base makes a base of the last transaction.
func (p *primary) base() {
	p.t.Helper()
	b, err := p.w.CreateBase(pageSize, uint32(len(p.pages)), 0, false)
	p.check(err)
	p.check(b.WritePages(1, bytes.Join(p.pages, nil)))
	_, err = b.Commit()
	p.check(err)
}

// options for a run at the primary's time, without grace.
func (p *primary) options(r archive.Retention) *archive.MaintainOptions {
	return &archive.MaintainOptions{Retention: r, Now: p.now, Grace: -1, TempDir: p.t.TempDir()}
}

func (p *primary) run(r archive.Retention) archive.Maintained {
	p.t.Helper()
	done, err := upkeep.Run(p.t.Context(), p.store, p.options(r))
	p.check(err)
	return done
}

// kept are the states that an archive has: of its transactions that are in the window, and of bases.
func (p *primary) kept(r *archive.Reader, window *journal.Window) map[journal.TXID]bool {
	p.t.Helper()
	found := make(map[journal.TXID]bool)
	segments, err := r.Segments()
	p.check(err)
	for tx, err := range r.Records(p.t.Context(), segments[0].First) {
		p.check(err)
		if slices.ContainsFunc(window.Spans, func(s journal.Span) bool { return s.First <= tx.TXID && tx.TXID <= s.Last }) {
			found[tx.TXID] = true
		}
	}
	bases, err := r.Trail.Bases()
	p.check(err)
	for _, b := range bases {
		found[b.TXID] = true
	}
	return found
}

// restorable compares all states that the archive has with what they were, the window with both, and lists them.
func (p *primary) restorable() map[journal.TXID]bool {
	p.t.Helper()
	r, err := archive.Open(p.t.Context(), p.store, nil)
	p.check(err)
	defer r.Close()
	if _, err := apply.Verify(p.t.Context(), r.Trail, &apply.VerifyOptions{TempDir: p.t.TempDir()}); err != nil {
		p.t.Fatal(err)
	}
	p.check(r.LostBeginning())
	window, err := r.Window(p.t.Context())
	p.check(err)
	found := p.kept(r, &window)
	moments := uint64(0)
	for _, s := range window.Spans {
		moments += s.Moments()
		if s.First == 0 {
			moments-- // the empty database
		}
	}
	tx, err := r.Last()
	p.check(err)
	if tx.TXID != p.last() || len(window.Gaps) > 0 {
		p.t.Fatalf("the archive ends with %d of %d, gaps %v", tx.TXID, p.last(), window.Gaps)
	}
	sample := slices.Sorted(maps.Keys(found))
	p.rnd.Shuffle(len(sample), func(i, j int) { sample[i], sample[j] = sample[j], sample[i] })
	for _, id := range sample[:min(len(sample), 10)] {
		var out bytes.Buffer
		if _, err := apply.HydrateTo(p.t.Context(), r.Trail, &out, apply.AtTXID(id), nil); err != nil || !bytes.Equal(out.Bytes(), p.images[id]) {
			p.t.Fatalf("transaction %d is not what it was: %v", id, err)
		}
		if plan, err := apply.Resolve(p.t.Context(), r.Trail, apply.AtTime(journal.TimeOf(p.times[id]))); err != nil || plan.Tx.TXID != id {
			p.t.Errorf("the time of transaction %d, which can be restored, is %d (%v)", id, plan.Tx.TXID, err)
		}
	}
	if uint64(len(found)) != moments {
		p.t.Errorf("the window has %d states (%+v), %d can be restored", moments, window.Spans, len(found))
	}
	return found
}

// want is what a retention must leave at least, by its own words.
func (p *primary) want(r archive.Retention) map[journal.TXID]bool {
	want := make(map[journal.TXID]bool)
	for id := journal.TXID(1); id <= p.last(); id++ {
		age := p.now.Sub(p.times[id])
		last := func(d time.Duration) bool {
			return id == p.last() || p.times[id+1].UnixMicro()/d.Microseconds() != p.times[id].UnixMicro()/d.Microseconds()
		}
		if age < r.All || age < r.Minutes && last(time.Minute) || age < r.Hours && last(time.Hour) || p.points[id] != "" || id == p.last() {
			want[id] = true
		}
	}
	return want
}

func objects(t testing.TB, s objstore.Store) (keys []string, size int64) {
	t.Helper()
	for o, err := range s.List(t.Context(), "", "") {
		if err != nil {
			t.Fatal(err)
		}
		keys, size = append(keys, o.Key), size+o.Size
	}
	return keys, size
}

// A year of a database, kept by the retention of the handbook: what was promised can be restored, much else cannot,
// and there are few objects. Shipping goes on as if nothing had been.
func TestAYear(t *testing.T) {
	p := newPrimary(t, 1)
	r := archive.Retention{All: 7 * day, Minutes: 30 * day, Hours: 365 * day}
	p.live(50, 20*time.Second)
	p.now = p.now.Add(200 * day)
	p.point("the first") // of the transaction 200 days ago
	p.live(60, 15*time.Minute)
	p.base()
	p.now = p.now.Add(190 * day)
	p.live(100, 20*time.Second)
	p.point("release")
	p.live(30, 20*time.Second)
	p.now = p.now.Add(20 * day)
	p.live(120, 20*time.Second)
	p.now = p.now.Add(4 * day)
	p.live(120, 20*time.Second)
	before, size := objects(t, p.store)
	done := p.run(r)
	after, less := objects(t, p.store)
	got, want := p.restorable(), p.want(r)
	for id := range want {
		if !got[id] {
			t.Errorf("transaction %d of %v cannot be restored", id, p.times[id])
		}
	}
	t.Logf("%d states of %d, %d wanted; %d objects of %d bytes became %d of %d; %+v", len(got), p.last(), len(want), len(before), size, len(after), less, done.Plans)
	if len(got) > len(want)+40 || len(after) > len(before)*2/3 || less > size*2/3 {
		t.Errorf("%d states of %d, %d wanted; %d objects of %d bytes became %d of %d", len(got), p.last(), len(want), len(before), size, len(after), less)
	}
	if again := p.run(r); len(again.Plans) != 0 {
		t.Errorf("once more: %v", again.Plans)
	}
	p.live(25, time.Second)
	p.run(r)
	p.restorable()
	p.now = p.now.Add(300 * day)
	p.live(5, time.Second)
	p.run(r)
	got = p.restorable()
	for id := range p.want(r) {
		if !got[id] {
			t.Errorf("transaction %d cannot be restored", id)
		}
	}
}

// Without a retention nothing is lost, and there are fewer objects.
func TestMergingLosesNothing(t *testing.T) {
	p := newPrimary(t, 2)
	p.live(300, 30*time.Second)
	before, size := objects(t, p.store)
	p.now = p.now.Add(2 * time.Hour)
	p.run(archive.Retention{})
	after, less := objects(t, p.store)
	if n := len(p.restorable()); n != int(p.last()) || len(after) > len(before)/2 || less >= size {
		t.Errorf("%d states of %d, %d objects of %d bytes became %d of %d", n, p.last(), len(before), size, len(after), less)
	}
}

// Settings that would leave nothing, or cannot be meant, are refused before anything is looked at.
func TestRefusedRetention(t *testing.T) {
	p := newPrimary(t, 3)
	p.live(50, time.Minute)
	for _, r := range []archive.Retention{
		{All: -1}, {All: time.Second}, {Minutes: time.Millisecond}, {Minutes: 30 * day, Hours: day},
	} {
		if _, err := upkeep.Run(t.Context(), p.store, p.options(r)); !errors.Is(err, archive.ErrRetention) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	keys, _ := objects(t, p.store)
	p.check(p.store.Delete(t.Context(), keys[1]))
	if _, err := upkeep.Run(t.Context(), p.store, p.options(archive.Retention{All: time.Minute})); !errors.Is(err, journal.ErrGap) {
		t.Errorf("an archive with a gap: %v", err)
	}
}

// What a hold is on stays as it is, until it is lifted.
func TestHold(t *testing.T) {
	p := newPrimary(t, 4)
	p.live(80, 20*time.Second)
	hold := p.last()
	p.live(80, 20*time.Second)
	p.now = p.now.Add(100 * day)
	p.live(3, time.Second)
	p.check(archive.SetHold(t.Context(), p.store, "", &archive.Hold{TXID: hold, What: "evidence"}))
	r := archive.Retention{All: day}
	p.run(r)
	got := p.restorable()
	for id := journal.TXID(1); id <= hold; id++ {
		if !got[id] {
			t.Fatalf("transaction %d was held", id)
		}
	}
	if len(got) > int(hold)+20 {
		t.Errorf("%d states, %d held", len(got), hold)
	}
	p.check(archive.SetHold(t.Context(), p.store, "", nil))
	p.run(r)
	if n := len(p.restorable()); n > 20 {
		t.Errorf("%d states are left", n)
	}
}

// Where the history is made to begin within an object, what that has before is left as it is: the states to fold it from
// are not there any more.
func TestForgottenWithinAnObject(t *testing.T) {
	p := newPrimary(t, 8)
	p.live(10, 20*time.Second)
	p.now = p.now.Truncate(time.Hour).Add(time.Hour)
	p.live(30, 20*time.Second)
	p.base()
	p.live(30, 20*time.Second)
	p.now = p.now.Add(2 * time.Hour)
	p.run(archive.Retention{}) // merged into one for each of the hours
	p.now = p.now.Add(800 * day)
	p.live(2, time.Second)
	for range 2 {
		p.run(archive.Retention{All: day})
	}
	if got := p.restorable(); got[1] || !got[p.last()] {
		t.Errorf("%v can be restored", got)
	}
}

// A plan that is only looked at changes nothing, and is the one that is then carried out.
func TestDryRun(t *testing.T) {
	p := newPrimary(t, 6)
	p.live(200, 20*time.Second)
	p.now = p.now.Add(10 * day)
	before, size := objects(t, p.store)
	o := p.options(archive.Retention{All: day, Minutes: 30 * day})
	o.DryRun, o.Grace = true, time.Hour
	dry, err := upkeep.Run(t.Context(), p.store, o)
	p.check(err)
	if after, same := objects(t, p.store); !slices.Equal(before, after) || size != same || len(dry.Plans) != 1 {
		t.Errorf("objects %v became %v, plans %v", before, after, dry.Plans)
	}
	o.DryRun = false
	done, err := upkeep.Run(t.Context(), p.store, o)
	p.check(err)
	if fmt.Sprint(dry.Plans[0].Steps) != fmt.Sprint(done.Plans[0].Steps) || len(done.Plans) != 1 {
		t.Errorf("planned %v, did %v", dry.Plans, done.Plans)
	}
	if done.Deleted != 0 {
		t.Errorf("%d objects were deleted before their grace", done.Deleted)
	}
	// Who began to read before goes on, since what was replaced is still there.
	after, _ := objects(t, p.store)
	for _, key := range before {
		if !slices.Contains(after, key) && strings.HasSuffix(key, ".seg") {
			t.Errorf("%s is gone", key)
		}
	}
	o.Now = p.now.Add(2 * time.Hour)
	if done, err = upkeep.Run(t.Context(), p.store, o); err != nil || done.Deleted == 0 {
		t.Errorf("after the grace %d deleted, %v", done.Deleted, err)
	}
	p.restorable()
}

// A base that is damaged is not what the history is made to begin with: nothing before it is let go of.
func TestDamagedBaseIsNotForgottenTo(t *testing.T) {
	p := newPrimary(t, 7)
	p.live(40, 20*time.Second)
	p.base()
	p.now = p.now.Add(100 * day)
	p.live(10, 20*time.Second)
	before, _ := objects(t, p.store)
	i := slices.IndexFunc(before, func(key string) bool { return strings.HasSuffix(key, ".base") })
	body, size, err := p.store.Get(t.Context(), before[i], 0, -1)
	p.check(err)
	data, err := io.ReadAll(body)
	p.check(err)
	data[size/2] ^= 1
	p.check(p.store.Put(t.Context(), before[i], bytes.NewReader(data), size))
	if _, err := upkeep.Run(t.Context(), p.store, p.options(archive.Retention{All: day})); !errors.Is(err, journal.ErrCorrupt) {
		t.Errorf("with a damaged base: %v", err)
	}
	if after, _ := objects(t, p.store); !slices.Equal(before, after) {
		t.Errorf("objects %v became %v", before, after)
	}
}
