package follow

import (
	"os"

	"github.com/pagetrail/pagetrail/internal/oflock"
)

// lockKind is what a lock excludes.
type lockKind = oflock.Kind

const (
	unlocked  = oflock.None
	shared    = oflock.Shared
	exclusive = oflock.Exclusive
)

func tryLock(f *os.File, off, n int64, kind lockKind) (bool, error) {
	return oflock.Try(f, off, n, kind)
}

func testLock(f *os.File, off, n int64) (lockKind, error) { return oflock.Test(f, off, n) }
