package apply_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/asof"
	"github.com/pagetrail/pagetrail/journal"
	"pgregory.net/rapid"
)

// TestModel writes random histories and restores every moment of them, from
// the tail and from sealed segments, with bases and without.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "apply-model-")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := machine{t: t, b: newTrail(t, filepath.Join(dir, "db-pagetrail")), images: []image{{}}}
		m.run()
		m.check(dir)
	})
}

type machine struct {
	t      *rapid.T
	b      *trailWriter
	images []image // by TXID
}

func (m *machine) int(lo, hi int, label string) int {
	return rapid.IntRange(lo, hi).Draw(m.t, label)
}

func (m *machine) run() {
	if m.int(0, 3, "adopted") == 0 {
		next := image{pageSize: m.pageSize()}
		m.rewrite(&next, m.int(0, 9, "pages"))
		m.b.base(next, true)
		m.images = append(m.images, next)
	}
	for range m.int(0, 25, "steps") {
		m.b.group = []int{0, 0, 1, 3}[m.int(0, 3, "group")]
		m.step()
	}
}

func (m *machine) pageSize() int { return 512 << m.int(0, 7, "page size") }

func (m *machine) step() {
	next := m.b.state.clone()
	if next.pageSize == 0 {
		next.pageSize = m.pageSize()
	}
	kind := journal.Ordinary
	switch m.int(0, 11, "kind") {
	case 0:
		if len(next.pages) > 0 {
			m.b.base(m.b.state, false)
		}
		return
	case 1:
		m.b.rotate(m.int(0, 1, "seal") == 0)
		return
	case 2:
		next.pageSize = m.pageSize()
		next.pages = nil
		m.rewrite(&next, m.int(0, 12, "pages"))
		m.b.base(next, true)
		m.images = append(m.images, next)
		return
	case 3:
		next.pageSize = m.pageSize()
		next.pages = nil
		m.rewrite(&next, m.int(0, 12, "pages"))
	case 4:
		next.pages = next.pages[:m.int(0, len(next.pages), "cut")]
	case 5:
		next.pages = append(next.pages, make([][]byte, m.int(0, 5, "zero pages"))...)
		m.rewrite(&next, len(next.pages)+m.int(0, 4, "pages more"))
	case 6:
		kind = journal.Physical
		m.edit(&next)
	case 7:
		kind = journal.CatchUp
		m.edit(&next)
		next.pages = next.pages[:m.int(0, len(next.pages), "cut")]
	default:
		m.rewrite(&next, len(next.pages)+m.int(0, 2, "pages more"))
		m.edit(&next)
	}
	m.b.commit(next, kind)
	m.images = append(m.images, next)
}

// rewrite grows an image to n pages.
func (m *machine) rewrite(next *image, n int) {
	for i := len(next.pages); i < n; i++ {
		next.pages = append(next.pages, filled(next.pageSize, i+1, byte(m.int('a', 'z', "fill"))))
	}
}

// edit changes bytes in some pages, moves bytes in others, copies pages.
func (m *machine) edit(next *image) {
	for range m.int(0, 5, "edits") {
		if len(next.pages) == 0 {
			return
		}
		i := m.int(0, len(next.pages)-1, "page")
		p := bytes.Clone(next.page(i))
		at := m.int(0, len(p)-1, "at")
		switch m.int(0, 3, "edit") {
		case 0:
			copy(p[at:], fmt.Sprintf("edited by transaction %d", len(m.images)))
		case 1:
			copy(p[at:], p)
		case 2:
			copy(p, next.page(m.int(0, len(next.pages)-1, "source")))
		case 3:
			clear(p[at:])
		}
		next.pages[i] = p
	}
}

// check restores every TXID, at every time, and verifies the trail.
func (m *machine) check(dir string) {
	t := m.t
	m.b.close()
	trail := openTrail(t, m.b.dir)
	defer trail.Close()
	out := filepath.Join(dir, "out.db")
	for id, want := range m.images {
		if id == 0 && len(m.images) > 1 && m.b.kinds[0] == journal.Base {
			continue // the trail does not know what was before
		}
		if id == 0 && len(m.images) == 1 {
			continue // nothing was ever committed
		}
		got, result := hydrated(t, trail, out, apply.AtTXID(journal.TXID(id)))
		if !bytes.Equal(got, want.bytes()) {
			t.Fatalf("transaction %d: %d bytes differ from the model's %d", id, len(got), len(want.bytes()))
		}
		if result.Position.Sum != want.sum() || result.Tx.TXID != journal.TXID(id) {
			t.Fatalf("transaction %d: result %+v, model sum %v", id, result.Position, want.sum())
		}
		if last := id == len(m.images)-1; last != (result.Next == nil) {
			t.Fatalf("transaction %d: next %+v", id, result.Next)
		}
		m.checkView(trail, id, want)
		if id > 0 {
			m.checkTime(trail, id)
		}
	}
	report, err := apply.Verify(context.Background(), trail, nil)
	if err != nil {
		t.Fatalf("verify: %v (%+v)", err, report.Problems)
	}
	if n := len(m.images) - 1; n > 0 && (len(report.Spans) != 1 || report.Spans[0].Last != journal.TXID(n)) {
		t.Fatalf("verify replayed %+v of %d transactions", report.Spans, n)
	}
}

// checkView reads the pages of a transaction's state without restoring it, in any order and with little memory.
func (m *machine) checkView(trail *journal.Trail, id int, want image) {
	t := m.t
	view, err := asof.Open(context.Background(), trail, apply.AtTXID(journal.TXID(id)),
		&asof.Options{WholeBytes: -1, CacheBytes: []int{1, 4 << 10, 1 << 20}[m.int(0, 2, "cache")]})
	if err != nil {
		t.Fatal(err)
	}
	defer view.Close()
	if view.PageCount() != uint32(len(want.pages)) {
		t.Fatalf("transaction %d: view of %d pages, want %d", id, view.PageCount(), len(want.pages))
	}
	buf := make([]byte, want.pageSize)
	for range len(want.pages) {
		i := m.int(0, len(want.pages)-1, "page read")
		if err := view.ReadPage(context.Background(), uint32(i+1), buf); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(buf, want.page(i)) {
			t.Fatalf("transaction %d: page %d is another in the view, whole: %v", id, i+1, view.Stats().Whole)
		}
	}
	if err := view.Verify(context.Background()); err != nil {
		t.Fatalf("transaction %d: %v", id, err)
	}
}

// checkTime resolves the transaction's time and the microseconds around it.
func (m *machine) checkTime(trail *journal.Trail, id int) {
	at := m.b.times[id-1]
	for _, d := range []journal.Time{-1, 0, 1} {
		plan, err := apply.Resolve(context.Background(), trail, apply.AtTime(at+d))
		want := journal.TXID(id)
		if d < 0 {
			want--
		}
		if want == 0 {
			if err == nil {
				m.t.Fatalf("time before the first transaction means %d", plan.Tx.TXID)
			}
			continue
		}
		if err != nil || plan.Tx.TXID != want {
			m.t.Fatalf("time %d%+d means %d, want %d (%v)", at, d, plan.Tx.TXID, want, err)
		}
		if plan.Next != nil && plan.Next.TXID != want+1 {
			m.t.Fatalf("after %d comes %d", want, plan.Next.TXID)
		}
	}
}
