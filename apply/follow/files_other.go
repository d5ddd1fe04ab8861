//go:build !linux && !darwin

package follow

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// The locks of this system do not work together with those of SQLite in a way
// that was tried, so nothing is followed here; the rest compiles all the same.
var errSystem = fmt.Errorf("following is not supported on %s: hydrate instead: %w", runtime.GOOS, errors.ErrUnsupported)

type lockKind int16

const (
	unlocked lockKind = iota
	shared
	exclusive
)

const noFollow = 0

func tryLock(*os.File, int64, int64, lockKind) (bool, error) { return false, errSystem }
func testLock(*os.File, int64, int64) (lockKind, error)      { return unlocked, errSystem }
func mapShared(*os.File, int64, int) ([]byte, error)         { return nil, errSystem }
func unmap([]byte) error                                     { return nil }
