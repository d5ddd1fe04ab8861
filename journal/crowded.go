package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// crowdedName is the file by which who writes a trail asks who ships it for room. It is in no format: who does not know
// it removes nothing.
const crowdedName = "crowded"

// Crowd asks whoever ships the trail in dir to remove of what was shipped until keep bytes are left, since the trail comes
// near a limit that its writer has.
func Crowd(fsys durable.FS, dir string, keep int64) error {
	f, err := fsys.OpenFile(filepath.Join(dir, crowdedName), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	text := strconv.FormatInt(keep, 10) + "\n"
	err = f.Truncate(0) // what is read in between is no number
	if err == nil {
		_, err = f.WriteAt([]byte(text), 0)
	}
	return errors.Join(err, f.Close())
}

// Crowded says whether Crowd was called since Eased was, and its keep.
func Crowded(fsys durable.FS, dir string) (keep int64, ok bool) {
	f, err := fsys.OpenFile(filepath.Join(dir, crowdedName), os.O_RDONLY, 0)
	if err != nil {
		return 0, false
	}
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0) // a short one is no number
	keep, err = strconv.ParseInt(strings.TrimSuffix(string(b[:n]), "\n"), 10, 64)
	return keep, errors.Join(err, f.Close()) == nil && keep >= 0
}

// Eased says that there is room again.
func Eased(fsys durable.FS, dir string) error {
	if err := fsys.Remove(filepath.Join(dir, crowdedName)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
