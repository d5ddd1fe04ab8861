package follow

import (
	"context"
	"errors"
	"iter"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// Source is where transactions come from. Its methods are called by one
// goroutine at a time.
type Source interface {
	// Identity says of which database and timeline the transactions are.
	Identity() journal.Identity
	// Refresh looks for new transactions and returns the last one known;
	// TXID 0 when there are none. That nothing is new is no error.
	Refresh(ctx context.Context) (journal.Tx, error)
	// Records yields the transactions from TXID from on, dense and in order,
	// up to the one that Refresh returned. A record is valid until the next.
	// What cannot be had any more is a [*journal.RangeError].
	Records(ctx context.Context, from journal.TXID) iter.Seq2[*journal.Record, error]
	// State makes the database of one transaction in a scratch file, checked
	// against its checksum. The caller closes it.
	State(ctx context.Context, id journal.TXID) (*apply.State, error)
}

// trailSource is a trail in a directory.
type trailSource struct {
	trail   *journal.Trail
	tempDir string
}

var _ Source = (*trailSource)(nil)

// TrailSource follows a trail that is written to on the same machine. It does
// not close the trail. tempDir is for scratch files, each of the size of the
// database; "" means os.TempDir().
func TrailSource(trail *journal.Trail, tempDir string) Source {
	return &trailSource{trail, tempDir}
}

func (s *trailSource) Identity() journal.Identity { return s.trail.Identity() }

func (s *trailSource) Refresh(context.Context) (journal.Tx, error) {
	if err := s.trail.Refresh(); err != nil {
		return journal.Tx{}, err
	}
	return s.trail.Last()
}

func (s *trailSource) Records(ctx context.Context, from journal.TXID) iter.Seq2[*journal.Record, error] {
	return s.trail.Records(ctx, from)
}

func (s *trailSource) State(ctx context.Context, id journal.TXID) (*apply.State, error) {
	state, _, err := apply.Restore(ctx, s.trail, apply.AtTXID(id), &apply.Options{TempDir: s.tempDir})
	return state, err
}

// Dir is the trail's directory, which a replica must not lie in.
func (s *trailSource) Dir() string { return s.trail.Dir() }

// isRange says that the source does not hold what was asked for.
func isRange(err error) bool {
	return errors.Is(err, journal.ErrRange) || errors.Is(err, journal.ErrGap)
}
