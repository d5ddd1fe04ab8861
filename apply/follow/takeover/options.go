package takeover

import (
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options of Promote. Store, Primary or Force is needed.
type Options struct {
	// Store is where the archive is, at its prefix (objstore.Sub). It is not closed.
	Store objstore.Store
	// Archive is its name in messages; default "archive".
	Archive string
	// Name of the new writer, which the old one is told; default machine and path.
	Name string
	// Primary is the trail of the old primary, if that was retired and is at hand: without a Store the replica catches
	// up with it.
	Primary *journal.Trail
	// Force promotes without an archive. If the old primary still runs and is reached by anybody, there are two
	// histories from then on.
	Force bool
	// Expect, if set, is where the replica has to be, or it is not promoted: what the old primary ended with.
	Expect *journal.Position
	// Trail is the directory of the replica's own trail; default the replica's name + "-pagetrail". It is begun if there
	// is none.
	Trail string
	// BusyTimeout bounds the wait for a follower that is about to end; default 10 s.
	BusyTimeout time.Duration
	// Events are told what happens; those that are nil are not called.
	Events Events

	// hook is called before every step that changes something, for tests that stop there.
	hook func(step string) error
}

// Events of a takeover.
type Events struct {
	// CaughtUp: the replica has what could be had, up to this position.
	CaughtUp func(journal.Position)
	// Ended: nothing can be added any more to the timeline that the archive is at, after this position.
	Ended func(journal.Position)
	// Taken: the archive is the new writer's.
	Taken func(journal.Timeline)
	// Repaired: another program had changed the replica, or it was not what it said.
	Repaired func(reason string, pages int)
	// Waiting: something is waited for; what says what.
	Waiting func(what string)
}

// Result of Promote.
type Result struct {
	// Position where the new timeline begins, of the timeline before.
	Position journal.Position
	Timeline journal.Timeline // that the database writes from now on
	Trail    string           // its directory
	// Already says that there was nothing to do: the database was promoted before.
	Already bool
	// Merged is the replica's last transaction, if that was beyond Position: the archive ends there, and the replica
	// keeps no trail that has those between. They are in the database, and become one catch-up record with the first
	// write.
	Merged journal.TXID
	// Readers says that other programs have the database open, so that it still has a -wal.
	Readers bool
}
