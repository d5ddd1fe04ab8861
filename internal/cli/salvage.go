package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
)

// openedTrail is a trail as far as it can be read.
type openedTrail struct {
	*journal.Trail
	// damage ends the trail before its end: a file that must be read to open it is damaged, and what
	// comes from there on is as if it were not there. Nil for a sound end.
	damage error
}

// openWhole opens a trail of which every last byte of the tail is right, or as much of it as is. A
// damaged tail must not take with it what stands before: that is when somebody needs to get at it.
func openWhole(dir string) (*openedTrail, error) {
	fsys := &salvageFS{FS: durable.OS, cut: map[string]int64{}}
	var damage error
	for {
		t, err := journal.Open(dir, &journal.ReadOptions{FS: fsys})
		if err == nil {
			return &openedTrail{t, damage}, nil
		}
		var place *journal.Error
		if !errors.As(err, &place) || !salvageable(err) || !fsys.cutAt(place) {
			if damage != nil {
				err = damage // without the first damage there would not have been this error
			}
			return nil, err
		}
		if damage == nil {
			damage = err
		}
	}
}

// torn says how many bytes stand after the last whole block of the tail, 0 for a clean end.
func (t *openedTrail) torn() int64 {
	e := t.Torn()
	if e == nil {
		return 0
	}
	info, err := os.Stat(e.Path)
	if err != nil {
		return 0
	}
	return max(info.Size()-e.Offset, 0)
}

// tornText says what torn bytes are, to follow what stands before them; empty for a clean end.
func (t *openedTrail) tornText() string {
	n := t.torn()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s after it are torn: a crash left them, or a commit is being written", ui.Bytes(n))
}

func salvageable(err error) bool {
	return errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrForeign) || errors.Is(err, journal.ErrDiverged) ||
		errors.Is(err, journal.ErrVersion) || errors.Is(err, journal.ErrFlag)
}

// beforeDamage refuses a target of which nobody can say that it lies before the damage: the latest, or
// a time that the lost transactions may well precede. A number or a name is clear.
func (t *openedTrail) beforeDamage(plan apply.Plan, exact bool, command string) error {
	if t.damage == nil || exact || plan.Next != nil {
		return nil
	}
	return &hintError{
		fmt.Errorf("%v may be among what is lost: %w", plan.Target, t.damage),
		fmt.Sprintf("the last before the damage: %s --txid %d", command, plan.Tx.TXID),
	}
}

// salvageFS shows damaged files cut off before the damage, and those damaged in their header not at
// all. It is for reading only.
type salvageFS struct {
	durable.FS
	cut map[string]int64 // path: size to show, 0 for a file to hide
}

// segmentHeader is the size of a segment's header, see journal/FORMAT.md: a file must keep it.
const segmentHeader = 128

// cutAt cuts a file where an error places the damage; false when that would be no progress.
func (s *salvageFS) cutAt(place *journal.Error) bool {
	path := filepath.Clean(place.Path)
	before, known := s.cut[path]
	size := max(place.Offset, 0)
	if size < segmentHeader {
		size = 0
	}
	if filepath.Ext(path) != ".seg" || known && size >= before {
		return false
	}
	s.cut[path] = size
	return true
}

func (s *salvageFS) hidden(name string) bool {
	size, known := s.cut[filepath.Clean(name)]
	return known && size == 0
}

func (s *salvageFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag != os.O_RDONLY {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrPermission}
	}
	if s.hidden(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	f, err := s.FS.OpenFile(name, flag, perm)
	if size, known := s.cut[filepath.Clean(name)]; known && err == nil {
		return &cutFile{f, size}, nil
	}
	return f, err
}

func (s *salvageFS) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := s.FS.ReadDir(name)
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return s.hidden(filepath.Join(name, e.Name())) }), err
}

func (s *salvageFS) Stat(name string) (fs.FileInfo, error) {
	if s.hidden(name) {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return s.FS.Stat(name)
}

// cutFile is a file as if it were shorter.
type cutFile struct {
	durable.File
	size int64
}

func (f *cutFile) Size() (int64, error) { return f.size, nil }

func (f *cutFile) ReadAt(b []byte, off int64) (int, error) {
	if off >= f.size {
		return 0, io.EOF
	}
	n, err := f.File.ReadAt(b[:min(int64(len(b)), f.size-off)], off)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return n, err
}
