package journal_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// The trail that is damaged and repaired: two sealed segments (1 to 250 in three blocks, 251 to 260), two that have
// ended (261 to 264, 265 to 268), a tail (269 to 272), all durable.
const (
	seg1   = "0000000000000001.seg"
	seg251 = "00000000000000fb.seg"
	seg261 = "0000000000000105.seg"
	seg265 = "0000000000000109.seg"
	seg269 = "000000000000010d.seg"
)

// lazyFS is the system's files without syncs, which take most of the time here and are no matter of these tests.
type lazyFS struct{ durable.FS }

func (lazyFS) SyncDir(string) error { return nil }

func (u lazyFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := u.FS.OpenFile(name, flag, perm)
	return lazyFile{f}, err
}

type lazyFile struct{ durable.File }

func (lazyFile) Sync() error { return nil }

var quick = &journal.RepairOptions{FS: lazyFS{durable.OS}}

// patient is a trail to be repaired, and its files as they were.
type patient struct {
	*testing.T
	dir   string
	files map[string][]byte // of the whole trail
}

var patientFiles map[string][]byte

func newPatient(t *testing.T) *patient {
	t.Helper()
	if patientFiles == nil {
		w, dir := newWriter(t)
		end := func() {
			if err := w.Rotate(); err != nil {
				t.Fatal(err)
			}
		}
		for range 25 {
			add(t, w, 10)
			flush(t, w)
		}
		end()
		add(t, w, 10)
		flush(t, w)
		end()
		seal(t, dir, 2)
		for range 3 {
			for range 4 {
				add(t, w, 1)
				flush(t, w)
				if err := w.Sync(); err != nil {
					t.Fatal(err)
				}
			}
			if w.Last().TXID < 270 {
				end()
			}
		}
		w.Close()
		patientFiles = filesOf(t, dir)
	}
	return admit(t, patientFiles)
}

// admit makes a trail of these files, which is to be repaired.
func admit(t *testing.T, files map[string][]byte) *patient {
	t.Helper()
	p := &patient{T: t, dir: filepath.Join(t.TempDir(), "db-pagetrail"), files: files}
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range p.files {
		writeFile(t, filepath.Join(p.dir, name), data)
	}
	return p
}

// filesOf reads a directory and those in it.
func filesOf(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err == nil {
			files[name], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func (p *patient) path(name string) string { return filepath.Join(p.dir, name) }

func (p *patient) flip(name string, at int) {
	data := bytes.Clone(p.files[name])
	if at < 0 {
		at += len(data)
	}
	data[at] ^= 0x40
	writeFile(p, p.path(name), data)
}

// repair repairs, after a look at the plan that must be the same and change nothing, then wants a second repair to have
// nothing to do.
func (p *patient) repair() *journal.RepairPlan {
	p.Helper()
	before := filesOf(p, p.dir)
	dry, err := journal.PlanRepair(p.Context(), p.dir, quick)
	if err != nil {
		p.Fatal(err)
	}
	wantFiles(p, p.dir, before)
	plan, err := journal.Repair(p.Context(), p.dir, quick)
	if err != nil {
		p.Fatal(err)
	}
	if show(dry) != show(plan) {
		p.Fatalf("planned:\n%s\ndone:\n%s", show(dry), show(plan))
	}
	p.kept(before)
	p.settled(plan)
	return plan
}

// settled wants a second repair to have nothing to do, and the trail to be as the plan said.
func (p *patient) settled(plan *journal.RepairPlan) {
	p.Helper()
	before := filesOf(p, p.dir)
	again, err := journal.Repair(p.Context(), p.dir, quick)
	if err != nil || len(again.Steps) != 0 {
		p.Fatalf("again: %v\n%s", err, show(again))
	}
	wantFiles(p, p.dir, before)
	tr := openTrail(p, p.dir)
	last, err := tr.Last()
	if err != nil || last.TXID != plan.Last {
		p.Fatalf("last is %d, the plan said %d (%v)", last.TXID, plan.Last, err)
	}
	w, err := tr.Window(p.Context())
	w.Spans = slices.DeleteFunc(w.Spans, func(s journal.Span) bool { return s.Last == 0 })
	if err != nil || fmt.Sprint(w) != fmt.Sprint(plan.After) {
		p.Fatalf("window %v, the plan said %v (%v)", w, plan.After, err)
	}
}

func wantFiles(t testing.TB, dir string, want map[string][]byte) {
	t.Helper()
	got := filesOf(t, dir)
	for name := range got {
		if !bytes.Equal(got[name], want[name]) {
			t.Fatalf("%s changed", name)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("files: %d, want %d", len(got), len(want))
	}
}

// kept wants every byte that was there to be there still: in the file, in one beside it in the evidence, or cut off one.
func (p *patient) kept(before map[string][]byte) {
	p.Helper()
	now := filesOf(p, p.dir)
	for name, data := range before {
		if strings.HasSuffix(name, ".seg.salvaged") || strings.HasPrefix(name, "evidence-") {
			continue // made by a repair
		}
		found := bytes.Equal(now[name], data)
		for other, rest := range now {
			if filepath.Base(other) == name && bytes.Equal(rest, data) ||
				filepath.Base(other) == name+".rest" && bytes.Equal(append(bytes.Clone(now[name]), rest...), data) {
				found = true
			}
		}
		if !found {
			p.Fatalf("bytes of %s are gone", name)
		}
	}
}

func show(plan *journal.RepairPlan) string {
	if plan == nil {
		return "no plan"
	}
	var b strings.Builder
	for _, s := range plan.Steps {
		fmt.Fprintf(&b, "%s: %s", s.File, s.Do)
		if s.Why != nil {
			fmt.Fprintf(&b, " (%v)", s.Why)
		}
		b.WriteByte('\n')
	}
	fmt.Fprint(&b, plan.After, plan.Last, plan.Bridge, plan.Again, plan.Unhealed)
	return b.String()
}

// runs are the transactions that can be read, as runs: whole ones, with the content that they had.
func (p *patient) runs() string {
	p.Helper()
	tr := openTrail(p, p.dir)
	segments, err := tr.Segments()
	if err != nil {
		p.Fatal(err)
	}
	var out []string
	for _, s := range segments {
		if s.Last < s.First {
			continue
		}
		reader, err := tr.OpenSegment(s.First)
		if err != nil {
			p.Fatal(err)
		}
		if err := errors.Join(reader.Verify(p.Context()), reader.Close()); err != nil {
			p.Fatal(err)
		}
		next := s.First
		for r, err := range tr.Records(p.Context(), s.First) {
			if err != nil || r.TXID > s.Last {
				break
			}
			if r.TXID != next || r.SumCut != sumOf(next).Cut() {
				p.Fatalf("record %+v, want %d", r.Tx, next)
			}
			next++
		}
		if next != s.Last+1 {
			p.Fatalf("%s ends at %d, want %d", s.Name, next-1, s.Last)
		}
		out = append(out, fmt.Sprintf("%d-%d", s.First, s.Last))
	}
	return strings.Join(out, " ")
}

// goesOn appends to the repaired trail.
func (p *patient) goesOn(id journal.TXID) {
	p.Helper()
	w := lockedWriter(p, p.dir)
	add(p, w, 1)
	flush(p, w)
	if got := w.Last().TXID; got != id {
		p.Fatalf("the next is %d, want %d", got, id)
	}
	w.Close()
}

func TestRepairNothing(t *testing.T) {
	p := newPatient(t)
	before := filesOf(t, p.dir)
	plan := p.repair()
	if len(plan.Steps) != 0 || plan.Evidence != "" || plan.Last != 272 || plan.Bridge {
		t.Fatal(show(plan))
	}
	wantFiles(t, p.dir, before)
}

// TestRepair damages one thing each.
func TestRepair(t *testing.T) {
	const whole = "1-250 251-260 261-264 265-268 269-272"
	for name, c := range map[string]struct {
		damage func(p *patient)
		want   string // runs of transactions that are left
		next   journal.TXID
		bridge bool
		says   string // in the plan
	}{
		"a block of a sealed segment": {func(p *patient) { p.flip(seg1, len(p.files[seg1])/2) }, "1-100 201-250 251-260 261-264 265-268 269-272", 273, true, "1 to 100"},
		"the first block":             {func(p *patient) { p.flip(seg1, 200) }, "101-250 251-260 261-264 265-268 269-272", 273, true, "101 to 250"},
		"the index":                   {func(p *patient) { p.flip(seg1, -40) }, whole, 273, false, "1 to 250"},
		"the trailer":                 {func(p *patient) { p.flip(seg251, -20) }, whole, 273, false, ""},
		"the header of a sealed one":  {func(p *patient) { p.flip(seg251, 20) }, whole, 273, false, ""},
		"a sealed one cut short":      {func(p *patient) { writeFile(p, p.path(seg1), p.files[seg1][:len(p.files[seg1])*2/3]) }, "1-100 251-260 261-264 265-268 269-272", 273, true, ""},
		"a block of an ended one":     {func(p *patient) { p.flip(seg261, 400) }, "1-250 251-260 261-262 264-264 265-268 269-272", 273, true, ""},
		"its end":                     {func(p *patient) { p.flip(seg261, -10) }, whole, 273, false, ""},
		"an empty file":               {func(p *patient) { writeFile(p, p.path(seg261), nil) }, "1-250 251-260 265-268 269-272", 273, true, "move"},
		"swapped files": {func(p *patient) {
			writeFile(p, p.path(seg251), p.files[seg261])
			writeFile(p, p.path(seg261), p.files[seg251])
		}, whole, 273, false, "says 261"},
		"the tail":                   {func(p *patient) { p.flip(seg269, 400) }, "1-250 251-260 261-264 265-268 269-270 272-272", 273, true, "end it"},
		"the header of the tail":     {func(p *patient) { p.flip(seg269, 20) }, whole, 273, false, ""},
		"the end of the tail":        {func(p *patient) { writeFile(p, p.path(seg269), append(bytes.Clone(p.files[seg269]), "torn"...)) }, whole, 273, false, "cut it"},
		"all of the tail but two":    {func(p *patient) { p.spoil(seg269, len(p.files[seg269])*6/10) }, "1-250 251-260 261-264 265-268 269-269", 270, false, "cut it"},
		"the tail empty":             {func(p *patient) { writeFile(p, p.path(seg269), nil) }, "1-250 251-260 261-264 265-268", 269, false, "move"},
		"identity missing":           {func(p *patient) { os.Remove(p.path("identity")) }, whole, 273, false, "write it"},
		"identity damaged":           {func(p *patient) { writeFile(p, p.path("identity"), []byte("{")) }, whole, 273, false, "write it"},
		"leftovers":                  {func(p *patient) { p.leave("identity.tmp", "0000000000000009.base.writing") }, whole, 273, false, "half made"},
		"two blocks and the header":  {func(p *patient) { p.flip(seg1, 20); p.also(seg1, len(p.files[seg1])/2) }, "1-100 201-250 251-260 261-264 265-268 269-272", 273, true, ""},
		"a base of no transaction":   {func(p *patient) { p.base(300) }, whole, 273, false, "no transaction"},
		"one that is not of its own": {func(p *patient) { p.base(260) }, whole, 273, false, "not the state"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPatient(t)
			c.damage(p)
			plan := p.repair()
			if got := p.runs(); got != c.want || plan.Bridge != c.bridge || !strings.Contains(show(plan), c.says) {
				t.Fatalf("left: %s, want %s\n%s", got, c.want, show(plan))
			}
			p.goesOn(c.next)
		})
	}
}

// spoil inverts all bytes of a file from off on.
func (p *patient) spoil(name string, off int) {
	data := bytes.Clone(p.files[name])
	for i := off; i < len(data); i++ {
		data[i] ^= 0xff
	}
	writeFile(p, p.path(name), data)
}

// also flips one more byte of a file that is damaged already.
func (p *patient) also(name string, at int) {
	data := readFile(p, p.path(name))
	data[at] ^= 1
	writeFile(p, p.path(name), data)
}

func (p *patient) leave(names ...string) {
	for _, n := range names {
		writeFile(p, p.path(n), []byte("half"))
	}
}

// base puts a whole base there that is not of this trail's states.
func (p *patient) base(id journal.TXID) {
	id0 := openTrail(p, p.dir).Identity().Database
	dir := filepath.Join(p.TempDir(), "db-pagetrail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Database: id0})
	if err != nil {
		p.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		p.Fatal(err)
	}
	add(p, w, int(id-1))
	flush(p, w)
	b, err := w.CreateBase(512, 1, 1, true)
	if err == nil {
		err = b.WritePages(1, make([]byte, 512))
	}
	if err == nil {
		_, err = b.Commit()
	}
	if err != nil {
		p.Fatal(err)
	}
	name := fmt.Sprintf("%016x.base", uint64(id))
	writeFile(p, p.path(name), readFile(p, filepath.Join(dir, name)))
}

// TestRepairBesideWriter repairs a damaged tail that another process has open: it goes on in the next.
func TestRepairBesideWriter(t *testing.T) {
	p := newPatient(t)
	w, err := journal.OpenWriter(p.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func(context.Context, string, *journal.RepairOptions) (*journal.RepairPlan, error){
		"plan": journal.PlanRepair, "repair": journal.Repair,
	} {
		if _, err := f(t.Context(), p.dir, nil); !errors.Is(err, journal.ErrLocked) {
			t.Fatalf("%s beside a writer: %v", name, err)
		}
	}
	w.Unlock()
	p.flip(seg269, 400)
	p.repair()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	w.Unlock()
	if got := p.runs(); w.Last().TXID != 273 || !strings.HasSuffix(got, "269-270 272-272 273-273") {
		t.Fatalf("%d, %s", w.Last().TXID, got)
	}
}

// TestRepairRefuses leaves alone what a newer version wrote, and what is no trail.
func TestRepairRefuses(t *testing.T) {
	p := newPatient(t)
	writeFile(t, p.path(seg251), then(set(8, 2), headerCRC)(bytes.Clone(p.files[seg251])))
	p.flip(seg1, 200)
	before := filesOf(t, p.dir)
	if _, err := journal.Repair(t.Context(), p.dir, quick); !errors.Is(err, journal.ErrVersion) {
		t.Fatalf("got %v", err)
	}
	wantFiles(t, p.dir, before)
	if _, err := journal.Repair(t.Context(), t.TempDir(), nil); !errors.Is(err, journal.ErrNotFound) {
		t.Fatalf("got %v", err)
	}
}

// TestRepairLarge damages a group of a large transaction, whose record, which is whole, is of no use without it; and
// the block after it, which leaves it whole.
func TestRepairLarge(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	group := w.Size()
	if err := w.AddPart(patch(1, 7), 1); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	after := w.Size()
	add(t, w, 1)
	flush(t, w)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	w.Close()
	files := filesOf(t, dir)
	for at, want := range map[int64]string{group: "1-1 3-4", after: "1-2 4-4"} {
		p := admit(t, files)
		p.flip(seg1, int(at)+40)
		p.repair()
		if got := p.runs(); got != want {
			t.Fatalf("left: %s, want %s", got, want)
		}
	}
}

// TestRepairAnything flips bytes all over a trail: what is repaired can be read, and says nothing that was not.
func TestRepairAnything(t *testing.T) {
	newPatient(t)
	for _, name := range []string{seg1, seg251, seg261, seg265, seg269} {
		size := len(patientFiles[name])
		for at := len(name) % 7; at < size; at += size/13 + 1 {
			p := newPatient(t)
			p.flip(name, at)
			p.repair()
			p.runs()
		}
	}
}
