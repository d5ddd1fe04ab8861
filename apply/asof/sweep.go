package asof

import (
	"cmp"
	"container/heap"
	"context"
	"math"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
)

// sweep finds what one page is made of, going back from the moment of the view.
type sweep struct {
	v      *View
	ctx    context.Context
	needed map[uint32]bool // pages whose content is needed as of before the place that has been reached
	visits visits          // places still to be looked at
	steps  []step          // what is to be done on the way forward, in reverse
	bytes  int             // of the steps
}

// visit is a record that patches or ends a page, or a unit that does so somewhere.
type visit struct {
	unit, rec int32
	page      uint32
}

// anywhere is the rec of a visit to a unit that is not yet loaded.
const anywhere = math.MaxInt32

// visits is a heap of which the last in the order of the trail comes first.
type visits []visit

func (h visits) Len() int      { return len(h) }
func (h visits) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *visits) Push(x any)   { *h = append(*h, x.(visit)) }

func (h visits) Less(i, j int) bool {
	return cmp.Or(cmp.Compare(h[j].unit, h[i].unit), cmp.Compare(h[j].rec, h[i].rec), cmp.Compare(h[i].page, h[j].page)) < 0
}

func (h *visits) Pop() any {
	old := *h
	x := old[len(old)-1]
	*h = old[:len(old)-1]
	return x
}

// step is a body to be applied, or what a page is from then on.
type step struct {
	body      diff.Body
	kept      []diff.PageRef // its pages
	unit, rec int32          // where it stands
	shared    bool           // it makes pages that nobody asked for, which the next reader may

	page uint32
	is   []byte // not nil: there is no body
}

// page makes the content of a page at the moment of the view. It is not to be changed.
func (v *View) page(ctx context.Context, no uint32) ([]byte, error) {
	s := sweep{v: v, ctx: ctx, needed: make(map[uint32]bool)}
	if err := s.need(no, int32(len(v.units)), 0); err != nil {
		return nil, err
	}
	for len(s.visits) > 0 && len(s.needed) > 0 {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := s.visit(); err != nil {
			return nil, err
		}
	}
	return s.forward(no)
}

// need adds a page, as of before record rec of a unit.
func (s *sweep) need(page uint32, unit, rec int32) error {
	s.needed[page] = true
	if len(s.needed)*s.v.plan.Tx.PageSize > s.v.cache.limit {
		return errWhole
	}
	units, err := s.v.unitsOf(page)
	if err != nil {
		return err
	}
	for _, u := range units {
		if u < unit {
			heap.Push(&s.visits, visit{u, anywhere, page})
		} else if u == unit {
			if err := s.enter(u, rec, page); err != nil {
				return err
			}
		}
	}
	return nil
}

// enter finds the records of a unit, before rec, that patch or end a page.
func (s *sweep) enter(unit, rec int32, page uint32) error {
	l, err := s.v.unit(s.ctx, unit)
	if err != nil {
		return err
	}
	for _, r := range l.of(page) {
		if r.rec < rec {
			heap.Push(&s.visits, visit{unit, r.rec, page})
		}
	}
	if l.least >= page {
		return nil
	}
	for i := range l.recs {
		if l.recs[i].count < page && int32(i) < rec {
			heap.Push(&s.visits, visit{unit, int32(i), page})
		}
	}
	return nil
}

// visit looks at the last place, for all pages that are needed there.
func (s *sweep) visit() error {
	at := s.visits[0]
	var pages []uint32
	for len(s.visits) > 0 && s.visits[0].unit == at.unit && s.visits[0].rec == at.rec {
		page := heap.Pop(&s.visits).(visit).page
		if s.needed[page] && (len(pages) == 0 || pages[len(pages)-1] != page) {
			pages = append(pages, page)
		}
	}
	if at.rec == anywhere {
		for _, page := range pages {
			if err := s.enter(at.unit, anywhere, page); err != nil {
				return err
			}
		}
		return nil
	}
	l, err := s.v.unit(s.ctx, at.unit)
	if err != nil {
		return err
	}
	rec := &l.recs[at.rec]
	wanted := make(map[int32][]uint32) // by body
	for _, page := range pages {
		if page > rec.count {
			s.begin(page, s.v.zero)
			continue
		}
		refs := l.of(page)
		i, ok := slices.BinarySearchFunc(refs, at.rec, func(r ref, rec int32) int { return cmp.Compare(r.rec, rec) })
		if ok {
			wanted[refs[i].body] = append(wanted[refs[i].body], page)
		}
	}
	for body, pages := range wanted {
		if err := s.body(rec.bodies[body], at, pages); err != nil {
			return err
		}
	}
	return nil
}

// begin says that a page begins with a content, and is needed no further back.
func (s *sweep) begin(page uint32, is []byte) {
	s.steps = append(s.steps, step{page: page, is: is})
	delete(s.needed, page)
}

// body takes the pages wanted out of a body, and those that they are copied from.
func (s *sweep) body(b diff.Body, at visit, wanted []uint32) error {
	wanted = slices.DeleteFunc(wanted, func(page uint32) bool {
		is, ok := s.v.cache.get(key{kindVersion, at.unit, at.rec, page})
		if ok {
			s.begin(page, is.([]byte))
		}
		return ok
	})
	if len(wanted) == 0 {
		return nil
	}
	dec := &s.v.dec
	if err := dec.Load(b, s.v.plan.Tx.PageSize); err != nil {
		return s.v.corrupt(s.v.units[at.unit].last, err)
	}
	refs := dec.Pages()
	keep := make([]bool, len(refs))
	for i, r := range refs {
		_, keep[i] = slices.BinarySearch(wanted, r.No)
	}
	kept := withSources(keep, dec.Copies())
	part := dec.AppendPart(diff.Body{}, keep, nil)
	var pages []diff.PageRef // what is needed may be in units to be loaded, with the same decoder
	for i, r := range refs {
		if keep[i] {
			pages = append(pages, r)
		}
	}
	s.steps = append(s.steps, step{body: part, kept: pages, unit: at.unit, rec: at.rec, shared: kept > len(wanted)})
	if s.bytes += part.Len(); s.bytes > s.v.cache.limit {
		return errWhole
	}
	for _, r := range pages {
		if r.Full {
			delete(s.needed, r.No)
		} else if !s.needed[r.No] {
			if err := s.need(r.No, at.unit, at.rec); err != nil {
				return err
			}
		}
	}
	return nil
}

// withSources adds the pages that those to be kept are copied from, and says how many there are then.
func withSources(keep []bool, copies []diff.Copy) (kept int) {
	for more := true; more; {
		more = false
		for _, c := range slices.Backward(copies) {
			if keep[c.To] && !keep[c.From] && !c.Literal() {
				keep[c.From], more = true, true
			}
		}
	}
	for _, k := range keep {
		if k {
			kept++
		}
	}
	return kept
}

// content is a page on the way forward.
type content struct {
	b     []byte
	owned bool // by the sweep: no cache has it
}

// forward takes the steps, and returns what becomes of a page.
func (s *sweep) forward(no uint32) ([]byte, error) {
	v, size := s.v, s.v.plan.Tx.PageSize
	pages, err := v.basePages(s.fromBase(no))
	if err != nil {
		return nil, err
	}
	var spare, olds, outs [][]byte
	for _, t := range slices.Backward(s.steps) {
		if t.is != nil {
			pages[t.page] = content{b: t.is}
			continue
		}
		if err := v.dec.Load(t.body, size); err != nil {
			return nil, v.corrupt(v.units[t.unit].last, err)
		}
		olds, outs = olds[:0], outs[:0]
		for _, r := range t.kept {
			var out []byte
			if n := len(spare); n > 0 {
				out, spare = spare[n-1], spare[:n-1]
			} else {
				out = make([]byte, size)
			}
			old := pages[r.No].b
			if r.Full {
				old = nil
			}
			olds, outs = append(olds, old), append(outs, out)
		}
		v.dec.Decode(outs, olds)
		v.stats.Patches += uint64(len(outs))
		v.work += int64(len(outs) * size)
		for i, r := range t.kept {
			if c := pages[r.No]; c.owned {
				spare = append(spare, c.b)
			}
			pages[r.No] = content{outs[i], !t.shared}
			if t.shared {
				v.cache.put(key{kindVersion, t.unit, t.rec, r.No}, outs[i], size)
			}
		}
	}
	return pages[no].b, nil
}

// fromBase lists the pages that the steps, and no if there are none of it, begin with as they are in the base.
func (s *sweep) fromBase(no uint32) (list []uint32) {
	known := make(map[uint32]bool)
	need := func(page uint32) {
		if !known[page] {
			list = append(list, page)
		}
		known[page] = true
	}
	for _, t := range slices.Backward(s.steps) {
		if t.is != nil {
			known[t.page] = true
		}
		for _, r := range t.kept {
			if r.Full {
				known[r.No] = true
			}
			need(r.No)
		}
	}
	need(no)
	return list
}
