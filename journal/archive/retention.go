package archive

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Retention says for how long what is kept, by the age of transactions. The zero value keeps everything for ever.
// Restore points are always kept, and so is what a hold is on.
type Retention struct {
	// All is for how long every transaction is kept.
	All time.Duration
	// Minutes is for how long the last transaction of each minute is kept, and Hours that of each hour; not longer
	// than All when they are shorter.
	Minutes, Hours time.Duration
}

// ErrRetention says that settings would leave nothing, or cannot be meant.
var ErrRetention = errors.New("retention")

// Check refuses settings that cannot be meant.
func (r Retention) Check() error {
	for _, d := range []struct {
		is   time.Duration
		name string
	}{{r.All, "every transaction"}, {r.Minutes, "minutes"}, {r.Hours, "hours"}} {
		if d.is < 0 {
			return fmt.Errorf("%s kept for %v: want no less than nothing: %w", d.name, span(d.is), ErrRetention)
		}
	}
	if r.forever() {
		return nil
	}
	if r.Minutes > 0 && r.Hours > 0 && r.Hours < r.Minutes {
		return fmt.Errorf("hours kept for %v and minutes for %v: what is kept for longer is the coarser: %w", span(r.Hours), span(r.Minutes), ErrRetention)
	}
	if r.longest() < time.Minute {
		return fmt.Errorf("nothing is kept for longer than %v, so nothing could be restored: %w", span(r.longest()), ErrRetention)
	}
	return nil
}

// span writes a time as settings do: 30d, 12h, 1h30m.
func span(d time.Duration) string {
	if day := 24 * time.Hour; d != 0 && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-2]
		}
	}
	return text
}

func (r Retention) forever() bool { return r == Retention{} }

func (r Retention) longest() time.Duration { return max(r.All, r.Minutes, r.Hours) }

// The levels of segments. What is in a level is the more folded the higher it is.
const (
	levelMerged  = 1 // every transaction
	levelMinutes = 2
	levelHours   = 3
	levelPoints  = 4 // restore points only
)

// class is how a segment of a level is made.
type class struct {
	level int
	// every so long, in seconds, a state is kept: 0 every one, -1 only restore points.
	every int64
	// bucket is the time that one segment covers, in microseconds.
	bucket int64
}

const (
	secondUS = int64(time.Second / time.Microsecond)
	hourUS   = 3600 * secondUS
	dayUS    = 24 * hourUS
)

var classes = [...]class{
	levelMerged:  {levelMerged, 0, hourUS},
	levelMinutes: {levelMinutes, 60, dayUS},
	levelHours:   {levelHours, 3600, 30 * dayUS},
	levelPoints:  {levelPoints, -1, 360 * dayUS},
}

// running is for batches of the hour that runs: many become a segment, which is merged with the others of its hour when
// that is over.
var running = class{levelMerged, 0, hourUS}

// end is when the bucket of a moment ends.
func (c *class) end(t journal.Time) journal.Time {
	return journal.Time((int64(t)/c.bucket + 1) * c.bucket)
}

// cuts are the moments before which each class begins; zero for one that is never reached.
type cuts struct {
	merged                 journal.Time // now
	minutes, hours, points journal.Time
}

func (r Retention) cuts(now time.Time) cuts {
	c := cuts{merged: journal.TimeOf(now)}
	if r.forever() {
		return c
	}
	all, minutes := r.All, max(r.All, r.Minutes)
	hours := max(minutes, r.Hours)
	c.points = journal.TimeOf(now.Add(-hours))
	c.hours, c.minutes = journal.TimeOf(now.Add(-minutes)), journal.TimeOf(now.Add(-all))
	return c
}

// classOf is the class that a segment is due for, once all of its bucket is old enough.
func (c *cuts) classOf(last journal.Time) *class {
	for _, d := range []struct {
		before journal.Time
		level  int
	}{{c.points, levelPoints}, {c.hours, levelHours}, {c.minutes, levelMinutes}, {c.merged, levelMerged}} {
		if k := &classes[d.level]; d.before != 0 && k.end(last) <= d.before {
			return k
		}
	}
	return nil
}
