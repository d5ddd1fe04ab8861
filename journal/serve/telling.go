package serve

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// What is kept of the changes of a database that somebody listens to.
const (
	// toldBytes bounds the events that are kept for listeners that are slow, or come back.
	toldBytes = 1 << 20
	// toldNear is how many transactions before the last a walk begins for who wants them: for all that listen later they
	// are in memory then. What is further back is told to each by a walk of its own.
	toldNear = 1000
	// toldLinger is how long a walk goes on that nobody listens to: a listener that comes back finds it.
	toldLinger = time.Minute
)

// telling is the changes of one database. To know whose pages a transaction changes takes the database, so there is one
// walk through the transactions for all who listen, and one more at a time for those who want what is not in memory.
type telling struct {
	h    *Handler
	f    *feed
	turn chan struct{} // has room while no such walk is under way

	durable sync.Mutex
	synced  journal.TXID // up to it Options.Sync was called; under durable

	mu        sync.Mutex
	listeners int   // under mu
	told      *told // nil: there is no walk; under mu
}

// told is what the walk for all has told.
type told struct {
	cancel context.CancelFunc
	lost   journal.TXID // what follows it is in events, or comes; under mu, as all below
	events []Event
	bytes  int
	err    error // why the walk has ended
	news   chan struct{}
}

// errMissed says that what is wanted is not in memory.
var errMissed = errors.New("no longer in memory")

// join makes sure that there is a walk, until leave. A new one begins after the transaction after, if that is near the last.
func (t *telling) join(after, last journal.TXID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listeners++
	if t.told != nil && t.told.err == nil {
		return
	}
	if last-after > toldNear {
		after = last
	}
	ctx, cancel := context.WithCancel(t.h.ctx)
	t.told = &told{cancel: cancel, lost: after, news: make(chan struct{})}
	w, to := t.walk(ctx, after, nil), t.told
	t.h.active.Go(func() {
		defer cancel()
		defer w.end()
		for e := range w.events {
			t.keep(to, e)
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		to.err = w.err
		close(to.news)
	})
}

// leave is for a listener that goes.
func (t *telling) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	to := t.told
	if t.listeners--; t.listeners > 0 {
		return
	}
	time.AfterFunc(toldLinger, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.listeners == 0 && t.told == to {
			to.cancel()
			t.told = nil
		}
	})
}

// keep takes an event in, for all, and lets the oldest go.
func (t *telling) keep(to *told, e Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to.events, to.bytes = append(to.events, e), to.bytes+len(e.Data)
	for to.bytes > toldBytes && len(to.events) > 1 {
		to.lost, to.bytes = to.events[0].Position.TXID, to.bytes-len(to.events[0].Data)
		to.events = to.events[1:]
	}
	close(to.news)
	to.news = make(chan struct{})
}

// find returns the events from transaction next on that are in memory, or else what to wait for. errMissed: they are
// not there, and will not be.
func (t *telling) find(next journal.TXID) (events []Event, news chan struct{}, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	to := t.told
	if next <= to.lost {
		return nil, nil, errMissed
	}
	if events = sinceMemory(to.events, next); len(events) == 0 {
		return nil, to.news, to.err
	}
	return events, to.news, nil
}

// has says that what follows is in memory, or comes.
func (t *telling) has(next journal.TXID) bool {
	_, _, err := t.find(next)
	return err != errMissed
}

// walk is one way through the transactions.
type walk struct {
	events chan Event // closed when nothing more comes
	err    error      // why; to be read after that
	cancel context.CancelFunc
}

// walk begins after a transaction, once there is room in turn; nil: at once.
func (t *telling) walk(ctx context.Context, after journal.TXID, turn chan struct{}) *walk {
	w := &walk{events: make(chan Event)}
	ctx, w.cancel = context.WithCancel(ctx)
	go func() {
		defer close(w.events)
		if turn != nil {
			select {
			case turn <- struct{}{}:
				defer func() { <-turn }()
			case <-ctx.Done():
				w.err = ctx.Err()
				return
			}
		}
		w.err = t.tell(ctx, after, w.events)
	}()
	return w
}

// tell sends on what a walk finds, durable if that is wanted.
func (t *telling) tell(ctx context.Context, after journal.TXID, events chan<- Event) error {
	for e, err := range t.h.o.Changes(ctx, t.f.trail, after) {
		if err == nil {
			err = t.sync(ctx, e.Position.TXID)
		}
		if err != nil {
			return err
		}
		select {
		case events <- e:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return context.Canceled // which is how a walk ends otherwise
}

// end ends a walk, and waits until it has.
func (w *walk) end() {
	w.cancel()
	for range w.events { // which nobody wants
	}
}

// sync makes durable what is told, if that is wanted: once for all that came meanwhile.
func (t *telling) sync(ctx context.Context, id journal.TXID) error {
	t.durable.Lock()
	defer t.durable.Unlock()
	if t.h.o.Sync == nil || id <= t.synced {
		return nil
	}
	last, err := t.f.trail.Last()
	if err == nil {
		err = t.h.o.Sync(ctx, t.f.name)
	}
	if err == nil {
		t.synced = max(id, last.TXID)
	}
	return err
}
