package ship

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// lockName is the file in the trail that its shipper locks.
const lockName = "lock-ship"

// Run ships the trail in a directory until ctx ends, or with Once until all is shipped. The error is the context's, or
// says why there is no going on: journal.ErrLocked when another process ships this trail, or another writer took the
// archive (*archive.HeldError); journal.ErrDiverged, ErrGap, ErrForeign when trail and archive do not belong together.
// With Grace the end of ctx is no error: nil when all is shipped then, ErrUnshipped when Grace ended before.
func Run(ctx context.Context, dir string, o *Options) (Result, error) {
	s, err := Open(dir, o)
	if err == nil {
		err = s.run(ctx)
	}
	if o.Acks != nil {
		o.Acks.end(cmp.Or(err, errors.New("all was shipped that there was")))
	}
	if s == nil {
		return Result{}, err
	}
	return s.result, errors.Join(err, s.Close())
}

func (s *Shipper) run(ctx context.Context) error {
	if s.opt.Grace > 0 && !s.opt.Once {
		return s.runGraced(ctx)
	}
	for {
		wait, err := s.Step(ctx)
		if err != nil {
			return err
		}
		if s.opt.Once && s.idle {
			return s.hint(ctx, true)
		}
		if wait > 0 {
			if err := s.sleep(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// runGraced does not let go of what is under way when ctx ends, and then ships what there is.
func (s *Shipper) runGraced(ctx context.Context) error {
	work, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	defer context.AfterFunc(ctx, func() {
		if s.opt.Clock.Sleep(work, s.opt.Grace) == nil {
			end(errGraceOver)
		}
	})()
	var err error
	for err == nil && ctx.Err() == nil {
		var wait time.Duration
		if wait, err = s.Step(work); err == nil && wait > 0 {
			_ = s.sleep(ctx, wait) // its end is that of ctx
		}
	}
	if err == nil {
		err = s.Drain(work)
	}
	if errors.Is(err, errGraceOver) && s.failure != nil {
		err = s.failure
	}
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case s.last > s.result.Last:
		return fmt.Errorf("%w: transactions %d to %d are in the trail only: %w", ErrUnshipped, s.result.Last+1, s.last, err)
	}
	return fmt.Errorf("%w: %w", ErrUnshipped, err)
}

// ErrUnshipped says that Run ended before everything was shipped. What was not is in the trail, and goes out the next time.
var ErrUnshipped = errors.New("not everything was shipped")

var errGraceOver = errors.New("there was no more time")

// sleep waits, unless somebody waits for the archive. After a failure it does wait: who waits then waits longer.
func (s *Shipper) sleep(ctx context.Context, wait time.Duration) error {
	if s.opt.Acks == nil || s.try > 1 {
		return s.opt.Clock.Sleep(ctx, wait)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.opt.Acks.woken():
	case <-timer.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// Shipper ships one trail, a step at a time, for a program that has many of them and few goroutines. Everybody else
// calls Run. Not safe for concurrent use.
type Shipper struct {
	opt    Options
	dir    string
	lock   interface{ Close() error } // nil: resting, or a trail that may only be read
	trail  *journal.Trail             // nil: resting
	result Result

	probed   bool
	w        *archive.Writer // nil: to be connected
	identity journal.Identity
	from     journal.TXID   // of the first batch, when prev is nil
	prev     *journal.Batch // the archive's last
	bases    map[journal.TXID]int64
	last     journal.TXID // of the trail, when it was looked at last
	waiting  time.Time    // since when there is something to ship; zero: there is nothing
	seen     int64        // size of the tail when something was shipped last
	idle     bool         // the last step found everything shipped
	hurry    bool         // nothing waits for company
	try      int          // of what failed; 1 when nothing did
	failure  error        // of the last try
	again    time.Time    // not to be tried before
	pruneAt  time.Time    // when to look for what is to be pruned
}

// Open makes a Shipper of the trail in a directory, which nobody else may ship then: journal.ErrLocked.
func Open(dir string, o *Options) (*Shipper, error) {
	opt, err := o.filled(dir)
	if err != nil {
		return nil, err
	}
	s := &Shipper{opt: opt, dir: dir, try: 1, probed: opt.Trusted}
	if err := s.wake(); err != nil {
		return nil, err
	}
	return s, nil
}

// wake opens what Rest closed.
func (s *Shipper) wake() error {
	if s.trail != nil {
		return nil
	}
	lock, err := s.opt.FS.Lock(filepath.Join(s.dir, lockName), 0o644, true, false)
	switch {
	case errors.Is(err, fs.ErrPermission): // a trail that may only be read: the archive's fence must do
	case errors.Is(err, fs.ErrNotExist):
		return &journal.Error{Path: s.dir, Offset: -1, Err: fmt.Errorf("no trail: %w", journal.ErrNotFound)}
	case err != nil:
		return fmt.Errorf("%s: another process ships this trail: %w", s.dir, err)
	default:
		s.lock = lock
	}
	if s.trail, err = journal.Open(s.dir, &journal.ReadOptions{FS: s.opt.FS}); err != nil {
		return errors.Join(err, s.close())
	}
	if id := s.trail.Identity(); id != s.identity { // another trail by now, so what is known is of no use
		s.identity, s.w = id, nil
	}
	return nil
}

func (s *Shipper) close() (err error) {
	if s.trail != nil {
		err = s.trail.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	s.trail, s.lock = nil, nil
	return err
}

// Close releases the trail. What is not shipped stays in it.
func (s *Shipper) Close() error { return s.close() }

// Step does what is to be done next, and says after which time the next Step has something to do: at once when wait is
// zero. What failed without a clear answer is told to Events.Retry and is no error; an error is final, as those of Run.
func (s *Shipper) Step(ctx context.Context) (wait time.Duration, err error) {
	s.idle = false
	if err := s.wake(); err != nil {
		return 0, err
	}
	if wait := s.again.Sub(s.opt.Clock.Now()); wait > 0 && !s.again.IsZero() {
		return wait, nil
	}
	more, err := s.step(ctx)
	if s.opt.Acks != nil && s.w != nil {
		s.opt.Acks.hold(s.identity, s.result.Last)
	}
	if cause := context.Cause(ctx); cause != nil {
		return 0, cause
	}
	if err == nil {
		s.try, s.failure, s.again = 1, nil, time.Time{}
		if more {
			return 0, nil
		}
		return s.opt.Poll, nil
	}
	if final(err) || s.opt.Once && s.try >= s.opt.Tries {
		return 0, err
	}
	s.try++
	s.failure = err
	pause := objstore.Pause(s.try, s.opt.Pause, s.opt.MostPause)
	if s.opt.Events.Retry != nil {
		s.opt.Events.Retry(err, s.try, pause)
	}
	s.again = s.opt.Clock.Now().Add(pause)
	return pause, nil
}

// Drain ships what there is, without waiting for more, and tells the archive's head how far it is. What fails without
// a clear answer is tried again until ctx ends.
func (s *Shipper) Drain(ctx context.Context) error {
	s.hurry, s.again = true, time.Time{}
	defer func() { s.hurry = false }()
	for {
		wait, err := s.Step(ctx)
		if err != nil {
			return err
		}
		if s.idle {
			return s.hint(ctx, true)
		}
		if wait > 0 {
			if err := s.opt.Clock.Sleep(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// Idle says that the last Step found everything shipped.
func (s *Shipper) Idle() bool { return s.idle }

// Progress of a Shipper.
type Progress struct {
	Trail   journal.TXID // the trail's last transaction, when it was looked at last
	Shipped journal.TXID // the archive's last transaction, as far as it is known
	Waiting time.Time    // since when there is something to ship; zero: there is nothing
	Tries   int          // how often the present step has failed
	Result               // since Open
}

// Progress is what is known without looking.
func (s *Shipper) Progress() Progress {
	return Progress{Trail: s.last, Shipped: s.result.Last, Waiting: s.waiting, Tries: s.try - 1, Result: s.result}
}
