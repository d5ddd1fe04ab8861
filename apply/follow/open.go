package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// ErrNothing says that the source has no transaction yet, so that there is no
// database to make a replica of.
var ErrNothing = fmt.Errorf("the source has no transaction yet: %w", journal.ErrNotFound)

// Open makes path a replica of the source's database, or goes on with one that
// was followed into before. A file that is there must be in some state of the
// source's history; one that R-pos says was followed into, and that another
// program changed since, is put right by the next CatchUp.
//
// The error is [ErrNothing] while there is nothing to follow; a
// [journal.ErrLocked] when another follower or a writer is at work, or programs
// have a file open that was no replica before; a
// [journal.ErrForeign] for a replica of another database; a
// [journal.ErrDiverged] when it is beside the source's history; an
// [fs.ErrExist] for a file that is no replica.
func Open(ctx context.Context, path string, src Source, o *Options) (*Replica, error) {
	r := &Replica{path: path, o: o.withDefaults(), src: src}
	r.keep = keeper{r: r, dir: r.o.Trail, sealed: make(chan struct{}, 1)}
	if err := r.guard(); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		err = r.bootstrap(ctx, err == nil)
	}
	if err == nil {
		err = r.attach(ctx)
	}
	if err != nil {
		return nil, err
	}
	if f := r.o.Events.Attached; f != nil && r.damaged == "" {
		f(r.pos.Position)
	}
	return r, nil
}

// guard refuses paths at which a replica would destroy something else.
func (r *Replica) guard() error {
	refuse := func(format string, args ...any) error {
		return fmt.Errorf("replica %s: %s: %w", r.path, fmt.Sprintf(format, args...), fs.ErrInvalid)
	}
	abs, err := filepath.Abs(r.path)
	if err != nil {
		return err
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(dir, filepath.Base(abs))
	}
	// SQLite looks for the WAL beside the file itself.
	r.path = abs
	if info, err := os.Stat(abs); err == nil && !info.Mode().IsRegular() {
		return refuse("it is not a regular file")
	}
	for dir := filepath.Dir(abs); ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "identity")); err == nil && strings.HasSuffix(dir, trailSuffix) {
			return refuse("it lies inside the trail %s: name another place", dir)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if _, err := os.Stat(abs + replica.TakeoverSuffix); err == nil && !r.o.Takeover {
		return fmt.Errorf("replica %s: its promotion has begun: finish it, or remove %s to give it up: %w", r.path, abs+replica.TakeoverSuffix, journal.ErrLocked)
	}
	if info, err := os.Stat(abs + trailSuffix); err == nil && info.IsDir() {
		if !replica.Is(abs) {
			return refuse("it is a database with a trail of its own, which programs write to: name another file, or, if another took over from it, follow with rewind")
		}
		if own, err := os.Stat(r.o.Trail); err != nil || !os.SameFile(own, info) {
			return refuse("it keeps a trail, which would end here: go on with it, or take %s away", abs+trailSuffix)
		}
	}
	if s, ok := r.src.(interface{ Dir() string }); ok {
		return r.guardTrail(s.Dir(), refuse)
	}
	return nil
}

// trailSuffix follows the name of a database in the name of its trail, unless
// the trail was put elsewhere.
const trailSuffix = "-pagetrail"

func (r *Replica) guardTrail(trail string, refuse func(string, ...any) error) error {
	dir, err := os.Stat(trail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // an archive elsewhere
	}
	if err != nil {
		return err
	}
	r.perm = dir.Mode() & 0o666
	if own, err := os.Stat(r.o.Trail); err == nil && os.SameFile(own, dir) {
		return refuse("its own trail %s would be the one it follows", r.o.Trail)
	}
	for at := filepath.Dir(r.path); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && os.SameFile(info, dir) {
			return refuse("it lies inside the trail it is to follow: name another place")
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	primary, err1 := os.Stat(strings.TrimSuffix(filepath.Clean(trail), trailSuffix))
	replica, err2 := os.Stat(r.path)
	if err1 == nil && err2 == nil && os.SameFile(primary, replica) {
		return refuse("it is the database that the trail is of: name another file")
	}
	return nil
}

// bootstrap is step 1: the whole database into a temporary file, which gets
// its name when all of it is checked and durable.
func (r *Replica) bootstrap(ctx context.Context, empty bool) error {
	last, err := r.src.Refresh(ctx)
	if err != nil {
		return err
	}
	if last.TXID == 0 {
		return ErrNothing
	}
	if err := r.clearRemains(empty); err != nil {
		return err
	}
	state, err := r.src.State(ctx, last.TXID)
	if err != nil {
		return err
	}
	if state.PageCount() == 0 {
		return errors.Join(ErrNothing, state.Close())
	}
	if r.perm == 0 {
		r.perm = 0o644
	}
	temp := fmt.Sprintf("%s-%d.tmp", r.path, os.Getpid())
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC|noFollow, r.perm)
	if err != nil {
		return errors.Join(err, state.Close())
	}
	r.o.hook("write replica")
	tx, id := state.Tx(), r.src.Identity()
	_, err = state.WriteTo(f)
	err = errors.Join(err, state.Close())
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		// So that the source need not be searched for it.
		err = r.firstBound(mark{
			Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: tx.Sum}, time: tx.Time,
		})
	}
	if err == nil {
		r.o.hook("name replica")
		err = os.Link(temp, r.path) // unlike a rename, never over a file that came meanwhile
	}
	r.o.hook("remove temporary file")
	err = errors.Join(err, os.Remove(temp))
	if err == nil {
		err = syncDir(filepath.Dir(r.path))
	}
	if err != nil {
		return fmt.Errorf("replica %s cannot be made: %w", r.path, err)
	}
	return nil
}

// firstBound writes the position of a replica that is about to get its name.
func (r *Replica) firstBound(m mark) error {
	s, err := openSlots(r.name("-pos"), true, r.perm, &r.o)
	if err != nil {
		return err
	}
	r.o.hook("write position")
	return errors.Join(s.write(m), s.close())
}

// clearRemains takes away what is left of an earlier replica of that name,
// since its WAL would be taken for the new one's. A WAL of unknown origin is
// nobody's to remove.
func (r *Replica) clearRemains(empty bool) error {
	old, err := openSlots(r.name("-pos"), false, 0, &r.o)
	if err != nil {
		return err
	}
	ours := old != nil && old.last.seq > 0 && old.last.Database == r.src.Identity().Database
	if err := old.close(); err != nil {
		return err
	}
	var remove []string
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(r.name(suffix)); err == nil {
			if !ours && info.Size() > 0 {
				return fmt.Errorf("replica %s: there is a %s without its database: remove it first, if nothing needs it: %w", r.path, r.name(suffix), fs.ErrExist)
			}
			remove = append(remove, r.name(suffix))
		}
	}
	remove = append(remove, r.name("-shm"), r.name("-pos"))
	if empty {
		remove = append(remove, r.path)
	}
	for _, name := range remove {
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Close ends following. When nobody reads, the replica becomes a single file,
// byte for byte the primary; otherwise the last reader to close does that.
func (r *Replica) Close() error {
	if r.db == nil {
		return nil
	}
	err := r.intact()
	if err == nil && r.failed == nil && r.damaged == "" {
		if err = r.keep.sync(); err == nil {
			err = r.checkpoint()
		}
		if err == nil {
			err = r.slots.write(r.pos)
		}
		if err == nil {
			err = r.finalise()
		}
	}
	return errors.Join(err, r.release())
}

// finalise takes away -wal and -shm, if nobody else has the database open.
func (r *Replica) finalise() error {
	alone := false
	if ok, err := tryLock(r.db, sqlitefile.PendingByte, 1, exclusive); !ok || err != nil {
		return err
	}
	alone, err := tryLock(r.db, sqlitefile.SharedFirst, sqlitefile.SharedSize, exclusive)
	if err == nil && alone {
		err = r.checkpoint()
		if err == nil && r.hdr.MxFrame == r.shm.backfill() {
			r.o.hook("remove log")
			err = os.Remove(r.name("-wal"))
			r.o.hook("remove index")
			err = errors.Join(err, os.Remove(r.name("-shm")))
		}
		if err == nil {
			err = syncDir(filepath.Dir(r.path))
		}
	}
	_, e := tryLock(r.db, sqlitefile.PendingByte, 1, unlocked)
	return errors.Join(err, e) // closing releases the rest
}
