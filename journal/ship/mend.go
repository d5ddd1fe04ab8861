package ship

import (
	"context"
	"errors"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
)

// mend brings back what is gone from the archive, but its end, and still in the trail. What is not is told, and no
// reason not to ship what comes after it.
func (s *Shipper) mend(ctx context.Context) error {
	holes, err := s.w.Holes(ctx, s.opt.Mend)
	if err != nil {
		return err
	}
	for i := range holes {
		h := &holes[i]
		size, err := s.mendOne(ctx, h)
		if err != nil && !lost(err) {
			return err
		}
		if err == nil {
			s.result.Mended++
			s.result.Bytes += size
		}
		if s.opt.Events.Mended != nil {
			s.opt.Events.Mended(h.First, h.Last, size, err)
		}
	}
	return nil
}

func (s *Shipper) mendOne(ctx context.Context, h *archive.Hole) (size int64, err error) {
	f := durable.NewBriefSpool(s.opt.FS, s.opt.TempDir, spoolBytes)
	defer func() { err = errors.Join(err, f.Close()) }()
	return s.w.Mend(ctx, h, s.trail, f)
}

// lost says that trail and archive do not have what it takes.
func lost(err error) bool {
	for _, is := range []error{journal.ErrRange, journal.ErrGap, journal.ErrDiverged, journal.ErrCorrupt, journal.ErrForeign, journal.ErrNotFound} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}
