package compact

import (
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// Merge writes all records and restore points of the sources, which follow each other, into one segment in f, which is
// empty. It is for a history that has reached that timeline. f is neither synced nor closed.
func Merge(ctx context.Context, f durable.File, sources []*journal.SegmentReader, timeline journal.Timeline) (journal.Batch, error) {
	if len(sources) == 0 {
		return journal.Batch{}, errors.New("compact: nothing to merge")
	}
	m := merger{w: journal.NewSegmentWriter(f, sources[0], timeline)}
	err := m.each(ctx, sources, func(r *journal.Record) error {
		if err := m.w.Copy(r); err != nil || !r.SumKnown { // then its block goes on
			return err
		}
		return m.named()
	})
	if err != nil {
		return journal.Batch{}, err
	}
	return m.close(sources)
}

// merger is what merging and folding share.
type merger struct {
	w      *journal.SegmentWriter
	points []journal.Point // not yet written
}

// each calls do with every record of the sources in turn, and takes down their restore points.
func (m *merger) each(ctx context.Context, sources []*journal.SegmentReader, do func(*journal.Record) error) error {
	for i, s := range sources {
		if err := m.follows(sources, i); err != nil {
			return err
		}
		m.points = append(m.points, s.Points()...)
		for r, err := range s.Records(ctx, 0) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				err = do(r)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// follows checks that a source continues the one before.
func (m *merger) follows(sources []*journal.SegmentReader, i int) error {
	if i == 0 || sources[i-1].After().TXID == sources[i].Before().TXID && sources[i-1].After().Sum == sources[i].Before().Sum {
		return nil
	}
	s := sources[i].Info()
	return &journal.Error{Path: s.Name, Offset: -1, TXID: s.First, Err: errDoesNotFollow, Hint: "fold only what follows each other"}
}

var errDoesNotFollow = diverged("the segment does not continue the one before")

// named writes the restore points of what has been written.
func (m *merger) named() error {
	for len(m.points) > 0 && m.points[0].TXID <= m.w.Last() {
		if err := m.w.Point(m.points[0]); err != nil {
			return err
		}
		m.points = m.points[1:]
	}
	return nil
}

func (m *merger) close(sources []*journal.SegmentReader) (journal.Batch, error) {
	if err := m.named(); err != nil {
		return journal.Batch{}, err
	}
	last := sources[len(sources)-1]
	return m.w.Close(last, last.After().Sum)
}
