package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// stored is one transaction of testdata/snapshots.tar.gz.
type stored struct {
	note string
	db   []byte
}

// snapshots are the databases that scripts make trails of; see testdata/make_snapshots.py.
var snapshots = sync.OnceValues(func() ([]stored, error) {
	f, err := os.Open(filepath.Join("testdata", "snapshots.tar.gz"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	var all []stored
	var notes []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		b, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		if h.Name == "notes.txt" {
			notes = strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
			continue
		}
		all = append(all, stored{notes[len(all)], b})
	}
	return all, nil
})

// snapshotPage is the page size of the snapshots.
const snapshotPage = 512

// trailPlan says what trail to make.
type trailPlan struct {
	extra   int       // transactions after the twelve of the snapshots
	rotate  int       // a new segment after so many transactions
	seal    bool      // seal all but the tail
	base    bool      // the database is older than its trail: begin with a base
	start   time.Time // transaction n is recorded n minutes later
	point   string    // restore point after transaction 10
	prepare bool      // end with a prepared transaction
	sync    bool      // make each transaction durable
	empty   bool      // no transactions at all
	note    string    // of the twelfth transaction; \e and \n are ESC and a new line
}

// make writes the trail. Everything in it but the database ID follows from the plan.
func (p trailPlan) make(dir string) error {
	all, err := snapshots()
	if err != nil {
		return err
	}
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		return err
	}
	m := &trailMaker{plan: p, w: w}
	err = m.run(all)
	w.Unlock()
	if err == nil {
		err = w.Close()
	}
	if err == nil && p.seal {
		_, err = journal.Seal(context.Background(), dir, nil)
	}
	return err
}

// trailMaker appends snapshots to a trail as the transactions between them.
type trailMaker struct {
	plan trailPlan
	w    *journal.Writer
	enc  diff.Encoder
	old  []byte
	n    int
}

func (m *trailMaker) run(all []stored) error {
	if m.plan.empty {
		return nil
	}
	for i, s := range all {
		var err error
		if m.plan.note != "" && i == len(all)-1 {
			s.note = strings.NewReplacer(`\e`, "\x1b", `\n`, "\n").Replace(m.plan.note)
		}
		if m.plan.base && i == 0 {
			err = m.base(s)
		} else {
			err = m.add(s, false)
		}
		if err != nil {
			return err
		}
		if m.n == 10 && m.plan.point != "" {
			if _, err := m.w.AddPoint(m.plan.point, m.at().Add30()); err != nil {
				return err
			}
		}
	}
	// More transactions, of one or two pages each: between the snapshots of single updates.
	for i := range m.plan.extra {
		if err := m.add(stored{"", all[3+i%3].db}, false); err != nil {
			return err
		}
	}
	if m.plan.prepare {
		return m.add(stored{"never confirmed", all[0].db}, true)
	}
	return nil
}

// minute is a journal.Time that knows what comes half a minute later.
type minute journal.Time

func (t minute) Add30() journal.Time { return journal.Time(t) + 30e6 }

func (m *trailMaker) at() minute {
	return minute(journal.TimeOf(m.plan.start.Add(time.Duration(m.n)*time.Minute + 123456*time.Microsecond)))
}

// add appends the transaction that leads to s.
func (m *trailMaker) add(s stored, prepared bool) error {
	m.n++
	var pages []diff.Page
	sum := diff.Sum{}
	for i := 0; i*snapshotPage < len(s.db); i++ {
		page := diff.Page{No: uint32(i + 1), Old: make([]byte, snapshotPage), New: s.db[i*snapshotPage:][:snapshotPage]}
		if end := (i + 1) * snapshotPage; end <= len(m.old) {
			page.Old = m.old[i*snapshotPage : end]
		}
		sum = sum.Add(diff.PageSum(page.No, page.New))
		if !bytes.Equal(page.Old, page.New) {
			pages = append(pages, page)
		}
	}
	body, kept := m.enc.Encode(diff.Body{}, snapshotPage, pages)
	_, err := m.w.Add(journal.Tx{
		Time: journal.Time(m.at()), PageSize: snapshotPage, PageCount: uint32(len(s.db) / snapshotPage), Sum: sum, SumKnown: true, SumCut: sum.Cut(), Note: s.note,
	}, body, kept, prepared)
	if err == nil {
		err = m.w.Flush()
	}
	if err == nil && m.plan.sync {
		err = m.w.Sync()
	}
	if err == nil && !prepared && m.plan.rotate > 0 && m.n%m.plan.rotate == 0 {
		err = m.w.Rotate()
	}
	m.old = s.db
	return err
}

// base begins the trail with a base that holds s.
func (m *trailMaker) base(s stored) error {
	m.n++
	count := uint32(len(s.db) / snapshotPage)
	b, err := m.w.CreateBase(snapshotPage, count, journal.Time(m.at()), true)
	if err != nil {
		return err
	}
	if err := b.WritePages(1, s.db); err != nil {
		return err
	}
	sum := b.Sum()
	if _, err := b.Commit(); err != nil {
		return err
	}
	_, err = m.w.Add(journal.Tx{Time: journal.Time(m.at()), Kind: journal.Base, PageSize: snapshotPage, PageCount: count, Sum: sum, SumKnown: true, SumCut: sum.Cut()}, diff.Body{}, 0, false)
	if err == nil {
		err = m.w.Flush()
	}
	m.old = s.db
	return err
}

// planFlags are the flags of maketrail.
func planFlags(args []string) (trailPlan, string, error) {
	p := trailPlan{start: time.Date(2026, 11, 21, 10, 0, 0, 0, time.UTC), point: "before-deploy"}
	f := flag.NewFlagSet("maketrail", flag.ContinueOnError)
	f.IntVar(&p.extra, "extra", 0, "")
	f.IntVar(&p.rotate, "rotate", 0, "")
	f.BoolVar(&p.seal, "seal", false, "")
	f.BoolVar(&p.base, "base", false, "")
	f.BoolVar(&p.prepare, "prepare", false, "")
	f.BoolVar(&p.sync, "sync", false, "")
	f.BoolVar(&p.empty, "empty", false, "")
	f.StringVar(&p.note, "note", "", "")
	f.StringVar(&p.point, "point", p.point, "")
	if err := f.Parse(args); err != nil {
		return p, "", err
	}
	if f.NArg() != 1 {
		return p, "", fmt.Errorf("want one directory, not %q", f.Args())
	}
	return p, f.Arg(0), nil
}

// maketrail [FLAG]... DIR writes a trail.
func cmdMakeTrail(ts *testscript.TestScript, neg bool, args []string) {
	plan, dir, err := planFlags(args)
	ts.Check(err)
	ts.Check(plan.make(ts.MkAbs(dir)))
}

// snapshot N FILE writes what the database must be after transaction N.
func cmdSnapshot(ts *testscript.TestScript, neg bool, args []string) {
	all, err := snapshots()
	ts.Check(err)
	var n int
	if _, err := fmt.Sscan(args[0], &n); err != nil || n < 1 || n > len(all) {
		ts.Fatalf("snapshot: no transaction %s", args[0])
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), all[n-1].db, 0o644))
}

// newTrail makes a trail for a test and returns its directory.
func newTrail(t *testing.T, args ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "app.db-pagetrail")
	plan, _, err := planFlags(append(args, dir))
	if err == nil {
		err = plan.make(dir)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
