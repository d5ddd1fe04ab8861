package follow

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// ErrUnreachable says that a source did not answer, or broke off: what there is
// to know is not known, and asking again later may help.
var ErrUnreachable = errors.New("source unreachable")

// ErrNotReady says that a source answered, and has not got what is needed yet:
// its trail has just begun and has no base, say. It will, so Run asks again.
var ErrNotReady = errors.New("source not ready")

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
	// against its checksum. The caller closes it. An [ErrNotReady] when what it
	// could be made of is not there yet.
	State(ctx context.Context, id journal.TXID) (*apply.State, error)
}

// Waiter is a source that is told when there is something new, so that Run need
// not look again and again.
type Waiter interface {
	// Await returns when Refresh would find something new, or would fail, and
	// after d at the latest. Its error is the context's.
	Await(ctx context.Context, d time.Duration) error
}

// trailSource is a trail in a directory.
type trailSource struct {
	trail   *journal.Trail
	tempDir string
}

var _ Source = (*trailSource)(nil)

// TrailSource follows a trail that is written to on the same machine, or an
// archive, opened by package journal/archive: then each look for something new
// is one request, so [Options.PollMin] and PollMax should be longer, and
// [Options.Retry] should know the store's errors. It does not close the trail.
// tempDir is for scratch files, each of the size of the
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
	if err != nil && s.begins(ctx) {
		return nil, fmt.Errorf("trail %s has no base yet: %w", s.trail.Dir(), ErrNotReady)
	}
	return state, err
}

// begins says that the trail begins in the middle of a history and has no base,
// as while that is being written. One that goes on with what an archive has
// gets none.
func (s *trailSource) begins(ctx context.Context) bool {
	if bases, err := s.trail.Bases(); err != nil || len(bases) > 0 {
		return false
	}
	var held *journal.RangeError
	_, err := s.trail.Find(ctx, 0) // no trail holds it, and says what it does
	if !errors.As(err, &held) || held.First <= 1 {
		return false
	}
	parent := s.trail.Identity().Parent
	return parent == nil || held.First != parent.TXID+1
}

// Dir is the trail's directory, which a replica must not lie in.
func (s *trailSource) Dir() string { return s.trail.Dir() }

// isRange says that the source does not hold what was asked for.
func isRange(err error) bool {
	return errors.Is(err, journal.ErrRange) || errors.Is(err, journal.ErrGap)
}
