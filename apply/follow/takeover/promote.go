package takeover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// trailSuffix follows the name of a database in the name of its trail.
const trailSuffix = "-pagetrail"

// takeover is a Promote under way.
type takeover struct {
	path string
	perm fs.FileMode
	o    Options
	mark replica.Mark // where the replica was at the beginning
	keep bool         // it keeps a trail of its own
	plan *plan
}

// Promote makes the replica at path a primary: see the package comment for the steps. When it was stopped, calling it
// again goes on.
//
// The error is an *[archive.HeldError] when another took over, and then the replica is one still; a [journal.ErrLocked]
// while its follower runs; a [journal.ErrDiverged] when it is not in the archive's history, or not where it is expected;
// a [journal.ErrNotFound] when the file is no replica, or the archive is empty; an [fs.ErrInvalid] when nothing says
// how the old primary is kept from writing.
func Promote(ctx context.Context, path string, o *Options) (*Result, error) {
	t := &takeover{o: *o}
	if err := t.look(path); err != nil {
		return nil, err
	}
	if t.plan == nil && !replica.Is(t.path) {
		return t.done()
	}
	if t.o.Store == nil && t.o.Primary == nil && !t.o.Force {
		return nil, fmt.Errorf("%s: without an archive nothing keeps the old primary from writing: %w", t.path, fs.ErrInvalid)
	}
	var err error
	if replica.Is(t.path) {
		if t.mark, err = replica.Position(t.path); err != nil {
			return nil, err
		}
	}
	if err := t.begun(ctx); err != nil { // 1
		return nil, err
	}
	if t.plan.Start == nil {
		if err := t.prepare(ctx); err != nil { // 2 to 5
			return nil, err
		}
	}
	if t.o.Store != nil {
		if err := t.take(ctx); err != nil { // 6
			return nil, err
		}
	}
	return t.finish() // 7 to 9
}

// look finds out what is there. The plan is set if there is one.
func (t *takeover) look(path string) (err error) {
	if t.path, err = filepath.Abs(path); err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(t.path); err == nil {
		t.path = real
	}
	info, err := os.Stat(t.path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: there is no replica: %w", t.path, journal.ErrNotFound)
	}
	if err != nil {
		return err
	}
	t.perm = info.Mode().Perm()
	if t.o.Archive == "" {
		t.o.Archive = "archive"
	}
	if t.o.Trail == "" {
		t.o.Trail = t.path + trailSuffix
	}
	if t.o.Name == "" {
		host, _ := os.Hostname() // a name is for people: without it there is the path
		t.o.Name = host + " " + t.path
	}
	if t.o.hook == nil {
		t.o.hook = func(string) error { return nil }
	}
	_, err = os.Stat(filepath.Join(t.o.Trail, "identity"))
	t.keep = err == nil
	t.plan, err = readPlan(t.path)
	return err
}

// step does something that changes a file or the archive.
func (t *takeover) step(name string, do func() error) error {
	if err := t.o.hook(name); err != nil {
		return err
	}
	return do()
}

// done is what is said of a database that is no replica: it may have been promoted before.
func (t *takeover) done() (*Result, error) {
	trail, err := journal.Open(t.o.Trail, nil)
	if errors.Is(err, journal.ErrNotFound) {
		return nil, fmt.Errorf("%s: %w", t.path, replica.ErrNone)
	}
	if err != nil {
		return nil, err
	}
	id := trail.Identity()
	if err := trail.Close(); err != nil {
		return nil, err
	}
	if id.Parent == nil {
		return nil, fmt.Errorf("%s: it is a primary, and always was: %w", t.path, replica.ErrNone)
	}
	return &Result{Position: *id.Parent, Timeline: id.Timeline, Trail: t.o.Trail, Already: true}, nil
}

// prepare does what comes before the claim, up to the point that the next timeline begins at.
func (t *takeover) prepare(ctx context.Context) (err error) {
	var s *start
	catchUp := func(r *archive.Reader) (err error) {
		s, err = t.catchUp(ctx, r.Trail)
		return err
	}
	if t.o.Store == nil {
		s, err = t.catchUp(ctx, t.o.Primary)
	} else {
		err = t.withArchive(ctx, catchUp) // 2
	}
	if err != nil { // nothing is decided: it can be followed into again
		return errors.Join(err, remove(t.path+replica.TakeoverSuffix))
	}
	if t.o.Store != nil {
		err = t.withArchive(ctx, func(r *archive.Reader) error { return t.end(ctx, r) }) // 3
		if err == nil {
			err = t.withArchive(ctx, catchUp) // 4
		}
		if err != nil {
			return err
		}
	}
	t.plan.Start = s
	return t.step("write where the timeline begins", func() error { return t.plan.write(t.path, t.perm) }) // 5
}

// withArchive opens the archive as it is now. When it is at another timeline than the one that the plan ends, somebody
// else took over meanwhile.
func (t *takeover) withArchive(ctx context.Context, do func(*archive.Reader) error) error {
	r, err := archive.Open(ctx, t.o.Store, &archive.Options{Name: t.o.Archive})
	if err != nil {
		return err
	}
	h, id := r.Head(), r.Identity()
	switch {
	case id.Database != t.mark.Database:
		err = fmt.Errorf("%s is a replica of database %v, and the archive %s is of %v: %w",
			t.path, t.mark.Database, t.o.Archive, id.Database, journal.ErrForeign)
	case t.plan.Ends != 0 && h.Timeline != t.plan.Ends:
		err = t.lost(heldBy(t.o.Archive, r))
	default:
		err = do(r)
	}
	return errors.Join(err, r.Close())
}

// heldBy says who has an archive, and where its timeline began.
func heldBy(name string, r *archive.Reader) error {
	held := &archive.HeldError{Archive: name, Holder: r.Head().Writer, Timeline: r.Head().Timeline}
	if p := r.Identity().Parent; p != nil {
		held.After = p.TXID
	}
	return held
}

// lost gives up: what was written down leads nowhere, another's timeline is what the replica goes on to follow.
func (t *takeover) lost(err error) error {
	return fmt.Errorf("%s stays a replica: %w", t.path, errors.Join(err, remove(t.path+replica.TakeoverSuffix)))
}

// end ends the timeline of the archive.
func (t *takeover) end(ctx context.Context, r *archive.Reader) error {
	if err := objstore.Probe(ctx, t.o.Store); err != nil { // one that ignores conditions has no fence
		return err
	}
	return t.step("end the timeline", func() error {
		w, err := archive.OpenWriter(ctx, t.o.Store, archive.WriterOptions{
			Archive: t.o.Archive, Identity: r.Identity(), Name: t.o.Name, ID: t.plan.ID,
		})
		if _, held := errors.AsType[*archive.HeldError](err); held {
			return t.lost(err)
		}
		if err != nil {
			return err
		}
		last, err := w.End(ctx)
		if err == nil && t.o.Events.Ended != nil {
			t.o.Events.Ended(last.After(r.Identity()))
		}
		return err
	})
}

// catchUp brings the replica to where far and its own trail lead, closes it, and says where the next timeline begins.
func (t *takeover) catchUp(ctx context.Context, far *journal.Trail) (*start, error) {
	own := ""
	if t.keep {
		own = t.o.Trail
	}
	src, err := newSource(far, own, t.mark.Position, t.mark.Time)
	if err != nil {
		return nil, err
	}
	o := &follow.Options{
		Takeover: true, Trail: own, SyncEachCommit: true, BusyTimeout: t.o.BusyTimeout,
		Events: follow.Events{Repaired: t.o.Events.Repaired, Waiting: t.o.Events.Waiting},
	}
	if t.o.Store == nil {
		o.Trail = t.o.Trail // nothing else restores anything
	}
	if err := t.o.hook("catch up"); err != nil {
		return nil, err
	}
	r, err := follow.Open(ctx, t.path, src, o)
	if err != nil {
		return nil, err
	}
	if at := r.Position(); at.TXID > 0 && src.at.TXID > 0 {
		src.at = journal.Tx{TXID: at.TXID, Time: r.Time(), Sum: at.Sum, SumKnown: true, SumCut: at.Sum.Cut()}
	}
	_, err = r.CatchUp(ctx)
	at := r.Position()
	s := &start{Position: at, Time: r.Time(), PageSize: r.PageSize(), PageCount: r.PageCount()}
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	t.mark.Position, t.mark.Time = at, s.Time
	t.keep = o.Trail != ""
	if t.o.Events.CaughtUp != nil {
		t.o.Events.CaughtUp(at)
	}
	if e := t.o.Expect; e != nil && (at.TXID != e.TXID || at.Database != e.Database || at.Sum != e.Sum) {
		return nil, fmt.Errorf("%s is at transaction %d with sum %v, and is expected at %d with %v: %w",
			t.path, at.TXID, at.Sum, e.TXID, e.Sum, journal.ErrDiverged)
	}
	s.Position.Timeline = src.id.Timeline
	if far != nil && !t.keep && at.TXID > src.last.TXID {
		last := &src.last
		s = &start{Time: last.Time, PageSize: last.PageSize, PageCount: last.PageCount, Merged: at.TXID}
		s.Position = journal.Position{Database: at.Database, Timeline: src.id.Timeline, TXID: last.TXID, Sum: last.Sum}
	}
	return s, nil
}

// take claims the archive. One that lost is a follower again.
func (t *takeover) take(ctx context.Context) error {
	err := t.step("take the archive", func() error {
		w, err := archive.OpenWriter(ctx, t.o.Store, archive.WriterOptions{
			Archive: t.o.Archive, Identity: t.plan.Start.next(), Name: t.o.Name, ID: t.plan.ID,
		})
		if err == nil {
			err = w.Take(ctx)
		}
		return err
	})
	if errors.Is(err, journal.ErrDiverged) {
		err = t.winner(ctx, err)
	}
	if _, lost := errors.AsType[*archive.HeldError](err); lost {
		return t.lost(err)
	}
	if err == nil && t.o.Events.Taken != nil {
		t.o.Events.Taken(t.plan.Start.Position.Timeline + 1)
	}
	return err
}

// winner names who began the same timeline from another position.
func (t *takeover) winner(ctx context.Context, err error) error {
	r, e := archive.Open(ctx, t.o.Store, &archive.Options{Name: t.o.Archive})
	if e != nil {
		return errors.Join(err, e)
	}
	if h := r.Head(); h.Timeline > t.plan.Ends && h.Writer.ID != t.plan.ID {
		err = heldBy(t.o.Archive, r)
	}
	return errors.Join(err, r.Close())
}

// finish makes what was decided true of the files.
func (t *takeover) finish() (*Result, error) {
	s := t.plan.Start
	if err := t.step("begin the timeline", t.begin); err != nil { // 7
		return nil, err
	}
	if err := t.step("let programs write", func() error { return remove(t.path + replica.Suffix) }); err != nil { // 8
		return nil, err
	}
	if err := t.step("remove the plan", func() error { return remove(t.path + replica.TakeoverSuffix) }); err != nil { // 9
		return nil, err
	}
	_, err := os.Stat(t.path + "-wal")
	return &Result{
		Position: s.Position, Timeline: s.Position.Timeline + 1, Trail: t.o.Trail, Merged: s.Merged, Readers: err == nil,
	}, nil
}

// begin makes the replica's own trail one of the new timeline, or makes one. It may be done again.
func (t *takeover) begin() error {
	s := t.plan.Start
	o := &journal.WriterOptions{Mode: t.perm & 0o666}
	w, err := journal.OpenWriter(t.o.Trail, o)
	if errors.Is(err, journal.ErrNotFound) {
		tx := s.tx()
		_, err := journal.Continue(t.o.Trail, s.Position, &tx, o)
		return err
	}
	if err != nil {
		return err
	}
	if _, err := w.Lock(); err != nil {
		return errors.Join(err, w.Close())
	}
	return errors.Join(w.Join(s.next()), w.Close())
}
