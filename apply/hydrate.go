package apply

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// Options for Hydrate, HydrateTo and Restore; nil means defaults.
type Options struct {
	// FS is the file system of the output and of scratch files; default
	// durable.OS.
	FS durable.FS
	// Force replaces an output that exists. It does not help with the trail's
	// own database, with anything inside the trail, or with a database that
	// has a WAL or a rollback journal beside it.
	Force bool
	// Mode is the output's; default that of the file it replaces, else what
	// the trail's directory grants to read and write, which is what its
	// database grants.
	Mode fs.FileMode
	// TempDir is for the scratch file of HydrateTo and Restore; default
	// os.TempDir(). It needs room for the database.
	TempDir string
	// CacheBytes is the budget of the page cache, in bytes; default 32 MiB.
	CacheBytes int
	// Changed, if set, is told of the changes to the state that Restore returned: see StateOptions. Those that lead
	// to the target are not told.
	Changed func(tx *journal.Tx, no uint32, old, new []byte)
	// Progress, if set, is called at most every 100 ms and at the end of each
	// phase, never twice at once, from any goroutine. It should not block.
	Progress func(Progress)
}

func (o *Options) withDefaults() Options {
	var opt Options
	if o != nil {
		opt = *o
	}
	if opt.FS == nil {
		opt.FS = durable.OS
	}
	return opt
}

// Result says what was restored.
type Result struct {
	Plan
	// Position is that of the output. Its checksum is that of the bytes read
	// back, and the one that the trail states.
	Position journal.Position
	// PageSize, PageCount and Size, in bytes, of the output.
	PageSize  int
	PageCount uint32
	Size      int64
	// Again says that applying patches early led elsewhere than the trail says,
	// and that applying all of them in the order of transactions did not. The
	// output is as good as any; but it is a fault of this package, or of the
	// machine, and worth a report.
	Again bool
	// Elapsed is the time that the work took.
	Elapsed time.Duration
}

// Hydrate writes the database of target to the new file out: into a temporary
// file beside it, checked, synced and renamed, and its directory synced. When
// it returns an error, out is what it was before, and nothing else is left
// behind. What a killed process left, the next Hydrate to the same output
// removes. See the package comment for what is checked.
//
// The error is an *OutputError when out cannot be written to, a *RangeError
// when the trail cannot restore target, a *MismatchError or a *journal.Error
// when the trail is damaged, or the context's.
func Hydrate(ctx context.Context, trail *journal.Trail, out string, target Target, o *Options) (Result, error) {
	opt := o.withDefaults()
	start := time.Now()
	mode, err := checkOutput(opt.FS, trail.Dir(), out, opt.Force)
	if err != nil {
		return Result{}, err
	}
	if opt.Mode == 0 {
		opt.Mode = mode
	}
	plan, err := Resolve(ctx, trail, target)
	if err != nil {
		return Result{Plan: plan}, err
	}
	result, err := attempt(func(early bool) (Result, error) { return hydrate(ctx, trail, out, plan, &opt, early) })
	if err != nil {
		return Result{Plan: plan}, err
	}
	result.Elapsed = time.Since(start)
	return result, nil
}

// hydrate carries out a plan for Hydrate.
func hydrate(ctx context.Context, trail *journal.Trail, out string, plan Plan, opt *Options, early bool) (Result, error) {
	file, err := createTemp(opt.FS, out, opt.Mode)
	if err != nil {
		return Result{}, outputError(out, "cannot be made", err)
	}
	defer file.unlock()
	s := newState(file.File, StateOptions{FS: opt.FS, CacheBytes: opt.CacheBytes, Bases: trail})
	s.progress = newMeter(opt.Progress)
	s.syncEarly()
	result, err := s.restore(ctx, trail, plan, early)
	if e := s.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = publish(opt.FS, trail.Dir(), file.Name(), out, opt.Force)
	} else if e := opt.FS.Remove(file.Name()); e != nil {
		err = fmt.Errorf("%w (and the temporary file %s is left behind: %v)", err, file.Name(), e)
	}
	return result, err
}

// attempt restores with early patches, and in the order of transactions if
// that leads elsewhere: whether the trail is damaged, and where, is said by
// what does not depend on anything clever.
func attempt(restore func(early bool) (Result, error)) (Result, error) {
	result, err := restore(true)
	if _, ok := errors.AsType[*astrayError](err); !ok {
		return result, err
	}
	result, err = restore(false)
	result.Again = err == nil
	return result, err
}

// astrayError is an error that early patches may be to blame for.
type astrayError struct{ error }

func (e *astrayError) Unwrap() error { return e.error }

// HydrateTo streams the database of target to w. It goes through a scratch
// file, so that the first byte is written only when all have been checked.
// What w was given before an error of w itself is not taken back.
func HydrateTo(ctx context.Context, trail *journal.Trail, w io.Writer, target Target, o *Options) (Result, error) {
	start := time.Now()
	s, result, err := Restore(ctx, trail, target, o)
	if err != nil {
		return result, err
	}
	defer s.Close()
	buffered := bufio.NewWriterSize(w, slabBytes)
	if _, err := s.writeTo(ctx, buffered); err != nil {
		return Result{Plan: result.Plan}, err
	}
	if err := buffered.Flush(); err != nil {
		return Result{Plan: result.Plan}, err
	}
	result.Elapsed = time.Since(start)
	return result, nil
}

// Restore makes the state of target in a scratch file, checked like any
// output, for reading its pages or for applying what follows. The caller
// closes it.
func Restore(ctx context.Context, trail *journal.Trail, target Target, o *Options) (*State, Result, error) {
	opt := o.withDefaults()
	start := time.Now()
	plan, err := Resolve(ctx, trail, target)
	if err != nil {
		return nil, Result{Plan: plan}, err
	}
	var s *State
	result, err := attempt(func(early bool) (Result, error) {
		var err error
		if s, err = OpenState(&StateOptions{FS: opt.FS, Dir: opt.TempDir, CacheBytes: opt.CacheBytes, Bases: trail}); err != nil {
			return Result{}, err
		}
		s.progress = newMeter(opt.Progress)
		result, err := s.restore(ctx, trail, plan, early)
		if err != nil {
			s.Close()
		}
		return result, err
	})
	if err != nil {
		return nil, Result{Plan: plan}, err
	}
	s.told = opt.Changed
	result.Elapsed = time.Since(start)
	return s, result, nil
}

// restore carries out a plan on a new state, and checks what is in the file
// then while it is being synced; early allows patches to be applied with the
// base.
func (s *State) restore(ctx context.Context, trail *journal.Trail, plan Plan, early bool) (Result, error) {
	s.source = trail.Dir()
	if plan.Base == nil {
		return s.carryOut(ctx, trail, plan, nil, nil)
	}
	base, err := trail.OpenBase(plan.Base.TXID)
	if err != nil {
		return Result{}, err
	}
	defer base.Close()
	if !early {
		return s.carryOut(ctx, trail, plan, base, nil)
	}
	a, err := gather(ctx, trail, base.Info(), plan.Tx.TXID)
	if err != nil {
		return Result{}, err
	}
	result, err := s.carryOut(ctx, trail, plan, base, a)
	if a.last > plan.Base.TXID && (errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrDiverged)) {
		err = &astrayError{err}
	}
	return result, err
}

// carryOut goes from a base, nil for the empty database, to the target.
func (s *State) carryOut(ctx context.Context, trail *journal.Trail, plan Plan, base *journal.BaseReader, a *ahead) (Result, error) {
	if base != nil {
		if err := s.load(ctx, base, a); err != nil {
			return Result{}, err
		}
		s.ahead = a
	}
	if err := s.replay(ctx, trail, plan.Tx.TXID, Progress{BytesTotal: plan.PatchBytes}); err != nil {
		return Result{}, err
	}
	if err := s.Flush(ctx); err != nil {
		return Result{}, err
	}
	synced := make(chan error, 1)
	go func() {
		if s.cache.early != nil {
			synced <- errors.Join(s.cache.file.Sync(), s.cache.early.wait())
		}
		close(synced)
	}()
	err := s.readBack(ctx)
	if e := <-synced; err == nil {
		err = e
	}
	if err != nil {
		return Result{}, err
	}
	tx := s.Tx()
	if plan.Tx.TXID != 0 && (plan.Tx.PageSize != tx.PageSize || plan.Tx.PageCount != tx.PageCount) {
		return Result{}, corrupt(trail.Dir(), tx.TXID, fmt.Errorf("%d pages of %d bytes, its index says %d of %d",
			tx.PageCount, tx.PageSize, plan.Tx.PageCount, plan.Tx.PageSize))
	}
	if err := CompareSum(&plan.Tx, tx.Sum); err != nil && plan.Tx.TXID != 0 {
		return Result{}, err
	}
	if plan.Tx.TXID == tx.TXID && tx.TXID != 0 {
		plan.Tx.Sum, plan.Tx.SumKnown = tx.Sum, true
	}
	id := trail.Identity()
	return Result{
		Plan:      plan,
		Position:  journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: tx.Sum},
		PageSize:  tx.PageSize,
		PageCount: tx.PageCount,
		Size:      s.Size(),
	}, nil
}

func (s *State) loadFrom(ctx context.Context, bases BaseSource, id journal.TXID) error {
	base, err := bases.OpenBase(id)
	if err != nil {
		return err
	}
	defer base.Close()
	return s.Load(ctx, base)
}

// readBack hashes the pages that are in the file, on all cores, and compares:
// what replaying computed proves little about what was written where.
func (s *State) readBack(ctx context.Context) error {
	var (
		next  atomic.Int64
		mu    sync.Mutex
		sum   diff.Sum // under mu
		done  int64    // under mu
		first error    // under mu
		wg    sync.WaitGroup
	)
	fail := func(err error) {
		mu.Lock()
		defer mu.Unlock()
		if first == nil {
			first = err
		}
	}
	size := s.Size()
	work := func() {
		buf := make([]byte, slabBytes)
		for {
			off := (next.Add(1) - 1) * slabBytes
			if off >= size {
				return
			}
			if ctx.Err() != nil {
				fail(context.Cause(ctx))
				return
			}
			b := buf[:min(slabBytes, size-off)]
			part, err := s.hashRange(b, off)
			if err != nil {
				fail(err)
				return
			}
			mu.Lock()
			sum = sum.Add(part)
			done += int64(len(b))
			s.progress.report(Progress{Phase: PhaseCheck, Bytes: done, BytesTotal: size}, done == size)
			mu.Unlock()
		}
	}
	for range min(int64(runtime.GOMAXPROCS(0)), size/slabBytes+1) {
		wg.Go(work)
	}
	wg.Wait()
	if first == nil && sum != s.sum {
		first = &MismatchError{TXID: s.tx.TXID, What: "output", Want: s.sum, Got: sum}
	}
	return first
}

// hashRange reads whole pages at off and adds up their hashes.
func (s *State) hashRange(b []byte, off int64) (diff.Sum, error) {
	var sum diff.Sum
	if _, err := s.cache.file.ReadAt(b, off); err != nil {
		return sum, err
	}
	size := s.tx.PageSize
	lock := diff.LockPage(size)
	no := uint32(off/int64(size)) + 1
	for ; len(b) > 0; b, no = b[size:], no+1 {
		if no == lock {
			if !allZero(b[:size]) {
				return sum, fmt.Errorf("lock-byte page %d is not empty", no)
			}
			continue
		}
		sum = sum.Add(diff.PageSum(no, b[:size]))
	}
	return sum, nil
}
