package ship_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// Told to end, Run with Grace ships what was committed until then, and interrupts nothing that is under way.
func TestGrace(t *testing.T) {
	p := newPrimary(t, 31)
	p.commit(3)
	s, c := new(mem.Store), newGracedClock()
	ctx, stop := context.WithCancel(t.Context())
	c.at(time.Minute, func() {
		p.commit(2)
		stop()
	})
	f := &objstore.Faults{}
	f.Decide = func(_ int, call objstore.Call) objstore.Outcome {
		if call.Op == objstore.OpCreate && ctx.Err() == nil && c.now >= time.Minute {
			t.Error("a batch is sent before it is due")
		}
		return objstore.Pass
	}
	if _, err := ship.Run(ctx, p.dir, &ship.Options{Store: objstore.Faulty(s, f), Clock: c, Grace: grace}); err != nil {
		t.Error(err)
	}
	p.checkArchive(s, 5, 2)

	// What is being written when it is told to end is written.
	p.commit(1)
	ctx, stop = context.WithCancel(t.Context())
	o := &ship.Options{Store: ending{s, stop}, Clock: c, Grace: grace, Events: ship.Events{
		Retry: func(err error, _ int, _ time.Duration) { t.Errorf("interrupted: %v", err) },
	}}
	if _, err := ship.Run(ctx, p.dir, o); err != nil || ctx.Err() == nil {
		t.Error(err)
	}
	p.checkArchive(s, 6, 2)
}

// ending is a store that has who writes a batch told to end.
type ending struct {
	objstore.Store
	stop func()
}

func (s ending) Create(ctx context.Context, key string, r io.ReaderAt, size int64) error {
	if strings.HasSuffix(key, ".seg") {
		s.stop()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.Store.Create(ctx, key, r, size)
}

// When the time is over Run says which transactions were not shipped, and the next one ships them.
func TestGraceIsOver(t *testing.T) {
	p := newPrimary(t, 32)
	p.commit(3)
	s, c := new(mem.Store), newGracedClock()
	ctx, stop := context.WithCancel(t.Context())
	away := false
	f := &objstore.Faults{Decide: func(int, objstore.Call) objstore.Outcome {
		if away {
			return objstore.Refuse
		}
		return objstore.Pass
	}}
	c.at(time.Minute, func() {
		p.commit(2)
		away = true
		stop()
	})
	o := &ship.Options{Store: objstore.Faulty(s, f), Clock: c, Grace: grace, Events: ship.Events{
		Retry: func(_ error, try int, _ time.Duration) {
			if try == 3 {
				close(c.over)
			}
		},
	}}
	_, err := ship.Run(ctx, p.dir, o)
	if !errors.Is(err, ship.ErrUnshipped) || !strings.Contains(err.Error(), "transactions 4 to 5 are in the trail only") || !errors.Is(err, objstore.ErrInjected) || f.Fired() < 2 {
		t.Errorf("%v, after %d refused calls", err, f.Fired())
	}
	once(t, p, s, ship.Options{})
	p.checkArchive(s, 5, 2)
}

// grace is what Options.Grace is here: no other pause is as long.
const grace = 99 * time.Hour

// gracedClock is a clock by which grace is over when over is closed.
type gracedClock struct {
	clock
	over chan struct{}
}

func newGracedClock() *gracedClock { return &gracedClock{over: make(chan struct{})} }

func (c *gracedClock) Sleep(ctx context.Context, d time.Duration) error {
	if d != grace {
		return c.clock.Sleep(ctx, d)
	}
	select {
	case <-c.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
