package takeover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// HandoverOptions of Handover.
type HandoverOptions struct {
	// Store is where the archive is, at its prefix; nil: there is none, and Replica catches up with the primary's trail.
	Store objstore.Store
	// Archive is its name in messages.
	Archive string
	// Ship ships the primary's trail to its end; needed with Store. An error that is a journal.ErrLocked and no
	// HeldError says that somebody else is shipping it, which is waited for.
	Ship func(ctx context.Context) error
	// Replica is the path of the one that is promoted. Without it somebody else promotes one, on another machine, which
	// is waited for.
	Replica string
	// Promote has what is wanted of the promotion, but for Store, Archive, Primary and Expect.
	Promote Options
	// Retire are the options for the primary.
	Retire RetireOptions
	// Shipped is called when the archive has all there is.
	Shipped func(journal.Position)
	// Wait passes time between two looks at the archive; default a timer, one second.
	Wait func(ctx context.Context, d time.Duration) error
}

// Handover makes the primary at path a replica and another replica the primary, without anything to be taken back:
//
//  1. The primary is retired: from now on nobody writes.
//  2. Its trail is shipped to the end.
//  3. The replica is promoted, if it is where the primary ended; or somebody takes over elsewhere.
//
// Stopped anywhere, the same call goes on. A primary that was retired and is wanted back is promoted, like any replica.
// Afterwards it can be followed into. Without a Store and a Replica there is nothing to wait for: the caller hands on
// the position, see Options.Expect.
func Handover(ctx context.Context, path string, o *HandoverOptions) (_ *Result, at journal.Position, err error) {
	r, err := Retire(ctx, path, &o.Retire) // 1
	if err != nil {
		return nil, at, err
	}
	defer func() { err = errors.Join(err, r.Release()) }()
	at = r.Position
	h := &handover{o: o, at: at}
	if o.Store != nil {
		if err := h.ship(ctx); err != nil { // 2
			return nil, at, err
		}
	}
	switch {
	case o.Replica != "":
		res, err := h.promote(ctx, path) // 3
		return res, at, err
	case o.Store == nil:
		return nil, at, nil
	}
	res, err := h.await(ctx)
	return res, at, err
}

type handover struct {
	o  *HandoverOptions
	at journal.Position
}

// ship sees to it that the archive has everything. It has when somebody took over already.
func (h *handover) ship(ctx context.Context) error {
	for {
		head, last, err := h.look(ctx)
		if err == nil && (head.Timeline > h.at.Timeline || last >= h.at.TXID) {
			break
		}
		if err != nil && !errors.Is(err, journal.ErrNotFound) {
			return err
		}
		err = h.o.Ship(ctx)
		_, held := errors.AsType[*archive.HeldError](err)
		if err != nil && (held || !errors.Is(err, journal.ErrLocked)) {
			return err
		}
		if err != nil { // another process is at it
			if err := h.wait(ctx); err != nil {
				return err
			}
		}
	}
	if h.o.Shipped != nil {
		h.o.Shipped(h.at)
	}
	return nil
}

func (h *handover) wait(ctx context.Context) error {
	if h.o.Wait != nil {
		return h.o.Wait(ctx, time.Second)
	}
	return pause.For(ctx, time.Second)
}

// look is the archive's head, and the last transaction of its history.
func (h *handover) look(ctx context.Context) (archive.Head, journal.TXID, error) {
	r, err := archive.Open(ctx, h.o.Store, &archive.Options{Name: h.o.Archive})
	if err != nil {
		return archive.Head{}, 0, err
	}
	last, err := r.Last()
	return r.Head(), last.TXID, errors.Join(err, r.Close())
}

// promote promotes the replica, of which it is asked that it is where the primary ended.
func (h *handover) promote(ctx context.Context, path string) (*Result, error) {
	o := h.o.Promote
	o.Store, o.Archive, o.Expect = h.o.Store, h.o.Archive, &h.at
	if o.Store == nil {
		dir := h.o.Retire.Trail
		if dir == "" {
			dir = path + trailSuffix
		}
		t, err := journal.Open(dir, nil)
		if err != nil {
			return nil, err
		}
		defer t.Close()
		o.Primary = t
	}
	return Promote(ctx, h.o.Replica, &o)
}

// await waits until somebody took over.
func (h *handover) await(ctx context.Context) (*Result, error) {
	for {
		head, _, err := h.look(ctx)
		if err != nil {
			return nil, err
		}
		if line := head.Lines[len(head.Lines)-1]; head.Timeline > h.at.Timeline && line.Parent != nil {
			if line.Parent.TXID < h.at.TXID {
				return nil, fmt.Errorf("%s took over after transaction %d, and the primary ended with %d: %w",
					head.Writer, line.Parent.TXID, h.at.TXID, journal.ErrDiverged)
			}
			return &Result{Position: *line.Parent, Timeline: head.Timeline}, nil
		}
		if err := h.wait(ctx); err != nil {
			return nil, err
		}
	}
}
