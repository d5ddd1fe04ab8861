//go:build !linux && !darwin

package follow

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// Nothing is followed here, since locks are not to be had either; the rest
// compiles all the same.
var errSystem = fmt.Errorf("following is not supported on %s: hydrate instead: %w", runtime.GOOS, errors.ErrUnsupported)

const noFollow = 0

func mapShared(*os.File, int64, int) ([]byte, error) { return nil, errSystem }
func unmap([]byte) error                             { return nil }
