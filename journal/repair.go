package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/pause"
)

// RepairOptions for PlanRepair and Repair; nil means defaults.
type RepairOptions struct {
	FS   durable.FS  // default durable.OS
	Mode fs.FileMode // of files created, default 0644; directories get the x bits of its r bits
	// Wait is how long the locks of others, who hold them for a commit, are waited for. Default: not at all.
	Wait time.Duration
}

// RepairStep is one thing that Repair does.
type RepairStep struct {
	File string // in the trail, which it is about
	Do   string // what is done to it, to follow its name
	Why  error  // what is wrong with it; nil when the step only completes others

	run func() error
}

// RepairPlan says what Repair does, in this order, and what can be had of the trail after that.
type RepairPlan struct {
	Evidence string // directory in the trail that damaged files are moved to; empty when none are
	Steps    []RepairStep
	// Unhealed are what is wrong and stays so: whole files that are not one history.
	Unhealed []error
	After    Window // what can be restored, and what is gone
	First    TXID   // the first transaction, restorable or not
	Last     TXID   // the last one
	// Bridge says that Last cannot be restored, since what it builds on is gone: a base of its state, which the
	// database may still be in, would make it and all that follow restorable.
	Bridge bool
	// Again says that the numbers of transactions after Last may have been given before, to some that are lost. An
	// archive or a follower that has these will not go on from here.
	Again bool
}

// PlanRepair says what Repair would do, and changes nothing. Of a trail that is being written to, what is just being
// appended may look like a torn tail. ErrLocked when a writer is at it at this moment.
func PlanRepair(ctx context.Context, dir string, o *RepairOptions) (*RepairPlan, error) {
	r := newRepair(dir, o)
	// A lock file that is not there is locked by nobody, and making one would be a change.
	locks, err := r.lock(ctx, func(name string) bool {
		_, err := r.fs.Stat(name)
		return err == nil
	})
	if errors.Is(err, fs.ErrPermission) {
		err = nil
	}
	if err != nil {
		return nil, err
	}
	plan, err := r.plan(ctx)
	return plan, errors.Join(err, locks.close())
}

// Repair heals what can be healed in a trail's directory, by a plan in whose middle it can be stopped at any step: the
// next one plans anew from what is there, and comes to the same end. It deletes nothing: what is damaged, or left over by crashes, is
// moved to a directory in the trail.
//
//   - An identity file that is missing or damaged is made again from the headers of segments and bases.
//   - Files that a crash left half made, files of other databases, bases that are damaged or belong to no transaction
//     are moved.
//   - Of a damaged segment the blocks that are whole go on as segments of their own. What lay in the others is a gap.
//   - A tail is cut after its last whole block. When whole ones follow the damage, it is ended, and another begun, as
//     for any segment; programs that have it open notice.
//
// Writers wait meanwhile. It refuses while one is at work, or a Seal, a Prune, or a base being written: ErrLocked; and
// where a newer version wrote: ErrVersion or ErrFlag. Without anything to do it changes nothing.
func Repair(ctx context.Context, dir string, o *RepairOptions) (*RepairPlan, error) {
	// Most trails are well, and then nobody has to wait for their being read.
	if plan, err := PlanRepair(ctx, dir, o); err != nil || len(plan.Steps) == 0 {
		return plan, err
	}
	r := newRepair(dir, o)
	locks, err := r.lock(ctx, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	plan, err := r.plan(ctx)
	if err == nil {
		err = plan.run(ctx)
	}
	return plan, errors.Join(err, locks.close())
}

func (p *RepairPlan) run(ctx context.Context) error {
	for _, s := range p.Steps {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.run(); err != nil {
			return fmt.Errorf("%s: %w", s.File, err)
		}
	}
	return nil
}

// repair is the state of one planning.
type repair struct {
	fs   durable.FS
	o    WriterOptions
	wait time.Duration
	dir  string
	id   Identity
	p    RepairPlan
	list *listing

	whole []*stretchOfSegment // that stay, or will be there: ascending when the plan is made
	bases []BaseInfo
	moved map[string]bool

	installed map[string]bool // files that are put in place
}

// stretchOfSegment is a segment that is whole, or a piece of one.
type stretchOfSegment struct {
	meta  segmentMeta
	after state
	chain chainHash // of a sealed one, to compare with what the next says
	hdr   fileHeader
	piece *piece // nil: a file that stays as it is
	file  string // that it is, or is in
}

func newRepair(dir string, o *RepairOptions) *repair {
	var opt RepairOptions
	if o != nil {
		opt = *o
	}
	w := (&WriterOptions{FS: opt.FS, Mode: opt.Mode}).filled()
	return &repair{fs: w.FS, o: w, wait: opt.Wait, dir: dir, moved: map[string]bool{}, installed: map[string]bool{}}
}

// repairLocks are held while a trail is looked at or changed.
type repairLocks []durable.Lock

func (l repairLocks) close() error {
	var errs []error
	for _, lock := range l {
		errs = append(errs, lock.Close())
	}
	return errors.Join(errs...)
}

// lock takes the locks of who writes, seals and makes bases; those that want says. Either all are taken or none is held,
// so that waiting for one keeps nobody from another.
func (r *repair) lock(ctx context.Context, want func(path string) bool) (repairLocks, error) {
	end := time.Now().Add(r.wait)
	for {
		held, err := r.tryLock(want)
		if !errors.Is(err, ErrLocked) || !time.Now().Before(end) {
			return held, err
		}
		if err := pause.For(ctx, 2*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (r *repair) tryLock(want func(path string) bool) (repairLocks, error) {
	var held repairLocks
	for _, name := range []string{lockName, sealLockName, baseLockName} {
		path := filepath.Join(r.dir, name)
		if !want(path) {
			continue
		}
		lock, err := r.fs.Lock(path, r.o.Mode, true, false)
		if err != nil {
			return nil, errors.Join(err, held.close())
		}
		held = append(held, lock)
	}
	return held, nil
}

// step appends a step to the plan.
func (r *repair) step(file, do string, why error, run func() error) {
	r.p.Steps = append(r.p.Steps, RepairStep{File: file, Do: do, Why: why, run: run})
}

// move plans to move a file to the evidence.
func (r *repair) move(name, as string, why error) {
	if r.moved[name] {
		return
	}
	r.moved[name] = true
	dir := r.evidence()
	r.step(name, "move to "+dir+string(filepath.Separator)+as, why, func() error {
		err := r.makeEvidence(dir)
		if err == nil {
			err = r.fs.Rename(filepath.Join(r.dir, name), filepath.Join(r.dir, dir, as))
		}
		if err != nil {
			return err
		}
		return errors.Join(r.fs.SyncDir(filepath.Join(r.dir, dir)), r.fs.SyncDir(r.dir))
	})
}

// evidence is the name of the directory for what is moved.
func (r *repair) evidence() string {
	for n := 1; r.p.Evidence == ""; n++ {
		name := fmt.Sprintf("%s%d", evidencePrefix, n)
		if _, err := r.fs.Stat(filepath.Join(r.dir, name)); err != nil {
			r.p.Evidence = name
		}
	}
	return r.p.Evidence
}

// makeEvidence makes it, unless that was done.
func (r *repair) makeEvidence(name string) error {
	err := r.fs.Mkdir(filepath.Join(r.dir, name), dirMode(r.o.Mode))
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, r.fs.SyncDir(r.dir))
}

// keep plans to copy bytes of a file to the evidence.
func (r *repair) keep(name, as string, from int64, why error) {
	dir := r.evidence()
	what := "copy it to "
	if from > 0 {
		what = fmt.Sprintf("copy what follows byte %d to ", from)
	}
	r.step(name, what+dir+string(filepath.Separator)+as, why, func() error {
		if err := r.makeEvidence(dir); err != nil {
			return err
		}
		src, err := r.fs.OpenFile(filepath.Join(r.dir, name), readOnly, 0)
		if err != nil {
			return err
		}
		size, err := src.Size()
		if err != nil {
			return joinClose(err, src)
		}
		dst, err := r.fs.OpenFile(filepath.Join(r.dir, dir, as), os.O_RDWR|os.O_CREATE|os.O_TRUNC, r.o.Mode)
		if err != nil {
			return joinClose(err, src)
		}
		if from < size {
			err = copyRange(dst, src, from, size)
		}
		if err == nil {
			err = dst.Sync()
		}
		return errors.Join(err, dst.Close(), src.Close(), r.fs.SyncDir(filepath.Join(r.dir, dir)))
	})
}
