package journal

import (
	"cmp"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Branch is the end of a timeline that the trail did not go on with, see Writer.Fork.
type Branch struct {
	Dir    string   // to be opened as a trail, when it has transactions
	Common Position // the last state that it shares with the next timeline
	Last   TXID     // its last transaction; Common.TXID when none are kept here: who they were shipped to has them
}

// Branches lists the branches of the trail, ascending by timeline.
func (t *Trail) Branches() ([]Branch, error) {
	v, err := t.view()
	if err != nil {
		return nil, err
	}
	var all []Branch
	for _, name := range v.names.other {
		timeline, ok := parseBranch(name)
		if !ok {
			continue
		}
		dir := filepath.Join(t.dir, name)
		id, err := readIdentity(t.fs, dir)
		if errors.Is(err, ErrNotFound) {
			continue // a fork that a crash came before
		}
		if err != nil {
			return nil, err
		}
		if id.Common == nil || id.Timeline != timeline {
			return nil, located(because(ErrForeign, "not the branch of timeline %d", timeline), dir, -1, 0)
		}
		b := Branch{Dir: dir, Common: *id.Common, Last: id.Common.TXID}
		if b.Last, err = t.branchEnd(dir, b.Last); err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Branch) int { return cmp.Compare(a.Common.Timeline, b.Common.Timeline) })
	return all, nil
}

// branchEnd is the last transaction that a branch has.
func (t *Trail) branchEnd(dir string, common TXID) (TXID, error) {
	names, err := list(t.fs, dir)
	if err != nil || len(names.segments) == 0 {
		return common, err
	}
	b, err := Open(dir, &ReadOptions{FS: t.fs, Damaged: true})
	if err != nil {
		return common, err
	}
	last, err := b.Last()
	return last.TXID, errors.Join(err, b.Close())
}

func parseBranch(name string) (Timeline, bool) {
	hex, ok := strings.CutPrefix(name, branchPrefix)
	if !ok || len(hex) != 8 || strings.ToLower(hex) != hex {
		return 0, false
	}
	t, err := strconv.ParseUint(hex, 16, 32)
	return Timeline(t), err == nil && t > 0
}

// branchFS shows a branch as a whole trail: what it does not have itself is in the trail that it is in, up to where
// the two part.
type branchFS struct {
	durable.FS
	dir    string
	first  TXID // of the branch's own segments
	common TXID
}

// newBranchFS is how the branch in dir is to be read; id is its identity.
func newBranchFS(fsys durable.FS, dir string, id *Identity) (durable.FS, error) {
	names, err := list(fsys, dir)
	if err != nil {
		return nil, err
	}
	if len(names.segments) == 0 {
		return nil, &Error{
			Path: dir, Offset: -1, Err: because(ErrNotFound, "the transactions after %d of timeline %d are not here", uint64(id.Common.TXID), id.Timeline),
			Hint: "they were shipped before they were lost: look in the archive",
		}
	}
	return &branchFS{fsys, filepath.Clean(dir), names.segments[0], id.Common.TXID}, nil
}

// shared says that the trail's file of that name belongs to the branch too.
func (b *branchFS) shared(name string) bool {
	if id, ok := parseName(name, segmentSuffix); ok {
		return id < b.first
	}
	id, ok := parseName(name, baseSuffix)
	return ok && id <= b.common
}

// at is where a file of the branch is.
func (b *branchFS) at(name string) string {
	if filepath.Dir(name) != b.dir || !b.shared(filepath.Base(name)) {
		return name
	}
	if _, err := b.FS.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		return name
	}
	return filepath.Join(filepath.Dir(b.dir), filepath.Base(name))
}

func (b *branchFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	return b.FS.OpenFile(b.at(name), flag, perm)
}

func (b *branchFS) Stat(name string) (fs.FileInfo, error) { return b.FS.Stat(b.at(name)) }

func (b *branchFS) ReadDir(name string) ([]fs.DirEntry, error) {
	own, err := b.FS.ReadDir(name)
	if err != nil || filepath.Clean(name) != b.dir {
		return own, err
	}
	have := map[string]bool{}
	for _, e := range own {
		have[e.Name()] = true
	}
	parent, err := b.FS.ReadDir(filepath.Dir(b.dir))
	for _, e := range parent {
		if b.shared(e.Name()) && !have[e.Name()] {
			own = append(own, e)
		}
	}
	return own, err
}
