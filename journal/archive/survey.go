package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// survey is what an archive holds, as a plan is made from it.
type survey struct {
	head     Head
	segments []placed // of the history, in order
	bases    []journal.BaseInfo
	points   []journal.Point
	window   journal.Window
	last     journal.Tx
	objects  []objstore.Object // all there are
}

// placed is a segment of the history, and where it is.
type placed struct {
	journal.SegmentInfo
	key   string
	level int
}

// surveyed looks at an archive.
func surveyed(ctx context.Context, s objstore.Store, h Head, name string) (*survey, error) {
	r, err := openHead(ctx, s, h, &Options{Name: name})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	v := &survey{head: h}
	if err := r.Lost(); err != nil {
		return nil, fmt.Errorf("nothing is folded or deleted: %w", err)
	}
	if v.window, err = r.Window(ctx); err != nil {
		return nil, err
	}
	if v.last, err = r.Last(); err != nil {
		return nil, err
	}
	if v.bases, err = r.Trail.Bases(); err != nil {
		return nil, err
	}
	if v.points, err = r.Points(); err != nil {
		return nil, err
	}
	infos, err := r.Segments()
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		key, _ := r.files.keyOf(info.Name)
		o, _ := parseKey(key)
		v.segments = append(v.segments, placed{info, key, o.level})
	}
	for o, err := range s.List(ctx, "", "") {
		if err != nil {
			return nil, err
		}
		v.objects = append(v.objects, o)
	}
	return v, v.whole(name)
}

// whole refuses to plan where something is missing: what is left must not be taken for what there was.
func (v *survey) whole(name string) error {
	problem := ""
	switch n := len(v.window.Spans); {
	case len(v.window.Gaps) > 0:
		g := v.window.Gaps[0]
		problem = fmt.Sprintf("transactions %d to %d are missing", g.First, g.Last)
	case n == 0 || v.window.Spans[n-1].Last < v.last.TXID:
		problem = fmt.Sprintf("transaction %d, the last, cannot be restored", v.last.TXID)
	default:
		return nil
	}
	return &journal.Error{
		Path: name, Offset: -1, Err: fmt.Errorf("%s, so nothing is folded or deleted: %w", problem, journal.ErrGap),
		Hint: "pagetrail window shows what is missing; if the trail still has it, pagetrail ship --mend sends it again; else bring it back, or ship to another prefix",
	}
}

// reaches says whether the states before first and after last belong together: patches lead from one to the other.
func (v *survey) reaches(first, last journal.TXID) bool {
	return slices.ContainsFunc(v.window.Spans, func(s journal.Span) bool { return s.First < first && last <= s.Last })
}

// baseSize is about what a base takes.
func (v *survey) baseSize() int64 {
	if n := len(v.bases); n > 0 {
		b := &v.bases[n-1]
		if v.last.PageCount > b.PageCount && b.PageCount > 0 { // it grew since
			return b.Size * int64(v.last.PageCount) / int64(b.PageCount)
		}
		return b.Size
	}
	return int64(v.last.PageCount) * int64(v.last.PageSize) / 3
}

// bytes of the segments that begin in a range.
func (v *survey) bytes(first, last journal.TXID) (n int64) {
	for _, s := range v.segments {
		if s.First >= first && s.First <= last {
			n += s.Size
		}
	}
	return n
}

var errNoPages = errors.New("folding and making bases need the pages: give MaintainOptions.Pages")
