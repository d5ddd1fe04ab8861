package journal

import (
	"context"
	"sort"
)

// FindTime returns the last transaction at or before at (TXID 0: none), and the one after it (nil: none). Only
// what the trail holds counts: where its beginning was pruned, transactions before the first held are not found.
func (t *Trail) FindTime(ctx context.Context, at Time) (Tx, *Tx, error) {
	v, err := t.view()
	if err != nil {
		return Tx{}, nil, err
	}
	from, err := t.beforeTime(v, at)
	if err != nil {
		return Tx{}, nil, err
	}
	var found Tx
	for r, err := range t.records(ctx, v, from, v.last.TXID) {
		if err != nil {
			return Tx{}, nil, err
		}
		if r.Time > at {
			next := r.Tx
			return found, &next, nil
		}
		found = r.Tx
	}
	return found, nil, nil
}

// beforeTime is a transaction at or before which nothing is later than at, found by headers and footers: the
// search goes on from there, one record further back for the case that all after it are later.
func (t *Trail) beforeTime(v *view, at Time) (TXID, error) {
	first := v.held(1).First
	names := v.names.segments
	n := sort.Search(len(names), func(i int) bool { return names[i] > v.first })
	var failed error
	i := sort.Search(n, func(i int) bool { // the first that begins after at
		before, err := t.timeBefore(names, i)
		if err != nil {
			failed = err
			return true
		}
		return before > at
	})
	if failed != nil || i == 0 {
		return first, failed
	}
	o, err := openHeader(t.fs, t.dir, segmentName(names[i-1]), readOnly, segmentMagic, t.id.Load(), names[i-1])
	if err != nil {
		return 0, err
	}
	id := o.hdr.first
	if o.hdr.sealed() {
		f, _, err := loadFooter(o)
		if err != nil {
			return 0, joinClose(err, o.f)
		}
		k := sort.Search(len(f.units), func(k int) bool { return f.units[k].time > at })
		switch {
		case k == 0 && f.firstTime <= at: // so nothing before it is wanted
			return id, o.f.Close()
		case k < len(f.units):
			id = f.units[k].first
		default:
			id = f.last.txid
		}
	}
	return max(first, id-1), o.f.Close()
}

// timeBefore is the time of the transaction before a segment: that of the last in the one before it, where that is known
// without opening it, else as its own header says.
func (t *Trail) timeBefore(names []TXID, i int) (Time, error) {
	if i > 0 {
		t.mu.Lock()
		m := t.sealed[names[i-1]]
		t.mu.Unlock()
		if m != nil && m.info.Last+1 == names[i] {
			return m.info.LastTime, nil
		}
	}
	st, err := t.before(names[i])
	return st.time, err
}
