//go:build !windows && (!unix || solaris || aix)

package durable

import (
	"errors"
	"os"
)

// errNoLocks is returned rather than pretending: without locks two writers would damage a trail.
var errNoLocks = errors.New("this system has no file locks that pagetrail can use")

func lockFile(*os.File, bool, bool) error { return errNoLocks }
func unlockFile(*os.File) error           { return errNoLocks }
func syncDir(string) error                { return nil }

func fileSize(f *os.File) (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
