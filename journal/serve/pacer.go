package serve

import (
	"context"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/wake"
)

// pacer says when a trail is to be looked at again.
type pacer struct {
	o     *Options
	wake  *wake.Waker // nil: none, or it is deaf
	pause time.Duration
	timed bool // the last wait ended without a write
	deaf  int  // how often in a row there was something new all the same
}

// deafAfter such looks the trail is on a file system that tells of no writes, as that of another machine.
const deafAfter = 3

// newWaker is told of what is written in a directory; nil where that cannot be.
func newWaker(dir string) *wake.Waker {
	w := wake.New()
	if !w.Dir(dir) { // an archive's trail is in no directory
		w.Close()
		return nil
	}
	return w
}

// next waits for the next look. The one that began at looked found something new, or not.
func (p *pacer) next(ctx context.Context, looked time.Time, news bool) {
	if p.wake != nil {
		if p.deaf++; !p.timed || !news {
			p.deaf = 0
		}
		if p.deaf == deafAfter {
			p.close()
		}
	}
	if p.wake == nil {
		if p.pause = min(p.pause+p.pause/16+1, p.o.PollMax); news {
			p.pause = p.o.PollMin
		}
		_ = pause.For(ctx, p.pause)
		return
	}
	p.timed = !p.wake.Wait(ctx, p.o.PollMax)
	if early := p.o.PollMin - time.Since(looked); early > 0 && news {
		_ = pause.For(ctx, early) // what comes in close succession shares a batch
	}
}

func (p *pacer) close() {
	p.wake.Close()
	p.wake = nil
}
