package capture

import (
	"time"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// pace knows how fast the WAL grows and at which frame the writer checkpoints,
// which is SQLite's default until it was seen to be another: so it says when to
// look again, and when a mark has to be open.
type pace struct {
	due    uint32 // a checkpoint is expected at the commit that reaches this frame
	open   bool   // the mark is to be open until the WAL begins anew
	opened uint32 // last frame when that began

	at        time.Time // of the last look that found frames
	last      sqlitefile.IndexHeader
	attempted uint32  // BackfillAttempted of the last look, in this generation
	rate      float64 // frames a second
	still     int     // looks that found nothing new
}

// look notes how the WAL stands.
func (p *pace) look(idx sqlitefile.IndexHeader) {
	now := time.Now()
	if idx.Salt != p.last.Salt {
		p.open, p.attempted, p.last = false, 0, sqlitefile.IndexHeader{Salt: idx.Salt}
	}
	switch {
	case idx.MxFrame == p.last.MxFrame:
		p.still++
	case p.last.MxFrame != 0 && idx.MxFrame > p.last.MxFrame && now.After(p.at):
		// A writer that was busy with a checkpoint meanwhile is as fast as before.
		p.rate = max(float64(idx.MxFrame-p.last.MxFrame)/now.Sub(p.at).Seconds(), p.rate*0.75)
		fallthrough
	default:
		p.at, p.still = now, 0
	}
	if tried := idx.BackfillAttempted; tried > p.attempted {
		if p.attempted == 0 {
			p.tried(idx)
		}
		p.attempted = tried
		if tried < idx.MxFrame { // our mark stopped it
			p.begin(idx.MxFrame)
		}
	}
	if p.open && p.attempted == 0 && idx.MxFrame > max(p.due, p.opened)+p.due/4 { // it checkpoints later than it did, if ever
		p.due, p.open = idx.MxFrame+idx.MxFrame/2, false
	}
	p.last = idx
}

// tried notes that a checkpoint was begun. The frame at which it was begun is
// the last there is, or one a little before.
func (p *pace) tried(idx sqlitefile.IndexHeader) {
	switch tried := idx.BackfillAttempted; {
	case tried == idx.MxFrame:
		p.due = tried
	case idx.MxFrame < p.due:
		p.due = idx.MxFrame - idx.MxFrame/8
	}
}

// margin is how far before a checkpoint the mark is opened.
func (p *pace) margin() uint32 { return max(16, p.due/16) }

// opens says whether the mark is to be open when frames up to this one are
// recorded.
func (p *pace) opens(frame uint32) bool {
	if frame+p.margin() >= p.due {
		p.begin(max(frame, p.last.MxFrame))
	}
	return p.open
}

// begin has the mark open from now on.
func (p *pace) begin(frame uint32) {
	if !p.open {
		p.open, p.opened = true, frame
	}
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
