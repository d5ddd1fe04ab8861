package ship

import (
	"context"
	"fmt"
	"sync"

	"github.com/pagetrail/pagetrail/journal"
)

// Acks lets commits wait until they are in the archive (sync=remote of package vfs). Given in Options.Acks, it has
// batches leave as soon as somebody waits, and tells the waiting when their transactions are in one. All who wait
// while a batch is under way share the next: a group commit. The zero value is ready, for one trail and one Run at a
// time, in the process that commits. A database that has no trail yet is opened first with sync=local, which begins
// one for Run to ship.
//
//	acks := new(ship.Acks)
//	vfs.Register("remote", &vfs.Options{Sync: vfs.SyncRemote, Acknowledge: acks.Acknowledge})
//	go ship.Run(ctx, "app.db-pagetrail", &ship.Options{Store: store, Acks: acks})
//	db, err := sql.Open("sqlite3", "file:app.db?vfs=remote")
type Acks struct {
	mu       sync.Mutex
	identity journal.Identity // of the trail that last is of
	last     journal.TXID     // that the archive holds
	wanted   journal.TXID     // the last that somebody waits for
	err      error            // why there will be no more
	changed  chan struct{}    // closed when one of the above changes, except wanted; nil: nobody waits
	wake     chan struct{}    // told when somebody begins to wait
}

// Acknowledge waits until the archive holds the transaction at a position. The error is the context's, or the one
// that Run ended with; ErrForeign when Run ships another database.
func (a *Acks) Acknowledge(ctx context.Context, database string, at journal.Position) error {
	for {
		changed, err := a.ask(database, at)
		if changed == nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ask answers at once, or says what to wait for. What the archive holds of another timeline is no answer: the next one
// uses numbers again.
func (a *Acks) ask(database string, at journal.Position) (<-chan struct{}, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := a.identity.Database != journal.DatabaseID{}
	switch {
	case known && a.identity.Database != at.Database:
		return nil, fmt.Errorf("%s has the database ID %s, what is shipped is %s: %w", database, at.Database, a.identity.Database, journal.ErrForeign)
	case known && a.identity.Timeline == at.Timeline && a.last >= at.TXID:
		return nil, nil
	case a.err != nil:
		return nil, a.err
	}
	a.wanted = max(a.wanted, at.TXID)
	if a.changed == nil {
		a.changed = make(chan struct{})
	}
	a.signal()
	return a.changed, nil
}

// signal wakes Run. The caller holds mu.
func (a *Acks) signal() {
	if a.wake == nil {
		a.wake = make(chan struct{}, 1)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// woken is told when somebody begins to wait.
func (a *Acks) woken() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.wake == nil {
		a.wake = make(chan struct{}, 1)
	}
	return a.wake
}

// hold tells that the archive holds transactions of a trail up to last.
func (a *Acks) hold(of journal.Identity, last journal.TXID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.last == last && a.err == nil && a.identity.Database == of.Database && a.identity.Timeline == of.Timeline {
		return
	}
	a.identity, a.last, a.err = of, last, nil
	a.tell()
}

// end tells that no more will come.
func (a *Acks) end(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.err = fmt.Errorf("shipping ended: %w", err)
	a.tell()
}

// tell has the waiting look again. The caller holds mu.
func (a *Acks) tell() {
	if a.changed != nil {
		close(a.changed)
		a.changed = nil
	}
}

// wants says that somebody waits for a transaction after last.
func (a *Acks) wants(last journal.TXID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.wanted > last
}
