package follow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
)

// Options of Open and Run; nil and the zero value mean the defaults.
type Options struct {
	// Once makes Run return when the replica is where the source is.
	Once bool
	// Rewind takes a replica that is ahead of the source, or beside its history,
	// back to the source's last state; the transactions that only the replica has
	// are lost with that, even if the source only lags. Default: beside it is an
	// error, and ahead of it a [BehindError].
	Rewind bool
	// Takeover opens a replica whose promotion has begun, which is for package
	// takeover; others are told to let it be finished.
	Takeover bool
	// SyncEachCommit makes every commit durable before it is announced, as
	// synchronous=FULL does. Default: durable no later than the next
	// checkpoint, whole whatever happens, as synchronous=NORMAL.
	SyncEachCommit bool
	// Trail is the directory of a trail of the replica's own, which is made if
	// there is none: it has every transaction that was applied since it began, so
	// that past states can be had here, and others can follow this replica.
	// Default: none is kept.
	Trail string
	// BatchTransactions is how many transactions may become one commit of the
	// replica while it catches up; default 128. Readers then see the last of
	// them. 1 makes every transaction visible by itself.
	BatchTransactions int
	// BatchBytes ends a batch early, once its pages have so many bytes;
	// default 4 MiB.
	BatchBytes int
	// MemoryBytes is how much of a single transaction's pages is kept in
	// memory; default 32 MiB. The rest goes to a scratch file without a name in
	// the replica's directory.
	MemoryBytes int
	// CheckpointFrames is how many frames are written before they are copied
	// into the database file; default 1000, as in SQLite.
	CheckpointFrames int
	// WALLimitBytes is the size of the WAL beyond which the follower waits, up
	// to WALWait, for readers to let the WAL begin anew; default 16 MiB.
	WALLimitBytes int64
	// WALWait bounds that wait; default 2 s. After it the WAL grows by as much
	// again before the next.
	WALWait time.Duration
	// BusyTimeout bounds the waits for locks when the replica is opened;
	// default 10 s.
	BusyTimeout time.Duration
	// PollMin and PollMax are how often Run looks for new transactions, after
	// there were some and when there were none for long; default 500 µs and
	// 50 ms.
	PollMin, PollMax time.Duration
	// Retry says of an error whether the source may have got over it in a
	// while; Run then asks again, after RetryMin at first and RetryMax at most.
	// Default: whether it is an [ErrUnreachable]; 100 ms and 10 s. An
	// [ErrNotReady] always is.
	Retry              func(error) bool
	RetryMin, RetryMax time.Duration
	// BehindWait is how long a source may be behind the replica before
	// Events.Waiting says so; default 1 minute. Run waits on, see [BehindError].
	// Negative: it is a [journal.ErrDiverged] at once, for a source that will not
	// have more than it has.
	BehindWait time.Duration
	// Monitor, if set, is told how far the replica is.
	Monitor *Monitor
	// Events are told what happens.
	Events Events
	// Now is the clock; default time.Now.
	Now func() time.Time
	// Wait passes time; default a timer. It returns early, with the cause,
	// when the context ends.
	Wait func(ctx context.Context, d time.Duration) error

	// hook is called before every step that changes a file, for tests that
	// kill the process there.
	hook func(step string)
}

// Events are called by the goroutine that applies, and hold it up: they should
// return at once. Those that are nil are not called.
type Events struct {
	// Attached: the replica is open, at this position.
	Attached func(journal.Position)
	// Applied: readers that begin now see this state.
	Applied func(Applied)
	// CaughtUp: there is nothing more to apply for now.
	CaughtUp func(journal.Position)
	// Repaired: the replica was not in any state of its history, for the
	// reason given, and has been put right by writing so many pages.
	Repaired func(reason string, pages int)
	// Unreachable: the source did not answer, or is not ready, for the reason
	// given, and will be asked again after the pause.
	Unreachable func(err error, pause time.Duration)
	// TrailBegun: the replica's own trail, which did not lead to the replica's
	// state for the reason given, has another name now, and a new one began.
	TrailBegun func(reason, aside string)
	// Waiting: readers hold something up, or the source is behind, for longer
	// than the bound of that wait, or there is nothing to follow yet; what says
	// what.
	Waiting func(what string)
}

// Applied describes one commit of the replica.
type Applied struct {
	Position     journal.Position
	Time         time.Time     // of the last transaction, by the primary's clock
	Transactions int           // that became visible together
	Pages        int           // written
	Behind       uint64        // transactions that the source is known to have beyond it
	Delay        time.Duration // from the last transaction's time to now; honest if the clocks agree
}

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	set := func(p *int, v int) {
		if *p <= 0 {
			*p = v
		}
	}
	span := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	set(&opt.BatchTransactions, 128)
	set(&opt.BatchBytes, 4<<20)
	set(&opt.MemoryBytes, 32<<20)
	set(&opt.CheckpointFrames, 1000)
	if opt.WALLimitBytes <= 0 {
		opt.WALLimitBytes = 16 << 20
	}
	span(&opt.WALWait, 2*time.Second)
	span(&opt.BusyTimeout, 10*time.Second)
	span(&opt.PollMin, 500*time.Microsecond)
	span(&opt.PollMax, 50*time.Millisecond)
	span(&opt.RetryMin, 100*time.Millisecond)
	span(&opt.RetryMax, 10*time.Second)
	if opt.BehindWait == 0 {
		opt.BehindWait = time.Minute
	}
	if opt.Retry == nil {
		opt.Retry = func(err error) bool { return errors.Is(err, ErrUnreachable) }
	}
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Wait == nil {
		opt.Wait = pause.For
	}
	if opt.hook == nil {
		opt.hook = func(string) {}
	}
	return opt
}

// passes says of an error that asking again may help.
func (o *Options) passes(err error) bool { return errors.Is(err, ErrNotReady) || o.Retry(err) }

// sync makes a file durable.
func (o *Options) sync(f *os.File) error {
	err := syncData(f)
	if err == nil {
		o.hook("synced " + f.Name())
	}
	return err
}

// waiter tries something again and again for a bounded time.
type waiter struct {
	ctx   context.Context
	o     *Options
	limit time.Duration
}

// errBusy is what until says when its time is over.
var errBusy = errors.New("readers or writers of the replica are in the way")

// until calls try until it is true. When that takes longer than the limit, the
// error says what was waited for and is a [journal.ErrLocked].
func (w *waiter) until(what string, try func() (bool, error)) error {
	end := w.o.Now().Add(w.limit)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 5*time.Millisecond) {
		ok, err := try()
		if ok || err != nil {
			return err
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if !w.o.Now().Before(end) {
			return fmt.Errorf("%s, for more than %v: %w: %w", what, w.limit, errBusy, journal.ErrLocked)
		}
		if err := w.o.Wait(w.ctx, pause); err != nil {
			return err
		}
	}
}
