package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/apply/live"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// repaired is what a repair did, or would do.
type repaired struct {
	dir        string
	mode       fs.FileMode
	plan       *journal.RepairPlan
	database   string
	noDatabase error // why there is none to read

	done      []liveStep // with the database's help
	bridged   *journal.Span
	unbridged error // why the last transaction is not restorable
}

// liveStep is a step that the database was needed for.
type liveStep struct{ file, do string }

func (s liveStep) String() string { return s.file + ": " + s.do }

// shorten leaves a directory out of a message.
func shorten(text, dir string) string { return strings.ReplaceAll(text, dir+"/", "") }

// spans are those that can be restored afterwards.
func (a *repaired) spans() []journal.Span {
	spans := a.plan.After.Spans
	if a.bridged != nil {
		spans = append(spans[:len(spans):len(spans)], *a.bridged)
	}
	return spans
}

// stranded are the transactions that are there and cannot be restored.
func (a *repaired) stranded() (out []journal.Span) {
	known := slices.Concat(a.spans(), a.plan.After.Gaps)
	slices.SortFunc(known, func(x, y journal.Span) int { return cmp.Compare(x.First, y.First) })
	next := a.plan.First
	for _, s := range append(known, journal.Span{First: a.plan.Last + 1, Last: a.plan.Last + 1}) {
		if s.First > next {
			out = append(out, journal.Span{First: next, Last: s.First - 1})
		}
		next = max(next, s.Last+1)
	}
	return out
}

// live does what needs the database: a base that bridges a gap, and the page table. Dry, it says what it would.
func (a *repaired) live(ctx context.Context, env *Env, dry bool) error {
	if a.plan.Bridge {
		step := liveStep{fmt.Sprintf("%016x.base", uint64(a.plan.Last)), fmt.Sprintf("write it from %s, the state of transaction %d", a.database, a.plan.Last)}
		err := a.noDatabase
		switch {
		case err != nil:
		case dry:
			err = a.wouldBridge(ctx, env)
		default:
			err = a.bridge(ctx, env)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err == nil {
			a.done = append(a.done, step)
			if a.bridged == nil {
				a.bridged = &journal.Span{First: a.plan.Last, Last: a.plan.Last}
			}
		}
		a.unbridged = err
	}
	if a.noDatabase != nil || len(a.plan.Unhealed) > 0 || dry && len(a.plan.Steps) > 0 {
		return nil
	}
	return a.pageTable(ctx, env, dry)
}

// matching opens the database in the state that the trail ends in, as far as can be told without reading it.
func (a *repaired) matching(ctx context.Context, origin journal.Origin) (*live.Snapshot, error) {
	s, err := live.Open(ctx, a.database, nil)
	if err != nil {
		return nil, explainLive(a.database, err)
	}
	if err := a.rewind(s, origin); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// rewind makes a snapshot that of a transaction's state, if the WAL knows where that is.
func (a *repaired) rewind(s *live.Snapshot, origin journal.Origin) error {
	if _, ok := s.At(origin); ok {
		return nil
	}
	return s.Newest()
}

// differs is why a database does not serve.
func (a *repaired) differs(id journal.TXID) error {
	return &hintError{
		kindf(journal.ErrDiverged, "%s is not in the state of transaction %d", a.database, id),
		"let a program write to it with ?vfs=pagetrail, which records what differs; then repair again",
	}
}

// lastOf is the last transaction, without taking a lock or changing anything.
func lastOf(dir string) (last journal.Tx, prepared bool, err error) {
	t, err := journal.Open(dir, nil)
	if err != nil {
		return last, false, err
	}
	last, err = t.Last()
	return last, t.Undecided() != nil, errors.Join(err, t.Close())
}

// wouldBridge says whether bridge would do it, as far as that can be told before the other steps are done.
func (a *repaired) wouldBridge(ctx context.Context, env *Env) error {
	if len(a.plan.Steps) > 0 {
		return nil // the trail cannot be opened as it will be
	}
	last, prepared, err := lastOf(a.dir)
	if err != nil {
		return err
	}
	bar := env.progress(ctx, "reading")
	defer bar.finish()
	same, err := a.same(ctx, last, bar)
	if err == nil && (!same || prepared) {
		err = a.differs(last.TXID)
	}
	return err
}

// same says whether the database is in the state that a transaction left.
func (a *repaired) same(ctx context.Context, last journal.Tx, bar *progressBar) (same bool, err error) {
	s, err := a.matching(ctx, last.Origin)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	sum, err := s.Sum(ctx, bar.update)
	if err == nil {
		err = s.Check()
	}
	return err == nil && sum == last.Sum && s.PageCount() == last.PageCount && (s.PageCount() == 0 || s.PageSize() == last.PageSize), err
}

// both takes the trail's lock and opens the database in the state that the trail ends in. The database comes first, and
// is given up again when somebody has the trail: who is at a checkpoint or a commit has locks of SQLite and waits for the
// trail's.
func (a *repaired) both(ctx context.Context, w *journal.Writer) (*live.Snapshot, error) {
	for end := time.Now().Add(lockWait); ; {
		s, err := live.Open(ctx, a.database, nil)
		if err != nil {
			return nil, explainLive(a.database, err)
		}
		if _, err = w.TryLock(); err == nil {
			if err = a.rewind(s, w.Committed().Origin); err == nil {
				return s, nil
			}
			w.Unlock()
		}
		err = errors.Join(err, s.Close())
		if !errors.Is(err, journal.ErrLocked) || time.Now().After(end) {
			return nil, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// bridge writes a base of the last transaction. The trail's lock is held only at the beginning and the end: the locks on
// the database keep its state meanwhile.
func (a *repaired) bridge(ctx context.Context, env *Env) (err error) {
	w, err := journal.OpenWriter(a.dir, &journal.WriterOptions{Mode: a.mode})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s, err := a.both(ctx, w)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	last := w.Committed()
	if s.PageCount() != last.PageCount || s.PageSize() != last.PageSize || w.Prepared() {
		return a.differs(last.TXID)
	}
	b, err := w.CreateBase(s.PageSize(), s.PageCount(), 0, false)
	if err != nil {
		return err
	}
	defer b.Abort()
	w.Unlock()
	bar := env.progress(ctx, "writing a base")
	err = s.Scan(ctx, bar.update, b.WritePages)
	bar.finish()
	if err == nil {
		err = s.Check()
	}
	if err == nil && b.Sum() != last.Sum {
		err = a.differs(last.TXID)
	}
	// Who has the trail's lock may be waiting for the database, so that is let go first.
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if _, err := w.Lock(); err != nil {
		return err
	}
	if _, err = b.Commit(); err == nil {
		a.bridged = &journal.Span{First: last.TXID, Last: max(last.TXID, w.Committed().TXID)}
		a.plan.Last = a.bridged.Last
	}
	return err
}

// tableState is what is wrong with the page table, empty when nothing is.
func (a *repaired) tableState(last journal.Tx) (string, error) {
	t, err := vfs.OpenPageTable(a.dir)
	switch {
	case errors.Is(err, fs.ErrNotExist) && last.TXID == 0:
		return "", nil
	case errors.Is(err, fs.ErrNotExist):
		return "it is missing", nil
	case err != nil:
		return "", err
	}
	defer func() { _ = t.Close() }() // it was only read
	state, err := t.State()
	if err != nil {
		return "", err
	}
	if !state.Whole {
		return "it has no header that can be read", nil
	}
	if !state.Describes(last) {
		return fmt.Sprintf("it is of transaction %d", state.TXID), nil
	}
	sum, err := t.Total()
	if err == nil && sum != state.Sum {
		return "it has hashes that are wrong", nil
	}
	return "", err
}

// pageTable makes the page table anew when it is not that of the trail's last state, and the database is in that. Else
// it is left to the next writer, who has to read the database anyway.
func (a *repaired) pageTable(ctx context.Context, env *Env, dry bool) error {
	last, _, err := lastOf(a.dir)
	if err != nil {
		return err
	}
	why, err := a.tableState(last)
	if err != nil || why == "" {
		return err
	}
	bar := env.progress(ctx, "reading")
	defer bar.finish()
	if dry {
		if same, err := a.same(ctx, last, bar); err != nil || !same {
			return a.leave(ctx, env, why)
		}
	} else if why, err = a.makeTable(ctx, bar, why); err != nil {
		return a.leave(ctx, env, why)
	}
	if why != "" {
		a.done = append(a.done, liveStep{"pages", "make it anew from " + a.database + ", since " + why})
	}
	return nil
}

// leave says that the page table is not made anew, which is no failure.
func (a *repaired) leave(ctx context.Context, env *Env, why string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	env.notice("the page table is left to the next program that writes (%s)", why)
	return nil
}

// makeTable makes it anew, if under the trail's lock it still needs that: else it was read while somebody wrote to it.
func (a *repaired) makeTable(ctx context.Context, bar *progressBar, why string) (_ string, err error) {
	w, err := journal.OpenWriter(a.dir, &journal.WriterOptions{Mode: a.mode})
	if err != nil {
		return why, err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	s, err := a.both(ctx, w)
	if err != nil {
		return why, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	last := w.Committed()
	if why, err = a.tableState(last); err != nil || why == "" {
		return why, err
	}
	sum, err := s.Sum(ctx, bar.update)
	if err == nil && sum != last.Sum {
		err = a.differs(last.TXID)
	}
	if err == nil {
		err = s.Check()
	}
	if err != nil {
		return why, err
	}
	page := make([]byte, max(s.PageSize(), 1))
	return why, vfs.WritePageTable(a.dir, a.mode, last, func(no uint32) (diff.Sum, error) {
		err := s.ReadPage(no, page)
		return diff.PageSum(no, page), err
	})
}
