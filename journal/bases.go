package journal

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// Bases lists the bases, ascending. A base beyond the last transaction, or one that is not the state its transaction
// left, is what a crash left before the base's record was written, and is not listed, nor is one whose header is damaged.
// Only headers are read, and of each base's transaction the record.
func (t *Trail) Bases() ([]BaseInfo, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var out []BaseInfo
	for _, id := range v.names.bases {
		if id > v.last.TXID {
			continue
		}
		o, err := openHeader(t.fs, t.dir, baseName(id), readOnly, baseMagic, t.id.Load(), id)
		if errors.Is(err, fs.ErrNotExist) || isLost(err) { // pruned meanwhile, or damaged
			continue
		}
		if err != nil {
			return nil, err
		}
		info := infoOfBase(baseName(id), &o.hdr, o.size)
		if err := o.f.Close(); err != nil {
			return nil, err
		}
		if errors.Is(t.matchBase(v, &info, o.path), errStaleBase) { // other errors are for who reads that record
			continue
		}
		out = append(out, info)
	}
	return out, nil
}

// BaseIDs are the TXIDs of the files that may be bases, ascending: Bases says which are. Nothing is read.
func (t *Trail) BaseIDs() ([]TXID, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	return slices.Clone(v.names.bases), nil
}

// OpenBase opens the base of that TXID: ErrNotFound when there is none. ErrDiverged when the trail holds that
// transaction and its sum is not the base's.
func (t *Trail) OpenBase(id TXID) (*BaseReader, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	b, err := openBase(t.fs, t.dir, id, t.id.Load())
	if errors.Is(err, fs.ErrNotExist) || err == nil && id > v.last.TXID {
		if err == nil {
			err = b.Close()
		} else {
			err = nil
		}
		return nil, errors.Join(&Error{
			Path: filepath.Join(t.dir, baseName(id)), Offset: -1, TXID: id, Err: because(ErrNotFound, "no base"),
			Hint: "pagetrail window says what can be restored",
		}, err)
	}
	if err != nil {
		return nil, err
	}
	if err := t.matchBase(v, &b.info, b.path); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// errStaleBase is ErrDiverged for one reason.
var errStaleBase = because(ErrDiverged, "the base is not the state that the transaction left")

// matchBase compares a base with the record of its transaction, where the trail has it. A writer that
// crashed after making a base, and before its record, leaves one that belongs to no history.
func (t *Trail) matchBase(v *view, info *BaseInfo, path string) error {
	id := info.TXID
	if id < v.held(id).First {
		return nil
	}
	for r, err := range t.records(context.Background(), v, id, id) {
		if isLost(err) {
			// Nothing to compare with: what is lost is what the base bridges. It is
			// checked by its own sums, and by what comes after it.
			return t.matchNext(v, info, path)
		}
		if err != nil {
			return err
		}
		if r.TXID != id { // folded into another
			return nil
		}
		if r.SumCut != info.Sum.Cut() || r.SumKnown && r.Sum != info.Sum || r.PageCount != info.PageCount || r.PageSize != info.PageSize {
			return staleBase(path, id)
		}
	}
	return nil
}

// matchNext compares a base with the segment that begins after it, if one does.
func (t *Trail) matchNext(v *view, info *BaseInfo, path string) error {
	next := info.TXID + 1
	if _, ok := slices.BinarySearch(v.names.segments, next); !ok {
		return nil
	}
	st, err := t.before(next)
	if err == nil && st.sum != info.Sum {
		return staleBase(path, info.TXID)
	}
	if isContent(err) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func staleBase(path string, id TXID) error {
	return &Error{Path: path, Offset: -1, TXID: id, Err: errStaleBase, Hint: "it is not of this history: pagetrail repair takes it out"}
}

// Points lists the restore points of all segments, in the order in which they were named. Those in a segment whose header
// or footer is damaged are lost with it.
func (t *Trail) Points() ([]Point, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var out []Point
	for _, first := range v.names.segments {
		if first > v.first {
			break
		}
		s, err := t.named(first)
		if errors.Is(err, ErrNotFound) || isLost(err) && first != v.first { // pruned meanwhile, or damaged
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s.points...)
	}
	return out, nil
}

// FindPoint returns the point of that name (the latest of several).
func (t *Trail) FindPoint(name string) (Point, error) {
	points, err := t.Points()
	if err != nil {
		return Point{}, err
	}
	for _, p := range slices.Backward(points) {
		if p.Name == name {
			return p, nil
		}
	}
	return Point{}, &Error{Path: t.dir, Offset: -1, Err: because(ErrNotFound, "no restore point %.80q", name), Hint: "pagetrail points lists them"}
}
