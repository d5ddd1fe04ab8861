//go:build !linux && !darwin

package capture

import (
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// pin is not to be had where locks do not work together with those of other programs.
type pin struct {
	zero  bool
	mark  int
	value uint32
}

func openPin(string) (*pin, error) {
	return nil, fmt.Errorf("watch a database that other programs write: %w on this system", errors.ErrUnsupported)
}

func pause() {}

func (*pin) index() (h sqlitefile.IndexHeader, ok bool) { return h, false }
func (*pin) close() error                               { return nil }
func (*pin) lock(int) (bool, error)                     { return false, errors.ErrUnsupported }
func (*pin) set(int, uint32) (bool, error)              { return false, errors.ErrUnsupported }
func (*pin) unlock(int) error                           { return errors.ErrUnsupported }
func (*pin) waitZero() error                            { return errors.ErrUnsupported }
