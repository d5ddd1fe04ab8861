package sidecar

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for New. Sources and Open are needed.
type Options struct {
	Sources []Source
	// Open opens the store that a URL names.
	Open func(ctx context.Context, url string) (objstore.Store, error)
	// Seal encrypts the part of a store that an archive is in, whose name in messages is name; default: not.
	Seal func(s objstore.Store, name string) (objstore.Store, error)
	// StoreName is a store's name in messages; default its URL.
	StoreName func(url string) string
	Name      string                // of this writer; default machine, process and trail
	Mend      bool                  // as ship.Options
	Interval  time.Duration         // as ship.Options
	Batch     int64                 // as ship.Options.BatchBytes
	Workers   int                   // that ship; default 8
	Scan      time.Duration         // how often databases are looked for; default 10 s
	Look      time.Duration         // how often those at rest are looked at; default 1 s
	Rest      time.Duration         // how long nothing must change before one rests; default 10 s
	Retry     time.Duration         // how long a database rests after an error that may go away; default 30 s
	Grace     time.Duration         // how long Run ships on after its context ended; default 30 s
	Limit     objstore.LimitOptions // of all stores together
	Log       *slog.Logger          // default: discard
}

// Source is one database, or all that a pattern matches or a directory has.
type Source struct {
	Path    string        // of one; it need not exist yet
	Glob    string        // or a pattern
	Dir     string        // or a directory, with all below it: those with a trail, or with Capture every file that is a database
	Trail   string        // of one; default its path and "-pagetrail"
	Capture bool          // its programs do not use the VFS
	Keep    time.Duration // as ship.Options
	// KeepBytes is as in ship.Options, and Quota, with Capture, as in vfs.WatchOptions.
	KeepBytes, Quota int64
	To               string                            // URL of a store
	Key              func(path string) (string, error) // of the archive in it
}

// captureWorkers do the steps of watchers, none of which waits for anything but the disk, and some milliseconds for a
// checkpoint of a writer that does not pause.
const captureWorkers = 4

// Sidecar looks after databases until Run ends.
type Sidecar struct {
	opt     Options
	log     *slog.Logger
	started time.Time
	meter   objstore.Meter
	limiter *objstore.Limiter
	totals  totals
	ready   atomic.Bool  // the databases were looked for once
	beat    atomic.Int64 // when the loop came round last, unix nanoseconds
	reload  chan []Source

	// What follows belongs to Run's goroutine; the map and the status in each entry are changed under mu, for Status.
	mu      sync.Mutex
	entries map[string]*entry
	active  []*entry
	names   map[archiveName]string // path of the database whose archive it is
	unread  map[string]bool        // what could not be looked into below a Source.Dir
	roots   map[string]*root
	sources []Source
	once    bool          // tries are limited
	pause   time.Duration // before the second try; zero: that of package ship
	ship    pool
	watch   pool
}

// New makes a Sidecar. Nothing is opened or asked yet, but the stores' names are checked.
func New(ctx context.Context, o *Options) (*Sidecar, error) {
	s := &Sidecar{
		opt: *o, started: time.Now(), entries: map[string]*entry{}, names: map[archiveName]string{}, unread: map[string]bool{},
		roots: map[string]*root{}, reload: make(chan []Source), sources: o.Sources, limiter: objstore.NewLimiter(o.Limit),
	}
	for _, d := range []struct {
		is *time.Duration
		or time.Duration
	}{{&s.opt.Scan, 10 * time.Second}, {&s.opt.Look, time.Second}, {&s.opt.Rest, 10 * time.Second}, {&s.opt.Retry, 30 * time.Second}, {&s.opt.Grace, 30 * time.Second}} {
		if *d.is <= 0 {
			*d.is = d.or
		}
	}
	if s.opt.Workers <= 0 {
		s.opt.Workers = 8
	}
	if s.opt.Seal == nil {
		s.opt.Seal = func(s objstore.Store, _ string) (objstore.Store, error) { return s, nil }
	}
	if s.opt.StoreName == nil {
		s.opt.StoreName = func(url string) string { return url }
	}
	if s.log = s.opt.Log; s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, s.openRoots(ctx, o.Sources)
}

// Reload replaces the sources: databases that are not in them any more are shipped to their end and let go, those
// whose settings changed begin anew. It may be called while Run is running.
func (s *Sidecar) Reload(ctx context.Context, sources []Source) error {
	if err := s.openRoots(ctx, sources); err != nil {
		return err
	}
	select {
	case s.reload <- sources:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// UnshippedError says that Run ended before everything was shipped.
type UnshippedError struct {
	Databases []string // a few of them
	Count     int
	Err       error // why, of one
}

func (e *UnshippedError) Error() string {
	if e.Count == 1 {
		return fmt.Sprintf("%s has transactions that were not shipped: %v; they are in its trail", e.Databases[0], e.Err)
	}
	return fmt.Sprintf("%d databases have transactions that were not shipped, such as %s: %v; they are in their trails", e.Count, e.Databases[0], e.Err)
}

func (e *UnshippedError) Unwrap() error { return e.Err }

// Run looks after the databases until ctx ends, then ships what there is for at most Options.Grace: nil when that was
// everything, else an *UnshippedError. Neither it nor Once is called twice.
func (s *Sidecar) Run(ctx context.Context) error {
	interrupt, end := s.start(ctx)
	defer end()
	var scan, look time.Time
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		s.beat.Store(now.UnixNano())
		if !now.Before(scan) {
			s.find()
			scan = now.Add(s.opt.Scan)
			s.ready.Store(true)
		}
		if !now.Before(look) {
			s.look(now)
			look = now.Add(s.opt.Look)
		}
		due := s.dispatch(now, earlier(scan, look))
		timer.Reset(max(time.Until(due), time.Millisecond))
		select {
		case <-ctx.Done():
		case <-timer.C:
		case t := <-s.ship.done:
			s.finished(t)
		case t := <-s.watch.done:
			s.finished(t)
		case s.sources = <-s.reload:
			scan = time.Time{}
		}
	}
	s.log.Info("ending: shipping what there is", "grace", s.opt.Grace)
	graced, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opt.Grace)
	defer cancel()
	return s.drain(graced, interrupt)
}

// Once looks for the databases, records and ships what there is, and ends: nil when that was everything, else an
// *UnshippedError, also when ctx ends before. A store that is away is tried as often as ship.Options.Tries has it.
func (s *Sidecar) Once(ctx context.Context) error {
	s.once = true
	interrupt, end := s.start(ctx)
	defer end()
	return s.drain(ctx, interrupt)
}

// start starts the workers. interrupt ends what they are at, and end the workers, when they are at nothing.
func (s *Sidecar) start(ctx context.Context) (interrupt, end func()) {
	work, interrupt := context.WithCancel(context.WithoutCancel(ctx))
	s.ship.start(work, s.opt.Workers)
	s.watch.start(work, captureWorkers)
	return interrupt, func() {
		s.watch.stop()
		s.ship.stop()
		interrupt()
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// root is a store that archives are in.
type root struct {
	store  objstore.Store
	name   string
	mu     sync.Mutex // for probed
	probed bool
}

// openRoots opens the stores of sources that are not open yet.
func (s *Sidecar) openRoots(ctx context.Context, sources []Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range sources {
		if s.roots[src.To] != nil {
			continue
		}
		store, err := s.opt.Open(ctx, src.To)
		if err != nil {
			return err
		}
		s.roots[src.To] = &root{store: s.limiter.Limit(objstore.Metered(store, &s.meter)), name: s.opt.StoreName(src.To)}
	}
	return nil
}

// Close closes the stores, after Run.
func (s *Sidecar) Close() error {
	var errs []error
	for _, r := range s.roots {
		errs = append(errs, r.store.Close())
	}
	return errors.Join(errs...)
}

// probe finds out once whether a store does what it says.
func (r *root) probe(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.probed {
		return nil
	}
	err := objstore.Probe(ctx, r.store)
	r.probed = err == nil
	return err
}
