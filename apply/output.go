package apply

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// trailSuffix follows the name of a database in the name of its trail, unless
// the trail was put elsewhere.
const trailSuffix = "-pagetrail"

func outputError(out, reason string, err error) error {
	return &OutputError{Path: out, Reason: reason + ": " + err.Error(), Err: err}
}

// checkOutput refuses outputs that must not or cannot be written, and returns
// the mode that a new one gets.
func checkOutput(fsys durable.FS, trail, out string, force bool) (fs.FileMode, error) {
	refuse := func(err error, reason, hint string) error {
		return &OutputError{Path: out, Reason: reason, Hint: hint, Err: err}
	}
	inUse := func(reason, hint string) error {
		return &OutputError{Path: out, Reason: reason, Hint: hint, Err: fs.ErrExist, InUse: true}
	}
	if out == "" {
		return 0, refuse(fs.ErrInvalid, "no name given", "say where to write the database")
	}
	if inside(fsys, trail, out) {
		return 0, refuse(fs.ErrInvalid, "it lies inside the trail "+trail, "write it somewhere else")
	}
	mode := fs.FileMode(0o644)
	if info, err := fsys.Stat(trail); err == nil {
		mode = info.Mode() & 0o666
	}
	info, err := fsys.Stat(out)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return 0, outputError(out, "cannot be looked at", err)
	case info.IsDir():
		return 0, refuse(fs.ErrInvalid, "it is a directory", "name a file in it")
	case isLive(fsys, trail, out, info):
		return 0, inUse("it is the database that the trail "+trail+" belongs to, and programs may have it open",
			"restore to another name, or take the database itself back with pagetrail rewind")
	case !info.Mode().IsRegular():
		return 0, refuse(fs.ErrInvalid, "it is not a regular file", "name a new file")
	case !force:
		return 0, refuse(fs.ErrExist, "it exists", "name a new file, or force it to be replaced")
	default:
		mode = info.Mode().Perm()
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := fsys.Stat(out + suffix); err == nil && info.Size() > 0 {
			return 0, inUse("there is "+filepath.Base(out)+suffix+" beside it, which SQLite would play into the restored database",
				"close the programs that use the old database, or move that file away if there are none")
		}
	}
	return mode, nil
}

// inside says that path lies in the directory dir, by name or by any of its
// parents being that directory.
func inside(fsys durable.FS, dir, path string) bool {
	absDir, err1 := filepath.Abs(dir)
	absPath, err2 := filepath.Abs(path)
	if err1 != nil || err2 != nil {
		return false
	}
	want, err := fsys.Stat(dir)
	known := err == nil
	for p := absPath; ; p = filepath.Dir(p) {
		if p == absDir {
			return true
		}
		if info, err := fsys.Stat(p); err == nil && known && os.SameFile(want, info) {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}

// isLive says that out, which exists, is the database that the trail records.
func isLive(fsys durable.FS, trail, out string, info fs.FileInfo) bool {
	abs, err := filepath.Abs(trail)
	if err != nil {
		return false
	}
	live, ok := strings.CutSuffix(abs, trailSuffix)
	if !ok {
		return false
	}
	if absOut, err := filepath.Abs(out); err == nil && absOut == live {
		return true
	}
	liveInfo, err := fsys.Stat(live)
	return err == nil && os.SameFile(liveInfo, info)
}

// temp is an output in the making. Its lock tells that somebody is at work on
// it; nil where there are none.
type temp struct {
	durable.File
	lock durable.Lock
}

// unlock is for when the file has its name, or is gone.
func (t *temp) unlock() {
	if t.lock != nil {
		_ = t.lock.Close() // it guards nothing any more
	}
}

// createTemp makes a new file beside out, once those are gone that killed
// processes left there: they have the size of the database, and names that
// nobody sees.
func createTemp(fsys durable.FS, out string, mode fs.FileMode) (*temp, error) {
	dir, prefix := filepath.Dir(out), "."+filepath.Base(out)+"-"
	removeStale(fsys, dir, prefix)
	for range 100 {
		name := filepath.Join(dir, fmt.Sprintf("%s%016x.tmp", prefix, rand.Uint64()))
		lock, err := lockTemp(fsys, name, mode)
		if errors.Is(err, durable.ErrLocked) {
			continue
		}
		flag := os.O_RDWR | os.O_TRUNC
		if err != nil {
			lock, flag = nil, flag|os.O_CREATE
		}
		file, err := fsys.OpenFile(name, flag, mode)
		t := &temp{file, lock}
		if err == nil {
			return t, nil
		}
		gone := errors.Is(err, fs.ErrNotExist) && lock != nil // it was taken for stale before it was locked
		if lock != nil && !gone {
			err = errors.Join(err, fsys.Remove(name))
		}
		if t.unlock(); !gone {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no free name for a temporary file in %s", dir)
}

// lockTemp locks a temporary file, making it, or says why that cannot be done
// here, as on file systems without locks. Windows does not write to what is
// locked, and does not remove what is open: there no lock is needed. A file that
// its owner may not write to is opened once, by whoever makes it.
func lockTemp(fsys durable.FS, name string, mode fs.FileMode) (durable.Lock, error) {
	if runtime.GOOS == "windows" || mode&0o600 != 0o600 {
		return nil, errors.ErrUnsupported
	}
	return fsys.Lock(name, mode, true, false)
}

// removeStale removes the temporary files of an output that nobody is at work
// on. It is no error if it cannot: they were left to lie before, too.
func removeStale(fsys durable.FS, dir, prefix string) {
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		random, ok := strings.CutPrefix(strings.TrimSuffix(e.Name(), ".tmp"), prefix)
		if _, err := strconv.ParseUint(random, 16, 64); !ok || err != nil || len(random) != 16 {
			continue
		}
		name := filepath.Join(dir, e.Name())
		info, err := e.Info()
		if err != nil {
			continue
		}
		if lock, err := lockTemp(fsys, name, info.Mode()); err == nil {
			_ = fsys.Remove(name)
			_ = lock.Close()
		} else if runtime.GOOS == "windows" {
			_ = fsys.Remove(name)
		}
	}
}

// publish gives the finished temporary file its name. The output is looked at
// once more, because restoring may have taken long.
func publish(fsys durable.FS, trail, tmp, out string, force bool) error {
	_, err := checkOutput(fsys, trail, out, force)
	if err == nil {
		if err = fsys.Rename(tmp, out); err == nil {
			if err = fsys.SyncDir(filepath.Dir(out)); err == nil {
				return nil
			}
			if force {
				return fmt.Errorf("output %s is in place, but a power cut may yet take it away: %w", out, err)
			}
			tmp = out
		}
	}
	if e := fsys.Remove(tmp); e != nil {
		err = fmt.Errorf("%w (and %s is left behind: %v)", err, tmp, e)
	}
	return err
}
