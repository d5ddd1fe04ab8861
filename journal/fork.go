package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Fork ends the timeline after transaction id and begins the next: for transactions that the database lost after they
// were shipped, so that others may have them. What the trail has of them goes to a branch, a directory
// branch-<timeline> in the trail that [Open] opens as a trail of its own. id must not be before the tail, and the last
// record not prepared. The result is durable when it returns.
//
// The steps, each durable before the next:
//
//  1. Sync the tail, up to which the branch and what goes on are to share it.
//  2. Write the branch: its segment, then its identity, which says where the two part. From then on the fork is
//     decided: a writer that finds the branch of its own timeline goes on with step 3. Before, nothing has happened.
//  3. Cut the records after id off the tail, and move bases of them to the branch.
//  4. Write the identity, with the next timeline and its parent.
//  5. Rotate, so that the timelines are in segments of their own, and readers notice.
func (w *Writer) Fork(id TXID) error {
	common, err := w.parting(id)
	if err != nil {
		return err
	}
	if w.prepared {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.last.TXID, Err: errors.New("fork with a prepared transaction")}
	}
	if id > w.last.TXID {
		return &RangeError{Want: id, First: w.tail.hdr.first - 1, Last: w.last.TXID}
	}
	if w.identity.Timeline == 1<<32-1 {
		return because(ErrRange, "no timeline after %d", w.identity.Timeline)
	}
	if err := w.Sync(); err != nil { // 1
		return err
	}
	if err := w.writeBranch(common); err != nil { // 2
		return err
	}
	return w.finishFork(common)
}

// position is that of a transaction of the tail, or of the one before it.
func (w *Writer) position(id TXID) (Position, error) {
	p := Position{Database: w.identity.Database, Timeline: w.identity.Timeline, TXID: id}
	switch {
	case id == w.last.TXID:
		p.Sum = w.last.Sum
		return p, nil
	case id+1 == w.tail.hdr.first:
		p.Sum = w.tail.hdr.before.sum
		return p, nil
	}
	for r, err := range w.Records(id) {
		if err != nil {
			return p, err
		}
		p.Sum = r.Sum
		return p, nil
	}
	return p, located(because(ErrNotFound, "transaction %d", uint64(id)), w.tail.path, -1, id)
}

// branchName is the directory of what a timeline had beyond the next one.
func branchName(t Timeline) string { return fmt.Sprintf("%s%08x", branchPrefix, uint32(t)) }

// writeBranch keeps the tail as it is, in a directory of its own. What a crash left there has no identity, and is
// written anew.
func (w *Writer) writeBranch(common Position) error {
	dir := filepath.Join(w.dir, branchName(w.identity.Timeline))
	err := w.o.FS.Mkdir(dir, dirMode(w.o.Mode))
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := w.o.FS.SyncDir(w.dir); err != nil {
		return err
	}
	return w.keepTail(dir, common)
}

// keepTail keeps the tail in a directory, if it goes on after common. The identity comes last, and says where the two
// part.
func (w *Writer) keepTail(dir string, common Position) error {
	if common.TXID < w.last.TXID {
		if err := w.copyTail(filepath.Join(dir, segmentName(w.tail.hdr.first))); err != nil {
			return err
		}
	}
	id := w.identity
	id.Common = &common
	data, err := id.Encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(w.o.FS, filepath.Join(dir, identityName), data, w.o.Mode)
}

// copyTail copies the whole blocks of the tail to a new file.
func (w *Writer) copyTail(name string) error {
	temp := name + durable.TempSuffix
	f, err := w.o.FS.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, w.o.Mode)
	if err != nil {
		return err
	}
	err = copyRange(f, w.tail.f, 0, w.tail.end)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = w.o.FS.Rename(temp, name)
	}
	if err != nil {
		_ = w.o.FS.Remove(temp) // the first error is the one to report
		return err
	}
	return w.o.FS.SyncDir(filepath.Dir(name))
}

// finishFork does the steps after the decision.
func (w *Writer) finishFork(common Position) error {
	if err := w.Reset(); err != nil {
		return err
	}
	if err := w.takeOff(common.TXID); err != nil { // 3
		return err
	}
	if w.last.TXID != common.TXID || w.last.Sum != common.Sum {
		return w.fail(&Error{
			Path: w.tail.path, Offset: -1, TXID: common.TXID, Hint: hintDiverged,
			Err: because(ErrDiverged, "the timeline is to part at transaction %d with sum %v, the trail has %d with %v",
				uint64(common.TXID), common.Sum, uint64(w.last.TXID), w.last.Sum),
		})
	}
	if err := w.moveBases(filepath.Join(w.dir, branchName(common.Timeline)), common.TXID); err != nil {
		return err
	}
	next := Identity{Format: formatVersion, Database: w.identity.Database, Timeline: common.Timeline + 1, Parent: &common}
	data, err := next.Encode()
	if err != nil {
		return err
	}
	if err := durable.WriteFile(w.o.FS, filepath.Join(w.dir, identityName), data, w.o.Mode); err != nil { // 4
		return w.fail(err) // which of the two it is now, only opening it anew finds out
	}
	w.identity = next
	return w.Rotate() // 5
}

// moveBases moves the bases of what the trail lost after a transaction to where that is kept.
func (w *Writer) moveBases(to string, after TXID) error {
	names, err := list(w.o.FS, w.dir)
	if err != nil {
		return err
	}
	w.staleBase = 0
	for _, id := range names.bases {
		if id <= after {
			continue
		}
		name := baseName(id)
		if err := w.o.FS.Rename(filepath.Join(w.dir, name), filepath.Join(to, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.Join(w.o.FS.SyncDir(to), w.o.FS.SyncDir(w.dir))
}

// forked looks whether the timeline was ended, by a writer that then went on to the next, or died before it could.
// The former makes its identity this writer's. common is set in the latter case: the fork is to be finished.
func (w *Writer) forked() (common *Position, err error) {
	for {
		branch := filepath.Join(w.dir, branchName(w.identity.Timeline))
		b, err := readIdentity(w.o.FS, branch)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if b.Database != w.identity.Database || b.Timeline != w.identity.Timeline || b.Common == nil {
			return nil, located(because(ErrForeign, "branch of database %v timeline %d", b.Database, b.Timeline), branch, -1, 0)
		}
		id, err := readIdentity(w.o.FS, w.dir)
		if err != nil {
			return nil, err
		}
		if id.Timeline <= w.identity.Timeline {
			return b.Common, nil
		}
		w.identity = id
	}
}
