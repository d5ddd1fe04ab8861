package ship

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Run and Open. Store is needed.
type Options struct {
	// Store is where the archive is, at its prefix (objstore.Sub). It is not closed.
	Store objstore.Store
	// Archive is its name in messages; default "archive".
	Archive string
	// Name of this writer, which others are told when they find the archive held; default machine, process and trail.
	Name string
	// Replica, if set, says whether the trail is that of a replica by now, which is asked before the archive is claimed:
	// archive.ErrReplica when it is a primary's.
	Replica func() bool
	// Once ships what there is, and returns.
	Once bool
	// Grace is how long Run goes on after its context ended, until all is shipped; default not at all.
	Grace time.Duration
	// Interval is how long a transaction waits for others to share its batch; default 1 s.
	Interval time.Duration
	// BatchBytes is about how large a batch becomes, as it is stored; as soon as there is so much to ship, by the
	// compression of the batch before, it is not waited any longer. Default 1 MiB, which readers fetch with one request.
	// A batch that holds a large transaction is larger.
	BatchBytes int64
	// Mend looks at every object of the archive when shipping begins, not only at what the head says of them, and brings
	// back those that are gone from the history, as far as the trail has their transactions.
	Mend bool
	// Poll is how often the trail is looked at, which costs three calls of the system; default 100 ms.
	Poll time.Duration
	// Sync, if set, is called before a batch leaves: when it returns nil, no power cut takes from the primary what it
	// had committed when Sync was called. Without it the archive may hold transactions that a primary lost, and then
	// shipping ends with ErrDiverged.
	Sync func(ctx context.Context) error
	// Pause before the second try of what failed without a clear answer, about, doubling to MostPause; default 1 s
	// and 1 min.
	Pause, MostPause time.Duration
	// Tries of each step with Once; default 6. Without Once there is no limit.
	Tries int
	// Keep is how long transactions stay in the trail after they were shipped: sealed segments that are older are
	// removed, and bases with them. What was not shipped is never removed. Zero keeps everything.
	Keep time.Duration
	// KeepBytes is how many bytes the trail's segments and bases may have before those that were shipped are removed, the
	// oldest first, though they are younger than Keep. The segment that grows, up to 8 MiB, and what was not shipped stay,
	// so that it is no limit to what a trail takes; a quota is: vfs.Options.Quota. Zero is as many as there are, unless the
	// trail's writer has a quota.
	KeepBytes int64
	// Full, if set, says that the trail's disk is full, or its quota reached. Then everything is removed that was shipped
	// and that Keep and KeepBytes let go at some time.
	Full func() bool
	// Trusted says that the store was probed (objstore.Probe) by whoever opened it, for many trails.
	Trusted bool
	// FS of the trail and of temporary files; default durable.OS.
	FS durable.FS
	// TempDir is for batches over 4 MiB; default os.TempDir().
	TempDir string
	// Clock for waiting; default the system's.
	Clock Clock
	// Acks, if set, lets commits wait for the archive.
	Acks *Acks
	// Events, if set, are told what happens.
	Events Events
}

// Clock is what Run knows of time; tests have their own.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the cause when ctx ends before. With Options.Grace two goroutines are in it at once.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time                                   { return time.Now() }
func (systemClock) Sleep(ctx context.Context, d time.Duration) error { return pause.For(ctx, d) }

// Events are called by Run, in order, each if it is set. They should not block.
type Events struct {
	Claimed func(from archive.Holder, after journal.TXID) // the archive is ours; who held it, and its last transaction
	Base    func(id journal.TXID, size int64)
	Batch   func(b journal.Batch)
	// Mended: what was gone from the archive is there again, with so many bytes; or is not, and why.
	Mended func(first, last journal.TXID, size int64, err error)
	Retry  func(err error, try int, pause time.Duration)
	Pruned func(files []string, size int64) // removed from the trail, see Options.Keep
}

func (o *Options) filled(dir string) (Options, error) {
	f := *o
	if f.Store == nil {
		return f, errors.New("ship: no store given")
	}
	if f.Archive == "" {
		f.Archive = "archive"
	}
	if f.Name == "" {
		host, _ := os.Hostname() // a name for people: better incomplete than none
		f.Name = fmt.Sprintf("%s process %d %s", host, os.Getpid(), dir)
	}
	if f.FS == nil {
		f.FS = durable.OS
	}
	if f.Clock == nil {
		f.Clock = systemClock{}
	}
	if f.TempDir == "" {
		f.TempDir = os.TempDir()
	}
	if f.BatchBytes <= 0 {
		f.BatchBytes = 1 << 20
	}
	if f.Tries <= 0 {
		f.Tries = 6
	}
	for _, d := range []struct {
		is *time.Duration
		or time.Duration
	}{{&f.Interval, time.Second}, {&f.Poll, 100 * time.Millisecond}, {&f.Pause, time.Second}, {&f.MostPause, time.Minute}} {
		if *d.is <= 0 {
			*d.is = d.or
		}
	}
	return f, nil
}

// Result says what Run did.
type Result struct {
	Batches      int
	Bases        int
	Transactions uint64
	Bytes        int64 // of batches and bases
	Mended       int   // objects that were gone, and are there again
	// Last transaction that the archive is known to hold.
	Last journal.TXID
}
