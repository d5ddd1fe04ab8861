package ship

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/pagetrail/pagetrail/journal"
)

// leaves marks in the trail that a batch leaves, or left before, while its transactions are there.
func (s *Shipper) leaves(ctx context.Context, b *journal.Batch) (err error) {
	if s.lock == nil {
		return nil // a trail that may only be read
	}
	o := &journal.WriterOptions{FS: s.opt.FS}
	if fi, err := s.opt.FS.Stat(filepath.Join(s.dir, "identity")); err == nil {
		o.Mode = fi.Mode().Perm()
	}
	m, err := journal.OpenShipMark(s.dir, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	last := journal.Shipped{TXID: b.Last, Time: b.LastTime, Sum: b.After(s.identity).Sum}
	err = m.Mark(s.identity.Timeline, last, func() error {
		if err := s.trail.Refresh(); err != nil {
			return err
		}
		if s.trail.Identity().Timeline != s.identity.Timeline {
			return errMoved
		}
		err := s.trail.Continues(ctx, b)
		if errors.Is(err, journal.ErrRange) || errors.Is(err, journal.ErrDiverged) && b != s.prev {
			return errMoved // the batch was made of what was taken back since
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("mark in the trail what is shipped: %w", err)
	}
	return nil
}

// errMoved says that the trail is not what the batch was made of: the next step looks again.
var errMoved = errors.New("the database lost transactions, and the trail took them back, while they were to be shipped")
