package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// Vacate removes a directory of a store, and those in it, once all objects below it were deleted: they stay otherwise. It
// is for places that nobody else uses, and fails where an object is.
func Vacate(dir string) error {
	var dirs, locks []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case d.IsDir():
			dirs = append(dirs, path)
		case d.Name() == lockName:
			locks = append(locks, path)
		}
		return nil
	})
	slices.Reverse(dirs) // what is in a directory comes after it
	for _, name := range append(locks, dirs...) {
		if err == nil {
			err = os.Remove(name)
		}
	}
	return err
}
