package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// SegmentInfo describes a segment file without its blocks.
type SegmentInfo struct {
	Name                string // file name in the trail
	First               TXID
	Last                TXID // First-1: empty tail
	FirstTime, LastTime Time
	Sealed              bool
	Size                int64
	RawBytes            int64  // bytes of patches before compression
	Folded              uint64 // transactions that were folded into others, so that only these can be restored
}

// segmentMeta is what is kept of a segment.
type segmentMeta struct {
	info   SegmentInfo
	before state
	points []Point
	bases  []TXID // records of Kind Base
	listed bool   // from a catalog: before is not known, nor are points when there are some
	hidden bool   // there are points
}

// segment describes a segment. What a sealed one says is kept, since it does not change.
func (t *Trail) segment(first TXID) (*segmentMeta, error) {
	t.mu.Lock()
	m := t.sealed[first]
	if m == nil && t.failed == nil && first == t.tail.hdr.first {
		m = t.tail.meta()
	}
	t.mu.Unlock()
	if m != nil {
		return m, nil
	}
	if t.catalog != nil {
		if l, ok := t.catalog(first); ok {
			m = &segmentMeta{info: l.Info, bases: l.Bases, listed: true, hidden: l.Points > 0}
			t.mu.Lock()
			t.sealed[first] = m
			t.mu.Unlock()
			return m, nil
		}
	}
	return t.openedMeta(first)
}

// named is segment with the restore points known.
func (t *Trail) named(first TXID) (*segmentMeta, error) {
	m, err := t.segment(first)
	if err != nil || !m.hidden {
		return m, err
	}
	return t.openedMeta(first)
}

// openedMeta reads the footer of a segment.
func (t *Trail) openedMeta(first TXID) (*segmentMeta, error) {
	s, err := t.OpenSegment(first)
	if err != nil {
		return nil, err
	}
	m := &segmentMeta{info: s.info, before: s.o.hdr.before, points: s.points, bases: s.BaseRecords()}
	if s.info.Sealed {
		t.mu.Lock()
		t.sealed[first] = m
		t.mu.Unlock()
	}
	return m, s.Close()
}

// OpenSegment opens the segment that begins with a transaction: ErrNotFound when there is none.
func (t *Trail) OpenSegment(first TXID) (*SegmentReader, error) {
	o, err := openHeader(t.fs, t.dir, segmentName(first), readOnly, segmentMagic, t.id.Load(), first)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{
			Path: filepath.Join(t.dir, segmentName(first)), Offset: -1, TXID: first, Err: because(ErrNotFound, "no segment"),
			Hint: "pagetrail window says what is there",
		}
	}
	if err != nil {
		return nil, err
	}
	s, err := newSegmentReader(o)
	if err != nil {
		return nil, joinClose(err, o.f)
	}
	s.info.Name = segmentName(first)
	return s, nil
}

func (t *tail) meta() *segmentMeta {
	return &segmentMeta{before: t.hdr.before, points: slices.Clone(t.points), bases: slices.Clone(t.bases), info: SegmentInfo{
		Name: segmentName(t.hdr.first), First: t.hdr.first, Last: t.st.txid, LastTime: t.st.time, Sealed: t.hdr.sealed(), Size: t.end,
		FirstTime: t.firstTime, RawBytes: t.raw, Folded: t.folded,
	}}
}

// Segments describes the segments, ascending; the last is the tail. One whose header or footer is damaged is left out:
// Window has a gap there, and reading its transactions says why.
func (t *Trail) Segments() ([]SegmentInfo, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var out []SegmentInfo
	for _, first := range v.names.segments {
		if first > v.first {
			break
		}
		m, err := t.segment(first)
		if errors.Is(err, ErrNotFound) || isLost(err) && first != v.first { // pruned meanwhile, or damaged
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, m.info)
	}
	return out, nil
}
