package ship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Run. Store is needed.
type Options struct {
	// Store is where the archive is, at its prefix (objstore.Sub). It is not closed.
	Store objstore.Store
	// Archive is its name in messages; default "archive".
	Archive string
	// Name of this writer, which others are told when they find the archive held; default machine, process and trail.
	Name string
	// Once ships what there is, and returns.
	Once bool
	// Interval is how long a transaction waits for others to share its batch; default 1 s.
	Interval time.Duration
	// BatchBytes of the trail's tail end the wait, and of patches, uncompressed, a batch; default 1 MiB. A batch that
	// holds a large transaction is larger.
	BatchBytes int64
	// Poll is how often the trail is looked at, which costs two calls of the system; default 100 ms.
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
	// FS of the trail and of temporary files; default durable.OS.
	FS durable.FS
	// TempDir is for batches over 4 MiB; default os.TempDir().
	TempDir string
	// Clock for waiting; default the system's.
	Clock Clock
	// Events, if set, are told what happens.
	Events Events
}

// Clock is what Run knows of time; tests have their own.
type Clock interface {
	Now() time.Time
	// Sleep returns nil after d, or the cause when ctx ends before.
	Sleep(ctx context.Context, d time.Duration) error
}

type systemClock struct{}

func (systemClock) Now() time.Time                                   { return time.Now() }
func (systemClock) Sleep(ctx context.Context, d time.Duration) error { return objstore.Sleep(ctx, d) }

// Events are called by Run, in order, each if it is set. They should not block.
type Events struct {
	Claimed func(from archive.Holder, after journal.TXID) // the archive is ours; who held it, and its last transaction
	Base    func(id journal.TXID, size int64)
	Batch   func(b journal.Batch)
	Retry   func(err error, try int, pause time.Duration)
}

func (o *Options) filled(dir string) (Options, error) {
	f := *o
	if f.Store == nil {
		return f, errors.New("ship: no store given")
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
	// Last transaction that the archive is known to hold.
	Last journal.TXID
}

// lockName is the file in the trail that its shipper locks.
const lockName = "lock-ship"

// Run ships the trail in a directory until ctx ends, or with Once until all is shipped. The error is the context's, or
// says why there is no going on: journal.ErrLocked when another process ships this trail, or another writer took the
// archive (*archive.HeldError); journal.ErrDiverged, ErrGap, ErrForeign when trail and archive do not belong together.
func Run(ctx context.Context, dir string, o *Options) (Result, error) {
	opt, err := o.filled(dir)
	if err != nil {
		return Result{}, err
	}
	lock, err := opt.FS.Lock(filepath.Join(dir, lockName), 0o644, true, false)
	switch {
	case errors.Is(err, fs.ErrPermission): // a trail that may only be read: the archive's fence must do
	case errors.Is(err, fs.ErrNotExist):
		return Result{}, &journal.Error{Path: dir, Offset: -1, Err: fmt.Errorf("no trail: %w", journal.ErrNotFound)}
	case err != nil:
		return Result{}, fmt.Errorf("%s: another process ships this trail: %w", dir, err)
	default:
		defer lock.Close()
	}
	trail, err := journal.Open(dir, &journal.ReadOptions{FS: opt.FS})
	if err != nil {
		return Result{}, err
	}
	s := &shipper{opt: opt, dir: dir, trail: trail, spool: spool{fs: opt.FS, dir: opt.TempDir}}
	err = s.run(ctx)
	return s.result, errors.Join(err, s.spool.Close(), trail.Close())
}

// shipper is the state of one Run.
type shipper struct {
	opt    Options
	dir    string
	trail  *journal.Trail
	spool  spool
	result Result

	probed  bool
	w       *archive.Writer // nil: to be connected
	from    journal.TXID    // of the first batch, when prev is nil
	prev    *journal.Batch  // the archive's last
	bases   map[journal.TXID]int64
	waiting time.Time // since when there is something to ship; zero: there is nothing
	seen    int64     // size of the tail when something was shipped last
}

// run does one step after the other.
func (s *shipper) run(ctx context.Context) error {
	try := 1
	for {
		more, err := s.step(ctx)
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		switch {
		case err == nil:
			try = 1
			if !more && s.opt.Once {
				return s.hint(ctx, true)
			}
		case final(err) || s.opt.Once && try >= s.opt.Tries:
			return err
		default:
			try++
			pause := objstore.Pause(try, s.opt.Pause, s.opt.MostPause)
			if s.opt.Events.Retry != nil {
				s.opt.Events.Retry(err, try, pause)
			}
			if err := s.opt.Clock.Sleep(ctx, pause); err != nil {
				return err
			}
			more = true
		}
		if !more {
			if err := s.opt.Clock.Sleep(ctx, s.opt.Poll); err != nil {
				return err
			}
		}
	}
}

// final says that trying again is of no use.
func final(err error) bool {
	for _, is := range []error{
		journal.ErrDiverged, journal.ErrGap, journal.ErrForeign, journal.ErrCorrupt, journal.ErrVersion, journal.ErrFlag,
		journal.ErrLocked, journal.ErrRange, objstore.ErrDenied, objstore.ErrNoBucket, objstore.ErrKey, objstore.ErrReadOnly,
		objstore.ErrLies, fs.ErrPermission,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// next is the transaction that the next batch begins with.
func (s *shipper) next() journal.TXID {
	if s.prev == nil {
		return s.from
	}
	return s.prev.Last + 1
}

// step does what is to be done next; more says that there may be more at once.
func (s *shipper) step(ctx context.Context) (more bool, err error) {
	if err := s.trail.Refresh(); err != nil {
		return false, err
	}
	if s.w == nil {
		return true, s.connect(ctx)
	}
	last, err := s.trail.Last()
	if err != nil {
		return false, err
	}
	switch {
	case last.TXID+1 < s.next():
		return false, s.behind(last.TXID)
	case last.TXID < s.next():
		s.waiting = time.Time{}
		return false, nil
	case !s.due():
		return false, nil
	}
	if err := s.ship(ctx, last.TXID); err != nil {
		return false, err
	}
	s.seen = s.trail.Tail().Size
	if s.prev != nil && s.prev.Last >= last.TXID {
		s.waiting = time.Time{}
	}
	return true, nil
}

// due says that what waits has waited long enough, or is enough.
func (s *shipper) due() bool {
	if s.waiting.IsZero() {
		s.waiting = s.opt.Clock.Now()
	}
	tail := s.trail.Tail()
	return s.opt.Once || s.opt.Clock.Now().Sub(s.waiting) >= s.opt.Interval ||
		tail.First > s.next() || tail.Size-s.seen >= s.opt.BatchBytes
}

func (s *shipper) behind(last journal.TXID) error {
	return &journal.Error{
		Path: s.dir, Offset: -1, TXID: s.next() - 1, Hint: "this trail was cut or copied back; give it a prefix of its own",
		Err: fmt.Errorf("the archive %s ends with transaction %d, the trail with %d: %w", s.opt.Archive, s.next()-1, last, journal.ErrDiverged),
	}
}

// connect finds out where the archive ends, and claims it: steps 1 and 2 of the package comment.
func (s *shipper) connect(ctx context.Context) error {
	if !s.probed {
		if err := objstore.Probe(ctx, s.opt.Store); err != nil {
			return err
		}
		s.probed = true
	}
	w, err := archive.OpenWriter(ctx, s.opt.Store, archive.WriterOptions{Archive: s.opt.Archive, Identity: s.trail.Identity(), Name: s.opt.Name})
	if err != nil {
		return err
	}
	prev, err := w.Last(ctx)
	if err != nil {
		return err
	}
	var from journal.TXID
	if prev != nil {
		err = s.continues(ctx, prev)
	} else {
		from, err = s.begin(ctx)
	}
	if err != nil {
		return err
	}
	bases, err := w.Bases(ctx)
	if err != nil {
		return err
	}
	before := w.Holder()
	if err := w.Claim(ctx); err != nil {
		return err
	}
	s.w, s.prev, s.from, s.bases = w, prev, from, bases
	s.result.Last = s.next() - 1
	if s.opt.Events.Claimed != nil {
		s.opt.Events.Claimed(before, s.next()-1)
	}
	return nil
}

// continues checks that the trail goes on from what the archive ends with.
func (s *shipper) continues(ctx context.Context, b *journal.Batch) error {
	err := s.trail.Continues(ctx, b)
	var out *journal.RangeError
	if !errors.As(err, &out) {
		return err
	}
	if out.Want > out.Last {
		s.prev = b
		return s.behind(out.Last)
	}
	return &journal.Error{
		Path: s.dir, Offset: -1, TXID: b.Last + 1, Hint: "give it another prefix; what is in this one can be restored up to there",
		Err: fmt.Errorf("the archive %s ends with transaction %d, the trail begins with %d: %w", s.opt.Archive, b.Last, out.First, journal.ErrGap),
	}
}

// begin is where an archive begins that has no batch: with the oldest state from which the trail leads to its end.
func (s *shipper) begin(ctx context.Context) (journal.TXID, error) {
	window, err := s.trail.Window(ctx)
	if err != nil {
		return 0, err
	}
	last, err := s.trail.Last()
	if err != nil {
		return 0, err
	}
	n := len(window.Spans)
	if n == 0 && last.TXID == 0 {
		return 1, nil
	}
	if n == 0 || window.Spans[n-1].Last < last.TXID {
		return 0, &journal.Error{
			Path: s.dir, Offset: -1, TXID: last.TXID, Err: fmt.Errorf("the trail has no base for its last transactions: %w", journal.ErrGap),
			Hint: "pagetrail window shows what is missing",
		}
	}
	start := window.Spans[n-1].First
	from, err := s.trail.Start(max(start, 1))
	if errors.Is(err, journal.ErrRange) { // the base's own record is gone
		from, err = s.trail.Start(start + 1)
	}
	return from, err
}

// ship sends the next batch, of transactions up to to: steps 3 to 5.
func (s *shipper) ship(ctx context.Context, to journal.TXID) error {
	if s.opt.Sync != nil {
		if err := s.opt.Sync(ctx); err != nil {
			return fmt.Errorf("sync of the primary before a batch: %w", err)
		}
	}
	if err := s.spool.reset(); err != nil {
		return err
	}
	b, err := s.trail.WriteBatch(ctx, &s.spool, s.prev, s.from, &journal.BatchOptions{Bytes: s.opt.BatchBytes, To: to})
	if err != nil {
		return err
	}
	if err := s.sendBases(ctx, b.Last); err != nil {
		return err
	}
	err = s.w.PutBatch(ctx, &b, &s.spool)
	if errors.Is(err, objstore.ErrExists) {
		return s.adopt(ctx, b.First)
	}
	if err != nil {
		return err
	}
	s.result.Batches++
	s.result.Transactions += uint64(b.Last - b.First + 1)
	s.result.Bytes += b.Size
	s.went(&b)
	if s.opt.Events.Batch != nil {
		s.opt.Events.Batch(b)
	}
	return s.hint(ctx, false)
}

// hint tells the head how far the archive is. One that could not be written is written with another batch.
func (s *shipper) hint(ctx context.Context, now bool) error {
	err := s.w.Hint(ctx, s.next(), now)
	if _, held := errors.AsType[*archive.HeldError](err); held {
		return err
	}
	return nil
}

func (s *shipper) went(b *journal.Batch) {
	s.prev, s.result.Last = b, b.Last
}

// adopt takes a batch that is there already for the one that was to be written, if it is of this history.
func (s *shipper) adopt(ctx context.Context, first journal.TXID) error {
	there, err := s.w.Batch(ctx, first)
	if err != nil {
		return err
	}
	if err := s.continues(ctx, there); err != nil {
		return fmt.Errorf("the archive has another batch from transaction %d on: %w", first, err)
	}
	s.went(there)
	return nil
}

// sendBases sends the bases up to a transaction that the archive lacks.
func (s *shipper) sendBases(ctx context.Context, to journal.TXID) error {
	bases, err := s.trail.Bases()
	if err != nil {
		return err
	}
	first := s.from
	if s.prev != nil && first == 0 {
		first = 1 // older ones than the archive's first batch do no harm
	}
	for _, info := range bases {
		if _, there := s.bases[info.TXID]; there || info.TXID+1 < first || info.TXID > to {
			continue
		}
		if err := s.sendBase(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

func (s *shipper) sendBase(ctx context.Context, info journal.BaseInfo) (err error) {
	// A base that is not the state of its transaction is what a crash left: OpenBase compares.
	b, err := s.trail.OpenBase(info.TXID)
	if errors.Is(err, journal.ErrDiverged) || errors.Is(err, journal.ErrNotFound) {
		s.bases[info.TXID] = 0
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	f, err := s.opt.FS.OpenFile(filepath.Join(s.dir, info.Name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.w.PutBase(ctx, info.TXID, f, info.Size); err != nil {
		return err
	}
	s.bases[info.TXID] = info.Size
	s.result.Bases++
	s.result.Bytes += info.Size
	if s.opt.Events.Base != nil {
		s.opt.Events.Base(info.TXID, info.Size)
	}
	return nil
}
