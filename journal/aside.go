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

// aside is a directory in the trail's that keeps an end which the trail did not go on with: a branch or a cut.
type aside struct {
	dir string
	id  Identity
	at  Time  // of a cut: when; 0 for a branch
	err error // why the identity cannot be read; it is zero then
}

// asides lists them in the order in which the trail left these ends: of each timeline its cuts, then the branch that
// ended it. One without an identity is what a crash left, and is left out, and so is what is no directory.
func asides(fsys durable.FS, dir string, names *listing) []aside {
	var all []aside
	for _, name := range names.other {
		timeline, branch := parseBranch(name)
		at, cut := parseCut(name)
		if !branch && !cut {
			continue
		}
		a := aside{dir: filepath.Join(dir, name), at: at}
		if fi, err := fsys.Stat(a.dir); err != nil || !fi.IsDir() {
			continue
		}
		a.id, a.err = readIdentity(fsys, a.dir)
		switch {
		case errors.Is(a.err, ErrNotFound):
			continue
		case a.err != nil:
		case a.id.Common == nil, branch && a.id.Timeline != timeline:
			a.err = located(because(ErrForeign, "not what its name says"), a.dir, -1, 0)
		}
		if a.err != nil {
			a.id = Identity{Timeline: timeline}
		}
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b aside) int { return a.order(&b) })
	return all
}

func (a *aside) order(b *aside) int {
	when := func(a *aside) uint64 { return uint64(a.at) - 1 } // a branch comes last
	return cmp.Or(cmp.Compare(a.id.Timeline, b.id.Timeline), cmp.Compare(when(a), when(b)))
}

// parseBranch reads the timeline off the name of a branch.
func parseBranch(name string) (Timeline, bool) {
	hex, ok := strings.CutPrefix(name, branchPrefix)
	if !ok || len(hex) != 8 || strings.ToLower(hex) != hex {
		return 0, false
	}
	t, err := strconv.ParseUint(hex, 16, 32)
	return Timeline(t), err == nil && t > 0
}

// parseCut reads the time off the name of a cut.
func parseCut(name string) (Time, bool) {
	decimal, ok := strings.CutPrefix(name, cutPrefix)
	at, err := strconv.ParseInt(decimal, 10, 64)
	return Time(at), ok && err == nil && at > 0 && cutName(Time(at)) == name
}

func cutName(at Time) string { return cutPrefix + strconv.FormatInt(int64(at), 10) }

// asideFS shows a branch or a cut as a whole trail: what it does not have itself is in the trail that it is in, up to
// where the two part. Bases of transactions in its own segment may since have gone to what the trail left later.
type asideFS struct {
	durable.FS
	dir    string
	first  TXID // of its own segments
	common TXID
	later  []string // directories of what the trail left after it, oldest first
}

// newAsideFS is how the branch or cut in dir is to be read; id is its identity.
func newAsideFS(fsys durable.FS, dir string, id *Identity) (durable.FS, error) {
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
	a := &asideFS{FS: fsys, dir: filepath.Clean(dir), first: names.segments[0], common: id.Common.TXID}
	trail := filepath.Dir(a.dir)
	around, err := list(fsys, trail)
	if err != nil {
		return nil, err
	}
	self := aside{id: *id}
	self.at, _ = parseCut(filepath.Base(a.dir))
	for _, other := range asides(fsys, trail, around) {
		if other.err == nil && self.order(&other) < 0 {
			a.later = append(a.later, other.dir)
		}
	}
	return a, nil
}

// places are where a file of the trail that belongs here too may be, in order; none for one that does not.
func (a *asideFS) places(name string) []string {
	if id, ok := parseName(name, segmentSuffix); ok && id < a.first {
		return []string{filepath.Dir(a.dir)}
	}
	switch id, ok := parseName(name, baseSuffix); {
	case !ok || id > a.common:
		return nil
	case id < a.first:
		return []string{filepath.Dir(a.dir)}
	}
	return append(slices.Clone(a.later), filepath.Dir(a.dir))
}

// at is where a file of the branch or cut is.
func (a *asideFS) at(name string) string {
	if filepath.Dir(name) != a.dir {
		return name
	}
	for _, dir := range a.places(filepath.Base(name)) {
		if _, err := a.FS.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			return name
		}
		name = filepath.Join(dir, filepath.Base(name))
	}
	return name
}

func (a *asideFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	return a.FS.OpenFile(a.at(name), flag, perm)
}

func (a *asideFS) Stat(name string) (fs.FileInfo, error) { return a.FS.Stat(a.at(name)) }

func (a *asideFS) ReadDir(name string) ([]fs.DirEntry, error) {
	all, err := a.FS.ReadDir(name)
	if err != nil || filepath.Clean(name) != a.dir {
		return all, err
	}
	have := map[string]bool{}
	for _, e := range all {
		have[e.Name()] = true
	}
	for _, dir := range append(slices.Clone(a.later), filepath.Dir(a.dir)) {
		entries, err := a.FS.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !have[e.Name()] && slices.Contains(a.places(e.Name()), dir) {
				have[e.Name()] = true
				all = append(all, e)
			}
		}
	}
	return all, nil
}
