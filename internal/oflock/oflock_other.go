//go:build !linux && !darwin

package oflock

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// The locks of this system do not work together with those of SQLite in a way that was tried; the rest compiles all
// the same.
var errSystem = fmt.Errorf("SQLite's locks are not supported on %s: %w", runtime.GOOS, errors.ErrUnsupported)

// Kind is what a lock excludes.
type Kind int16

// The kinds: None is for releasing, and for what Test finds where nobody holds one.
const (
	None Kind = iota
	Shared
	Exclusive
)

// Try is not supported here.
func Try(*os.File, int64, int64, Kind) (bool, error) { return false, errSystem }

// Test is not supported here.
func Test(*os.File, int64, int64) (Kind, error) { return None, errSystem }
