package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// VerifyOptions for Verify; nil means defaults.
type VerifyOptions struct {
	// FS is the file system of the scratch file; default durable.OS.
	FS durable.FS
	// TempDir is for the scratch file, which grows to the size of the
	// database; default os.TempDir().
	TempDir string
	// CacheBytes is the budget of the page cache, in bytes; default 32 MiB.
	CacheBytes int
	// Progress, if set, is called as in Options. PhaseScan and PhaseReplay
	// run beside each other.
	Progress func(Progress)
}

// Report says what Verify found.
type Report struct {
	// Files is what reading every byte found, as far as it got.
	Files journal.Summary
	// Spans are the stretches that were replayed without an error, ascending.
	// In a sound trail there is one for each span of its window.
	Spans []VerifiedSpan
	// Bases that were read in full and had the checksum they state.
	Bases int
	// Problems, in the order of their TXIDs where they have one.
	Problems []Problem
}

// VerifiedSpan is a stretch of transactions that lead from each to the next.
type VerifiedSpan struct {
	journal.Span
	// Base is the TXID of the base that it begins with, 0 for the empty
	// database; First is the same.
	Base journal.TXID
	// Transactions that were replayed.
	Transactions uint64
	// Position after Last.
	Position journal.Position
}

// Problem is one thing that is wrong.
type Problem struct {
	TXID journal.TXID // where, 0 if it belongs to none
	Err  error        // a *MismatchError, a *journal.Error, …
}

// Divergence returns the first transaction whose replay came out differently
// from what its record says, nil if there is none.
func (r *Report) Divergence() *MismatchError {
	for _, p := range r.Problems {
		if e, ok := errors.AsType[*MismatchError](p.Err); ok {
			return e
		}
	}
	return nil
}

// Verify reads every byte of a trail's files and replays every transaction
// from the earliest possible start, in a scratch file that it removes again.
// It checks the blocks, their chain and their indexes, every state checksum,
// the pages of every base, and that a base beside the transactions is the
// state that they lead to. After damage it goes on at the next base. The trail
// may be written, sealed and pruned meanwhile.
//
// The error is nil when all is well. Otherwise it wraps the first problem, or
// says why verifying could not be done; the report is filled in either way.
func Verify(ctx context.Context, trail *journal.Trail, o *VerifyOptions) (Report, error) {
	var opt VerifyOptions
	if o != nil {
		opt = *o
	}
	if opt.FS == nil {
		opt.FS = durable.OS
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	v := verifier{trail: trail, opt: opt, meter: newMeter(opt.Progress), read: make(map[journal.TXID]bool)}
	type scan struct {
		summary journal.Summary
		err     error
	}
	scanned := make(chan scan, 1)
	go func() {
		summary, err := v.scan(ctx)
		scanned <- scan{summary, err}
	}()
	err := v.run(ctx)
	if err != nil {
		cancel()
	}
	found := <-scanned
	v.report.Files = found.summary
	switch {
	case err != nil || found.err == nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case len(found.summary.Damage) == 0:
		v.problem(txidOf(found.err), found.err)
	}
	for _, e := range found.summary.Damage {
		v.problem(txidOf(e), e)
	}
	if err == nil && len(v.report.Problems) > 0 {
		err = v.forget(ctx)
	}
	if err != nil {
		return v.report, err
	}
	return v.report, v.verdict()
}

// forget takes back the problems that are none: what was missing and was
// pruned meanwhile. Prune removes older bases before the segments that they
// lead to, so what is missing after a base that is there was lost.
func (v *verifier) forget(ctx context.Context) error {
	if err := v.trail.Refresh(); err != nil {
		return v.blame(ctx, err)
	}
	segments, err := v.trail.Segments()
	if err != nil {
		return v.blame(ctx, err)
	}
	bases, err := v.trail.Bases()
	if err != nil {
		return v.blame(ctx, err)
	}
	v.report.Problems = slices.DeleteFunc(v.report.Problems, func(p Problem) bool {
		if p.TXID == 0 || len(bases) == 0 || bases[0].TXID <= p.TXID {
			return false
		}
		return errors.Is(p.Err, journal.ErrNotFound) || errors.Is(p.Err, journal.ErrGap) && len(segments) > 0 && segments[0].First > p.TXID
	})
	return nil
}

// verifier is the state of one Verify.
type verifier struct {
	trail  *journal.Trail
	opt    VerifyOptions
	meter  *meter
	report Report
	bases  []journal.BaseInfo
	beside []journal.BaseInfo    // those not yet passed by replaying
	read   map[journal.TXID]bool // bases whose pages have been read in full
}

// scan reads every byte, beside the replay.
func (v *verifier) scan(ctx context.Context) (journal.Summary, error) {
	var all int64
	summary, err := v.trail.Verify(ctx, func(done, total int64) {
		all = total
		v.meter.report(Progress{Phase: PhaseScan, Bytes: done, BytesTotal: total}, false)
	})
	if err == nil {
		v.meter.report(Progress{Phase: PhaseScan, Bytes: all, BytesTotal: all}, true)
	}
	return summary, err
}

func (v *verifier) problem(id journal.TXID, err error) {
	for _, p := range v.report.Problems {
		// Reading and replaying both meet a gap, and say the same of it.
		gap := id != 0 && p.TXID == id && errors.Is(p.Err, journal.ErrGap) && errors.Is(err, journal.ErrGap)
		if gap || p.Err.Error() == err.Error() {
			return
		}
	}
	at := len(v.report.Problems)
	for at > 0 && v.report.Problems[at-1].TXID > id && id != 0 {
		at--
	}
	v.report.Problems = append(v.report.Problems, Problem{})
	copy(v.report.Problems[at+1:], v.report.Problems[at:])
	v.report.Problems[at] = Problem{TXID: id, Err: err}
}

// verdict makes an error of the problems.
func (v *verifier) verdict() error {
	switch n := len(v.report.Problems); n {
	case 0:
		return nil
	case 1:
		return v.report.Problems[0].Err
	default:
		return fmt.Errorf("%d problems, the first: %w", n, v.report.Problems[0].Err)
	}
}

// txidOf finds the TXID in an error, 0 if there is none.
func txidOf(err error) journal.TXID {
	if e, ok := errors.AsType[*MismatchError](err); ok {
		return e.TXID
	}
	if e, ok := errors.AsType[*journal.Error](err); ok {
		return e.TXID
	}
	return 0
}

// run replays the trail span by span, then reads the bases that no span began
// with. It returns only errors that are not the trail's.
func (v *verifier) run(ctx context.Context) error {
	var err error
	if v.bases, err = v.trail.Bases(); err != nil {
		return v.blame(ctx, err)
	}
	v.beside = v.bases
	last, err := v.trail.Last()
	if err != nil {
		return v.blame(ctx, err)
	}
	at, ok, err := v.start()
	if err != nil {
		return v.blame(ctx, err)
	}
	for ok {
		reached, err := v.span(ctx, at, last.TXID)
		if err == nil {
			break
		}
		if err := v.blame(ctx, err); err != nil {
			return err
		}
		at, ok = v.baseAfter(max(at, reached))
	}
	for _, b := range v.bases {
		if err := v.base(ctx, b.TXID); err != nil {
			if err := v.blame(ctx, err); err != nil {
				return err
			}
		}
	}
	return nil
}

// blame keeps an error as a problem of the trail, or returns it if it is not
// the trail's: the context ended, or the scratch file's disk is full.
func (v *verifier) blame(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	for _, is := range []error{
		journal.ErrCorrupt, journal.ErrTorn, journal.ErrGap, journal.ErrDiverged, journal.ErrVersion,
		journal.ErrFlag, journal.ErrForeign, journal.ErrNotFound, journal.ErrRange,
	} {
		if errors.Is(err, is) {
			v.problem(txidOf(err), err)
			return nil
		}
	}
	return err
}

// start is where replaying begins: the empty database if the trail has
// transaction 1 (which may be the Base record of a database that was there
// before its trail), else the first base. There may be neither.
func (v *verifier) start() (journal.TXID, bool, error) {
	segments, err := v.trail.Segments()
	if err != nil {
		return 0, false, err
	}
	for _, s := range segments {
		if s.First == 1 {
			return 0, true, nil
		}
	}
	at, ok := v.baseAfter(0)
	return at, ok, nil
}

// baseAfter is the first base after a TXID.
func (v *verifier) baseAfter(id journal.TXID) (journal.TXID, bool) {
	for _, b := range v.bases {
		if b.TXID > id {
			return b.TXID, true
		}
	}
	return 0, false
}

// span replays from a base, or the empty database if from is 0, as far as it
// goes and at most to last. It returns how far that is.
func (v *verifier) span(ctx context.Context, from, last journal.TXID) (journal.TXID, error) {
	s, err := OpenState(&StateOptions{FS: v.opt.FS, Dir: v.opt.TempDir, CacheBytes: v.opt.CacheBytes, Bases: v.trail})
	if err != nil {
		return from, err
	}
	defer s.Close()
	s.progress, s.source = v.meter, v.trail.Dir()
	if from > 0 {
		v.read[from] = true
		if err := s.loadFrom(ctx, v.trail, from); err != nil {
			return from, err
		}
		v.report.Bases++
	}
	report := VerifiedSpan{Base: from, Span: journal.Span{First: from, FirstTime: s.tx.Time}}
	s.applied = func(id journal.TXID) error {
		if s.tx.TXID == from+1 && from == 0 {
			report.FirstTime = s.tx.Time
		}
		return v.reached(s, id)
	}
	if from < last {
		err = s.replay(ctx, v.trail, last, Progress{})
	}
	id := v.trail.Identity()
	report.Last, report.LastTime = s.tx.TXID, s.tx.Time
	report.Transactions = uint64(s.tx.TXID - from)
	report.Position = journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: s.tx.TXID, Sum: s.sum}
	v.report.Spans = append(v.report.Spans, report)
	return s.tx.TXID, err
}

// reached compares the state with the base of the same TXID, if there is one.
func (v *verifier) reached(s *State, id journal.TXID) error {
	for len(v.beside) > 0 && v.beside[0].TXID < id {
		v.beside = v.beside[1:]
	}
	if len(v.beside) == 0 || v.beside[0].TXID != id {
		return nil
	}
	b := v.beside[0]
	if s.tx.Kind == journal.Base {
		v.read[id] = true
		v.report.Bases++
	} else if b.Sum != s.sum {
		v.problem(id, &MismatchError{TXID: id, What: "base beside the transactions", Want: s.sum, Got: b.Sum})
	}
	return nil
}

// base reads all pages of a base that no span has read.
func (v *verifier) base(ctx context.Context, id journal.TXID) error {
	if v.read[id] {
		return nil
	}
	base, err := v.trail.OpenBase(id)
	if err != nil {
		return err
	}
	defer base.Close()
	nothing := func(uint32, []byte) error { return nil }
	if _, err := readBase(ctx, base, nothing, func(int64) {}); err != nil {
		return err
	}
	v.report.Bases++
	return nil
}
