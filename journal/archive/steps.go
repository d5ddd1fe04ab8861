package archive

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/compact"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// step does one step up to what it changes in the head, which it returns.
func (m *maintainer) step(ctx context.Context, s *Step) (func(h *Head), error) {
	switch s.Op {
	case OpMerge, OpFold:
		return m.write(ctx, s)
	case OpBase:
		return nil, m.base(ctx, s)
	case OpForget:
		return m.forget(ctx, s)
	case OpDelete:
		return nil, m.remove(ctx, s)
	}
	return nil, fmt.Errorf("step %q: %w", s.Op, journal.ErrFlag)
}

// reader opens the archive as the head has it now.
func (m *maintainer) reader(ctx context.Context) (*Reader, error) {
	return openHead(ctx, m.store, m.head, &Options{Name: m.opt.Archive})
}

// temp makes a file that is gone when it is closed.
func (m *maintainer) temp() (durable.File, error) {
	return durable.Scratch(m.opt.FS, m.opt.TempDir, 0o600)
}

// unclosed is a file that stays open when its writer is done.
type unclosed struct{ durable.File }

func (unclosed) Close() error { return nil }

// write makes one segment out of those between First and Last.
func (m *maintainer) write(ctx context.Context, s *Step) (effect func(h *Head), err error) {
	if slices.ContainsFunc(m.head.Segments, func(g Segment) bool {
		return g.First == s.First && g.Last == s.Last && g.Level == s.Level && g.Timeline == s.Timeline
	}) {
		return nil, nil
	}
	r, err := m.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	sources, err := between(r, s)
	if err != nil {
		return nil, err
	}
	f, err := m.temp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	var b journal.Batch
	if s.Op == OpMerge {
		b, err = compact.Merge(ctx, f, sources, s.Timeline)
	} else {
		b, err = m.fold(ctx, r, f, sources, s)
	}
	if err != nil {
		return nil, err
	}
	g := segmentOf(&b, s.Timeline, s.Level)
	for _, source := range sources {
		g.Bases = append(g.Bases, source.BaseRecords()...)
	}
	if err := check(ctx, f, &b, g.Key()); err != nil {
		return nil, err
	}
	if err := m.put(ctx, g.Key(), f, b.Size); err != nil {
		return nil, err
	}
	return func(h *Head) { h.replace(g) }, nil
}

// between opens the segments that a step is about.
func between(r *Reader, s *Step) ([]*journal.SegmentReader, error) {
	var out []*journal.SegmentReader
	for _, name := range r.files.names {
		first, _ := parse(name, segmentSuffix)
		if first < s.First || first > s.Last {
			continue
		}
		g, err := r.OpenSegment(first)
		if err != nil {
			return nil, err
		}
		out = append(out, g)
	}
	if len(out) == 0 || out[0].Info().First != s.First || out[len(out)-1].Info().Last != s.Last {
		return nil, fmt.Errorf("its segments are not there: %w", journal.ErrGap)
	}
	return out, nil
}

// check reads back what was written, since it takes the place of what it was made from.
func check(ctx context.Context, f durable.File, b *journal.Batch, name string) error {
	s, err := journal.NewSegmentReader(f, b.Size, name)
	if err != nil {
		return err
	}
	if err := s.Verify(ctx); err != nil {
		return err
	}
	again, err := s.Batch()
	if err == nil && !again.Same(b) {
		err = fmt.Errorf("%s: it does not end as what it was made from: %w", name, journal.ErrDiverged)
	}
	return err
}

// put creates an object. One that is there is what an earlier try wrote; only if that was by another release, or was
// cut short, it is other bytes, and no head has referred to it.
func (m *maintainer) put(ctx context.Context, key string, f durable.File, size int64) error {
	err := m.store.Create(ctx, key, f, size)
	if errors.Is(err, objstore.ErrExists) {
		same, e := objstore.Same(ctx, m.store, key, f, size)
		if err = e; err == nil && !same {
			err = m.store.Put(ctx, key, f, size)
		}
	}
	if err != nil {
		return err
	}
	m.done.Written++
	m.done.WrittenBytes += size
	return nil
}

// replace puts a segment in the place of all that it covers.
func (h *Head) replace(g Segment) {
	var out []Segment
	for _, s := range h.Segments {
		if s.First < g.First || s.First > g.Last {
			out = append(out, s)
		}
	}
	i := slices.IndexFunc(out, func(s Segment) bool { return s.First > g.First })
	if i < 0 {
		i = len(out)
	}
	h.Segments = slices.Insert(out, i, g)
	h.Recent = h.Recent.after(g.Last)
}

// at makes the pages of a transaction, or goes on from those of the step before.
func (m *maintainer) at(ctx context.Context, id journal.TXID) (Database, error) {
	if m.pages != nil && m.pages.Tx().TXID == id {
		return m.pages, nil
	}
	m.closePages()
	if m.opt.Pages == nil {
		return nil, errNoPages
	}
	m.images.Stop()
	var err error
	if m.from, err = m.reader(ctx); err != nil {
		return nil, err
	}
	m.pages, err = m.opt.Pages.Open(ctx, m.from.Trail, id, m.images.Changed)
	return m.pages, err
}

// fold folds, and leaves the pages for the next step.
func (m *maintainer) fold(ctx context.Context, r *Reader, f durable.File, sources []*journal.SegmentReader, s *Step) (b journal.Batch, err error) {
	scratch, err := m.temp()
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, scratch.Close()) }()
	pages, err := m.at(ctx, s.First-1)
	if err != nil {
		return b, err
	}
	m.images.Scratch = scratch
	keep, err := m.keep(r, s)
	if err != nil {
		return b, err
	}
	b, err = compact.Fold(ctx, f, sources, s.Timeline, &compact.Folding{State: pages, Images: &m.images, Keep: keep})
	m.images.Stop()
	if err != nil {
		m.closePages()
	}
	return b, err
}

// keep says which states a step leaves: those of restore points and bases, and one in so many seconds.
func (m *maintainer) keep(r *Reader, s *Step) (func(tx, next *journal.Tx) bool, error) {
	kept := make(map[journal.TXID]bool)
	points, err := r.Points()
	if err != nil {
		return nil, err
	}
	for _, p := range points {
		kept[p.TXID] = true
	}
	bases, err := r.Trail.Bases()
	if err != nil {
		return nil, err
	}
	for _, b := range bases {
		kept[b.TXID] = true
	}
	bucket := s.Every * secondUS
	return func(tx, next *journal.Tx) bool {
		return kept[tx.TXID] || bucket > 0 && int64(tx.Time)/bucket != int64(next.Time)/bucket
	}, nil
}

// base makes a base of a transaction.
func (m *maintainer) base(ctx context.Context, s *Step) (err error) {
	r, err := m.reader(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if b, err := r.OpenBase(s.Base); err == nil {
		return b.Close()
	}
	pages, err := m.at(ctx, s.Base)
	if err != nil {
		return err
	}
	f, err := m.temp()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tx := pages.Tx()
	info, err := journal.WriteBase(ctx, unclosed{f}, m.head.identity(), &tx, pages.ReadPage)
	if err != nil {
		return err
	}
	b, err := journal.NewBaseReader(f, info.Size, info.Name)
	if err == nil {
		err = b.Verify(ctx)
	}
	if err != nil {
		return err
	}
	return m.put(ctx, baseKey(s.Timeline, s.Base), f, info.Size)
}

// forget makes the history begin with a base, which is read to its last byte first.
func (m *maintainer) forget(ctx context.Context, s *Step) (effect func(h *Head), err error) {
	if m.head.Floor >= s.Base && m.head.Start >= s.First {
		return nil, nil
	}
	r, err := m.reader(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	b, err := r.OpenBase(s.Base) // compared with its transaction
	if err == nil {
		err = errors.Join(b.Verify(ctx), b.Close())
	}
	if err != nil {
		return nil, err
	}
	return func(h *Head) {
		h.Floor, h.Start = max(h.Floor, s.Base), max(h.Start, s.First)
		h.Segments = slices.DeleteFunc(slices.Clone(h.Segments), func(g Segment) bool { return g.Last < h.Start })
	}, nil
}

// remove deletes what is named, unless it belongs to the history after all. Of bases some are deleted that do: their
// states are led to by others.
func (m *maintainer) remove(ctx context.Context, s *Step) error {
	id := m.head.Plan.ID
	if err := m.look(ctx); err != nil {
		return err
	}
	if m.head.Plan == nil || m.head.Plan.ID != id {
		return ErrMoved
	}
	keys := s.Keys
	if len(keys) == 0 {
		prefix := timelineKey(s.Timeline) + level0
		for o, err := range m.store.List(ctx, prefix, batchKey(s.Timeline, s.First-1)) {
			if err != nil {
				return err
			}
			name, ok := parseKey(o.Key)
			if ok && name.first > s.Last {
				break
			}
			if ok && o.Size >= minSegment { // not a fence
				keys = append(keys, o.Key)
			}
		}
	}
	for _, key := range keys {
		if name, ok := parseKey(key); !ok || name.level >= 0 && m.head.holds(name) {
			continue
		}
		if err := m.store.Delete(ctx, key); err != nil {
			return err
		}
		m.done.Deleted++
	}
	m.done.DeletedBytes += s.Bytes
	return nil
}
