package capture

import (
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// pace knows how fast the WAL grows and at which frame the writer checkpoints,
// which is SQLite's default until it was seen to be another: so it says when to
// look again, and which value a mark is to have.
type pace struct {
	due    uint32 // a checkpoint is expected at the commit that reaches this frame
	open   bool   // one that reaches the WAL's end is to be let, until the WAL begins anew
	opened uint32 // last frame when that began

	last      sqlitefile.IndexHeader
	attempted uint32 // BackfillAttempted of the last look, in this generation
	still     int    // looks that found nothing new

	rate  float64   // frames a second
	since time.Time // from when it is measured next
	from  uint32    // frame then; 0: not yet
}

// look notes how the WAL stands.
func (p *pace) look(idx sqlitefile.IndexHeader) {
	if idx.Salt != p.last.Salt {
		p.open, p.attempted, p.from, p.last = false, 0, 0, sqlitefile.IndexHeader{Salt: idx.Salt}
	}
	p.measure(time.Now(), idx)
	if p.still++; idx.MxFrame != p.last.MxFrame {
		p.still = 0
	}
	if tried := idx.BackfillAttempted; tried > p.attempted {
		if p.attempted == 0 {
			p.due = idx.MxFrame // or one a little before
		}
		p.attempted = tried
		if tried < idx.MxFrame && !p.open { // our mark stopped it
			p.open, p.opened = true, idx.MxFrame
		}
	}
	if p.open && p.attempted == 0 && idx.MxFrame > max(p.due, p.opened)+p.due/4 { // it checkpoints later than it did, if ever
		p.due, p.open = idx.MxFrame+idx.MxFrame/2, false
	}
	p.last = idx
}

// measure finds the writer's speed, in times in which it was not busy with a
// checkpoint.
func (p *pace) measure(now time.Time, idx sqlitefile.IndexHeader) {
	took, frames := now.Sub(p.since), float64(idx.MxFrame)-float64(p.from)
	switch {
	case p.from == 0 || frames < 0 || idx.BackfillAttempted > p.attempted || took > time.Second:
	case took < time.Millisecond:
		return
	default:
		p.rate = max(frames/took.Seconds(), p.rate*0.9)
	}
	p.since, p.from = now, idx.MxFrame
}

// margin is how far before a checkpoint the mark is opened, and how many frames
// may be missing then: as many as are recorded while it syncs the WAL.
func (p *pace) margin() uint32 { return max(16, p.due/16) }

// mark is the value that our mark is to have when the frames up to this one are
// recorded: that one, or none for a checkpoint that is to reach the WAL's end.
func (p *pace) mark(recorded uint32) uint32 {
	end := max(recorded, p.last.MxFrame)
	if !p.open && end+p.margin() >= p.due {
		p.open, p.opened = true, end
	}
	if p.open && (end-recorded <= p.margin() || end > 4*p.due) { // or we shall never be there
		return unusedMark
	}
	return recorded
}

// leisure says that a step may take some hundred milliseconds without falling
// behind: to sync several files, for instance.
func (p *pace) leisure() bool {
	left := float64(p.due) - float64(p.last.MxFrame)
	return left > p.rate/4 || left < -float64(p.due) // or it waits for none that come
}

// nearTime is how long before a checkpoint that is expected we begin to look
// for it, and nearLooks how often we do if nothing happens.
const (
	nearTime  = 2 * time.Millisecond
	nearLooks = 20
)

// near says whether a checkpoint to the WAL's end may come within nearTime.
func (p *pace) near(idx sqlitefile.IndexHeader) bool {
	if !p.open || p.still > nearLooks {
		return false
	}
	return idx.MxFrame >= p.due || float64(p.due-idx.MxFrame) < p.rate*nearTime.Seconds()
}

// wait is when to look again, most at the latest.
func (p *pace) wait(most time.Duration) time.Duration {
	left := int64(p.due) - int64(p.last.MxFrame)
	if !p.open {
		left -= int64(p.margin())
	}
	switch {
	case p.still > nearLooks:
		return most
	case p.rate == 0 || left <= 0: // it may come at any time
		return min(most, time.Millisecond)
	}
	t := time.Duration(float64(left) / p.rate / 2 * float64(time.Second))
	return min(most, max(t, time.Millisecond))
}
