package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"pgregory.net/rapid"
)

// modelRecord is a record as the model keeps it.
type modelRecord struct {
	tx     journal.Tx
	groups []diff.Body
}

// model is a trail as a slice, beside one on disk with two writers.
type model struct {
	t         *rapid.T
	dir       string
	writers   [2]*journal.Writer
	at        int // the writer that holds the lock
	committed []modelRecord
	pending   []modelRecord // added, not flushed; the last may be prepared
	parts     []diff.Body
	undecided *modelRecord // flushed, prepared
	points    []journal.Point
	tailFirst journal.TXID
	trail     *journal.Trail
}

func (m *model) w() *journal.Writer { return m.writers[m.at] }

func (m *model) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *model) last() journal.Tx {
	if m.undecided != nil {
		return m.undecided.tx
	}
	if n := len(m.pending); n > 0 {
		return m.pending[n-1].tx
	}
	if n := len(m.committed); n > 0 {
		return m.committed[n-1].tx
	}
	return journal.Tx{SumKnown: true}
}

func (m *model) body() (diff.Body, int) {
	var e diff.Encoder
	n := rapid.IntRange(0, 3).Draw(m.t, "pages")
	var pages []diff.Page
	no := uint32(0)
	for range n {
		no += rapid.Uint32Range(1, 5).Draw(m.t, "gap")
		pages = append(pages, diff.Page{No: no, New: bytes.Repeat([]byte{rapid.Byte().Draw(m.t, "fill")}, 512)})
	}
	if n == 0 {
		return diff.Body{}, 0
	}
	b, kept := e.Encode(diff.Body{}, 512, pages)
	return b, kept
}

func (m *model) prepared() bool {
	return m.undecided != nil || len(m.pending) > 0 && m.w().Prepared()
}

func (m *model) add(prepared bool) {
	if m.prepared() {
		if _, err := m.w().Add(journal.Tx{PageSize: 512}, diff.Body{}, 0, false); err == nil {
			m.t.Fatal("add after a prepared record")
		}
		return
	}
	b, pages := m.body()
	tx := journal.Tx{
		Time: journal.Time(rapid.Int64Range(0, 1000).Draw(m.t, "time")), PageSize: 512,
		Kind: journal.Kind(rapid.IntRange(0, 2).Draw(m.t, "kind")), PageCount: rapid.Uint32Range(0, 9).Draw(m.t, "count"),
		Sum: diff.Sum{Hi: rapid.Uint64().Draw(m.t, "hi"), Lo: rapid.Uint64().Draw(m.t, "lo")}, Note: rapid.SampledFrom([]string{"", "n", "note"}).Draw(m.t, "note"),
	}
	if rapid.Bool().Draw(m.t, "origin") {
		tx.Origin = journal.Origin{WAL: true, Salt: [2]uint32{1, 2}, Frame: rapid.Uint32().Draw(m.t, "frame"), Checksum: [2]uint32{3, 4}}
	}
	got, err := m.w().Add(tx, b, pages, prepared)
	m.check(err)
	want := tx
	want.TXID, want.Time = m.last().TXID+1, max(tx.Time, m.last().Time+1)
	want.SumKnown, want.SumCut, want.Pages, want.Bytes = true, tx.Sum.Cut(), uint32(pages), int64(b.Len())
	groups := slices.Clone(m.parts)
	for _, p := range m.parts {
		want.Pages++
		want.Bytes += int64(p.Len())
	}
	if pages > 0 {
		groups = append(groups, b)
	}
	if got != want {
		m.t.Fatalf("added %+v, want %+v", got, want)
	}
	m.parts = nil
	m.pending = append(m.pending, modelRecord{want, groups})
}

func (m *model) flushed() {
	n := len(m.pending)
	if n > 0 && m.w().Prepared() {
		m.undecided = &m.pending[n-1]
		n--
	}
	m.committed = append(m.committed, m.pending[:n]...)
	m.pending = nil
}

func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"add":     func(*rapid.T) { m.add(false) },
		"prepare": func(*rapid.T) { m.add(true) },
		"part": func(*rapid.T) {
			if m.prepared() {
				return
			}
			b := patch(7, rapid.Byte().Draw(m.t, "part"))
			m.check(m.w().AddPart(b, 1))
			m.parts = append(m.parts, b)
		},
		"flush": func(*rapid.T) {
			if len(m.parts) > 0 {
				if m.w().Flush() == nil {
					m.t.Fatal("flush of groups without a record")
				}
				return
			}
			m.check(m.w().Flush())
			m.flushed()
		},
		"confirm": func(*rapid.T) { m.confirm() },
		"drop":    func(*rapid.T) { m.drop() },
		"reset":   func(*rapid.T) { m.check(m.w().Reset()); m.pending, m.parts = nil, nil },
		"sync":    func(*rapid.T) { m.check(m.w().Sync()) },
		"cut":     func(*rapid.T) { m.cut() },
		"rotate":  func(*rapid.T) { m.rotate() },
		"seal": func(*rapid.T) {
			_, err := journal.Seal(context.Background(), m.dir, nil)
			m.check(err)
		},
		"point": func(*rapid.T) { m.point() },
		"other": func(*rapid.T) { // the other writer takes over, unflushed records are forgotten
			m.w().Unlock()
			m.pending, m.parts = nil, nil
			m.at = 1 - m.at
			_, err := m.w().Lock()
			m.check(err)
		},
		"reopen": func(*rapid.T) {
			m.check(m.w().Close())
			m.pending, m.parts = nil, nil
			var err error
			m.writers[m.at], err = journal.OpenWriter(m.dir, nil)
			m.check(err)
			_, err = m.w().Lock()
			m.check(err)
		},
		"": func(*rapid.T) { m.compare() },
	}
}

func (m *model) confirm() {
	if !m.prepared() {
		if m.w().Confirm() == nil {
			m.t.Fatal("confirm of nothing")
		}
		return
	}
	m.check(m.w().Confirm())
	m.flushed()
	if m.undecided != nil {
		m.committed = append(m.committed, *m.undecided)
		m.undecided = nil
	}
}

func (m *model) drop() {
	if !m.prepared() {
		return
	}
	if n := len(m.pending); n > 0 { // the others are flushed
		m.committed = append(m.committed, m.pending[:n-1]...)
	}
	m.check(m.w().Drop())
	m.pending, m.undecided = nil, nil
}

func (m *model) point() {
	if m.prepared() || len(m.parts) > 0 {
		return
	}
	p, err := m.w().AddPoint(fmt.Sprint("p", len(m.points)), 3)
	m.check(err)
	m.flushed()
	if p.TXID != m.last().TXID {
		m.t.Fatal(p)
	}
	m.points = append(m.points, p)
}

func (m *model) cut() {
	m.check(m.w().Reset())
	m.pending, m.parts = nil, nil
	last := m.last().TXID
	id := journal.TXID(rapid.Uint64Range(uint64(m.tailFirst-1), uint64(last)).Draw(m.t, "cut after"))
	m.check(m.w().CutAfter(id))
	if id == last {
		return
	}
	m.undecided = nil
	m.committed = m.committed[:id]
	m.points = slices.DeleteFunc(m.points, func(p journal.Point) bool { return p.TXID > id })
}

func (m *model) rotate() {
	if m.prepared() || len(m.parts) > 0 {
		if m.w().Rotate() == nil {
			m.t.Fatal("rotated in the middle of a transaction")
		}
		return
	}
	m.check(m.w().Rotate())
	m.flushed()
	m.tailFirst = m.last().TXID + 1
}

// compare compares everything that can be read with the model.
func (m *model) compare() {
	if got := m.w().Last(); got != m.last() {
		m.t.Fatalf("writer's last %+v, want %+v", got, m.last())
	}
	m.compareWriter()
	m.check(m.trail.Refresh())
	fresh, err := journal.Open(m.dir, nil)
	m.check(err)
	defer fresh.Close()
	for _, tr := range []*journal.Trail{m.trail, fresh} {
		m.compareTrail(tr)
	}
	_, err = fresh.Verify(context.Background(), nil)
	m.check(err)
}

// compareWriter reads the writer's own records, from anywhere.
func (m *model) compareWriter() {
	i := rapid.IntRange(0, len(m.committed)).Draw(m.t, "from")
	for r, err := range m.w().Records(journal.TXID(i + 1)) {
		m.check(err)
		if i == len(m.committed) {
			m.t.Fatalf("record %d beyond the end", r.TXID)
		}
		m.compareRecord(r, &m.committed[i])
		i++
	}
	if i != len(m.committed) {
		m.t.Fatalf("the writer read up to %d of %d records", i, len(m.committed))
	}
}

func (m *model) compareTrail(tr *journal.Trail) {
	if u := tr.Undecided(); (u != nil) != (m.undecided != nil) || u != nil && *u != m.undecided.tx {
		m.t.Fatalf("undecided %v, want %v", u, m.undecided)
	}
	points, err := tr.Points()
	m.check(err)
	if !slices.Equal(points, m.points) {
		m.t.Fatalf("points %v, want %v", points, m.points)
	}
	i := 0
	if len(m.committed) > 0 {
		i = rapid.IntRange(0, len(m.committed)-1).Draw(m.t, "from")
	}
	for r, err := range tr.Records(context.Background(), journal.TXID(i+1)) {
		m.check(err)
		if i == len(m.committed) {
			m.t.Fatalf("record %d beyond the end", r.TXID)
		}
		m.compareRecord(r, &m.committed[i])
		i++
	}
	if i != len(m.committed) {
		m.t.Fatalf("read up to %d of %d records", i, len(m.committed))
	}
}

func (m *model) compareRecord(r *journal.Record, want *modelRecord) {
	tx := want.tx
	if !r.SumKnown {
		tx.Sum, tx.SumKnown = diff.Sum{}, false
	}
	if tx.TXID < m.tailFirst && r.Origin == (journal.Origin{}) { // may be sealed
		tx.Origin = journal.Origin{}
	}
	if r.Tx != tx {
		m.t.Fatalf("record %+v, want %+v", r.Tx, tx)
	}
	var groups []diff.Body
	for b, err := range r.Groups() {
		m.check(err)
		groups = append(groups, diff.Body{Pages: bytes.Clone(b.Pages), Tokens: bytes.Clone(b.Tokens), Literals: bytes.Clone(b.Literals)})
	}
	if len(groups) != len(want.groups) {
		m.t.Fatalf("%d groups, want %d", len(groups), len(want.groups))
	}
	for i, g := range groups {
		if w := want.groups[i]; !bytes.Equal(g.Pages, w.Pages) || !bytes.Equal(g.Tokens, w.Tokens) || !bytes.Equal(g.Literals, w.Literals) {
			m.t.Fatalf("record %d group %d differs", r.TXID, i)
		}
	}
}

// TestWriterModel drives two writers at random and compares with a slice after every step.
func TestWriterModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		root, err := os.MkdirTemp("", "pagetrail")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(root)
		m := &model{t: rt, dir: root + "/trail", tailFirst: 1}
		for i := range m.writers {
			m.writers[i], err = journal.OpenWriter(m.dir, &journal.WriterOptions{Create: true})
			m.check(err)
			defer func() { m.writers[i].Close() }()
		}
		m.trail, err = journal.Open(m.dir, nil)
		m.check(err)
		defer m.trail.Close()
		_, err = m.w().Lock()
		m.check(err)
		rt.Repeat(m.actions())
	})
}
