package follow

import (
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Lag says how far a replica is behind its source. Whatever it says is what was
// known when the source was last heard: Level tells when that was, and grows old
// when the source is silent.
type Lag struct {
	// Position is what readers see.
	Position journal.Position
	// Transactions that the source was known to have beyond it.
	Transactions uint64
	// Bytes of their patches, about; -1 when the source does not say.
	Bytes int64
	// Level is the last moment at which what readers see now, or something
	// older, was known to be all that the source had; zero before the first.
	// So what they see is at most that old, whether the source is slow, cut
	// off, or just has nothing new.
	Level time.Time
}

// Staleness is how old what readers see may be at most.
func (l *Lag) Staleness(now time.Time) time.Duration { return max(now.Sub(l.Level), 0) }

// Informed is a source that is told how far its primary is, rather than looking.
type Informed interface {
	// Informed is when it was last told, by this machine's clock, and about how
	// many bytes of patches there were that had not come yet. Zero: not yet.
	Informed() (at time.Time, behind int64)
}

// Monitor is told by a follower how far it is, and may be asked by anybody. The
// zero value is ready; see [Options.Monitor].
type Monitor struct {
	mu  sync.Mutex
	lag Lag // under mu
}

// Lag is the last that is known.
func (m *Monitor) Lag() Lag {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lag
}

// note takes down where the replica is; level, if not zero, is when it was known
// to be all there is.
func (m *Monitor) note(r *Replica, bytes int64, level time.Time) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lag.Position, m.lag.Transactions, m.lag.Bytes = r.pos.Position, uint64(r.behind()), bytes
	if level.After(m.lag.Level) {
		m.lag.Level = level
	}
}

// informed is when the source's answer was true, at best, and how many bytes it
// has that did not come yet.
func (r *Replica) informed(asked time.Time) (time.Time, int64) {
	if s, ok := r.src.(Informed); ok {
		if at, bytes := s.Informed(); !at.IsZero() {
			return at, bytes
		}
	}
	return asked, -1
}
