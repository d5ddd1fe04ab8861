package asof

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// errWhole says that the database is to be restored as a whole.
var errWhole = errors.New("not to be had page by page")

// unitBytes is how large a unit may be, in the file or decoded, before all pages cost no more than one.
const unitBytes = 32 << 20

// patchCost is how many bytes of a base cost as much to decode as one of patches, which are also taken apart.
const patchCost = 4

// Units of segments without an index are cut so: small enough to be decoded for one page.
const (
	scannedRecords = 64
	scannedBytes   = 128 << 10
)

// unit is a stretch of records that is read at once.
type unit struct {
	seg         *segment
	first, last journal.TXID
}

// segment is one that leads from the base to the moment, with its units.
type segment struct {
	r     *journal.SegmentReader // nil if it has no index
	first int                    // of its units
	count int                    // of its units
	skip  int                    // blocks before those

	// Without an index:
	pages  map[uint32][]int32 // units that patch a page
	shrunk []shrink
}

// shrink says that a unit has a record that leaves no more than so many pages.
type shrink struct {
	unit  int32
	count uint32
}

// record is one of a loaded unit.
type record struct {
	count  uint32 // pages after it
	bodies []diff.Body
}

// ref says where a page is patched.
type ref struct {
	page      uint32
	rec, body int32
}

// loaded is a unit in memory.
type loaded struct {
	recs  []record
	refs  []ref  // by page, then by record
	least uint32 // pages after any of the records
}

// of lists where a page is patched, by record.
func (l *loaded) of(page uint32) []ref {
	i, _ := slices.BinarySearchFunc(l.refs, ref{page: page}, compareRefs)
	j := i
	for j < len(l.refs) && l.refs[j].page == page {
		j++
	}
	return l.refs[i:j]
}

func compareRefs(a, b ref) int { return cmp.Or(cmp.Compare(a.page, b.page), cmp.Compare(a.rec, b.rec)) }

// openUnits finds the units between the base and the moment. There is no record of Kind Base among theirs: patches do not
// lead to the state of one, so that apply.Resolve begins no earlier.
func (v *View) openUnits(ctx context.Context) error {
	segments, err := v.trail.Segments()
	if err != nil {
		return err
	}
	for _, info := range segments {
		first, last := max(info.First, v.start+1), min(info.Last, v.plan.Tx.TXID)
		if first > last {
			continue
		}
		seg := &segment{first: len(v.units)}
		v.segments = append(v.segments, seg)
		if info.Sealed {
			if err := v.openSealed(seg, info.First, first, last); err != nil {
				return err
			}
		}
		if seg.r == nil {
			if err := v.scan(ctx, seg, first, last); err != nil {
				return err
			}
		}
		seg.count = len(v.units) - seg.first
	}
	return nil
}

// openSealed opens a segment, and leaves seg without a reader if it has no index.
func (v *View) openSealed(seg *segment, id, first, last journal.TXID) error {
	r, err := v.trail.OpenSegment(id)
	if err != nil {
		return err
	}
	if _, indexed, err := r.BlocksOf(1); err != nil || !indexed {
		return errors.Join(err, r.Close())
	}
	seg.r = r
	for _, b := range r.Blocks() {
		switch {
		case b.Last < first:
			seg.skip++
		case b.First > last:
		case b.Size > unitBytes:
			return errWhole
		default:
			v.units = append(v.units, unit{seg, max(b.First, first), min(b.Last, last)})
		}
	}
	return nil
}

// scan makes units of a segment without an index, and an index of their pages.
func (v *View) scan(ctx context.Context, seg *segment, first, last journal.TXID) error {
	seg.pages = make(map[uint32][]int32)
	records, bytes := 0, 0
	count := uint32(math.MaxUint32) // what was before is not known, and nothing is lost by taking it for more
	for rec, err := range v.trail.RecordsTo(ctx, first, last) {
		if err != nil {
			return err
		}
		if rec.PageSize != v.plan.Tx.PageSize {
			return errWhole
		}
		if records == 0 || records == scannedRecords || bytes > scannedBytes {
			v.units = append(v.units, unit{seg: seg, first: rec.First()})
			records, bytes = 0, 0
		}
		n := int32(len(v.units) - 1)
		v.units[n].last = rec.TXID
		records++
		if rec.PageCount < count {
			seg.shrunk = append(seg.shrunk, shrink{n, rec.PageCount})
		}
		count = rec.PageCount
		for body, err := range v.bodies(rec) {
			if err != nil {
				return err
			}
			if bytes += body.Len(); bytes > unitBytes {
				return errWhole
			}
			for _, p := range v.dec.Pages() {
				if list := seg.pages[p.No]; len(list) == 0 || list[len(list)-1] != n {
					seg.pages[p.No] = append(list, n)
				}
			}
		}
	}
	return nil
}

// bodies yields the bodies of a record, each loaded into the decoder, valid until the next.
func (v *View) bodies(rec *journal.Record) iter.Seq2[diff.Body, error] {
	return func(yield func(diff.Body, error) bool) {
		for body, err := range rec.Groups() {
			if err == nil {
				if err = v.dec.Load(body, rec.PageSize); err != nil {
					err = v.corrupt(rec.TXID, err)
				}
			}
			if !yield(body, err) || err != nil {
				return
			}
		}
	}
}

func (v *View) corrupt(id journal.TXID, err error) error {
	return &journal.Error{Path: v.trail.Dir(), Offset: -1, TXID: id, Err: fmt.Errorf("%w: %w", journal.ErrCorrupt, err)}
}

// unitsOf lists the units that patch a page, or end it.
func (v *View) unitsOf(page uint32) (list []int32, err error) {
	for _, seg := range v.segments {
		if seg.r == nil {
			list = append(list, seg.pages[page]...)
			for _, s := range seg.shrunk {
				if s.count < page {
					list = append(list, s.unit)
				}
			}
			continue
		}
		blocks, _, err := seg.r.BlocksOf(page)
		if err != nil {
			return nil, err
		}
		for _, b := range blocks {
			if i := int(b) - seg.skip; i >= 0 && i < seg.count {
				list = append(list, int32(seg.first+i))
			}
		}
	}
	return list, nil
}

// unit reads a unit, unless it is in the cache.
func (v *View) unit(ctx context.Context, n int32) (*loaded, error) {
	k := key{kind: kindUnit, a: n}
	if l, ok := v.cache.get(k); ok {
		return l.(*loaded), nil
	}
	u := v.units[n]
	v.stats.Units++
	records := v.trail.RecordsTo(ctx, u.first, u.last)
	if u.seg.r != nil {
		records = u.seg.r.Records(ctx, u.first)
	}
	l, bytes := &loaded{least: math.MaxUint32}, 0
	for rec, err := range records {
		if err != nil {
			return nil, err
		}
		if rec.TXID > u.last {
			break
		}
		if rec.PageSize != v.plan.Tx.PageSize {
			return nil, errWhole
		}
		r := record{count: rec.PageCount}
		for body, err := range v.bodies(rec) {
			if err != nil {
				return nil, err
			}
			if bytes += body.Len(); bytes > unitBytes {
				return nil, errWhole
			}
			for _, p := range v.dec.Pages() {
				l.refs = append(l.refs, ref{p.No, int32(len(l.recs)), int32(len(r.bodies))})
			}
			r.bodies = append(r.bodies, clone(body))
		}
		l.least = min(l.least, r.count)
		l.recs = append(l.recs, r)
		if rec.TXID == u.last {
			break
		}
	}
	slices.SortFunc(l.refs, compareRefs)
	v.work += int64(bytes) * patchCost
	v.cache.put(k, l, bytes+len(l.refs)*12+len(l.recs)*80)
	return l, nil
}

// clone copies a body.
func clone(b diff.Body) diff.Body {
	all := append(append(append(make([]byte, 0, b.Len()), b.Pages...), b.Tokens...), b.Literals...)
	p, t := len(b.Pages), len(b.Pages)+len(b.Tokens)
	return diff.Body{Pages: all[:p:p], Tokens: all[p:t:t], Literals: all[t:]}
}
