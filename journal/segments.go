package journal

import (
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
	RawBytes            int64 // bytes of patches before compression
}

// segmentMeta is what is kept of a segment.
type segmentMeta struct {
	info   SegmentInfo
	before state
	points []Point
	bases  []TXID // records of Kind Base
}

// segment describes a segment.
func (t *Trail) segment(first TXID) (*segmentMeta, error) {
	t.mu.Lock()
	if t.failed == nil && first == t.tail.hdr.first {
		m := t.tail.meta()
		t.mu.Unlock()
		return m, nil
	}
	t.mu.Unlock()
	s, err := openTail(t.fs, t.dir, first, readOnly, &t.identity)
	if err != nil {
		return nil, err
	}
	m := s.meta()
	return m, s.close()
}

func (t *tail) meta() *segmentMeta {
	return &segmentMeta{before: t.hdr.before, points: slices.Clone(t.points), bases: slices.Clone(t.bases), info: SegmentInfo{
		Name: filepath.Base(t.path), First: t.hdr.first, Last: t.st.txid, LastTime: t.st.time, Sealed: t.hdr.sealed(), Size: t.end,
		FirstTime: t.firstTime, RawBytes: t.raw,
	}}
}

// Segments describes the segments, ascending; the last is the tail.
func (t *Trail) Segments() ([]SegmentInfo, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var out []SegmentInfo
	for _, first := range v.names.segments {
		m, err := t.segment(first)
		if err != nil {
			return nil, err
		}
		out = append(out, m.info)
	}
	return out, nil
}
