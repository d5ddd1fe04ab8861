package apply

import (
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// MismatchError says that a state does not have the checksum that the trail
// says it must have: the first transaction from which on replaying leads
// somewhere else than recording did. It is a [journal.ErrDiverged].
type MismatchError struct {
	TXID journal.TXID
	What string // what was checked: "transaction", "base", "output", "base beside the transactions"
	Want diff.Sum
	Got  diff.Sum
	Cut  bool // only 4 bytes were known: Want holds nothing but Want.Cut()
}

// Error names the transaction and both checksums.
func (e *MismatchError) Error() string {
	if e.Cut {
		return fmt.Sprintf("%s %d: state checksum is …%08x, the trail says …%08x", e.What, e.TXID, e.Got.Cut(), e.Want.Cut())
	}
	return fmt.Sprintf("%s %d: state checksum is %v, the trail says %v", e.What, e.TXID, e.Got, e.Want)
}

// Unwrap makes every mismatch a [journal.ErrDiverged].
func (e *MismatchError) Unwrap() error { return journal.ErrDiverged }

// RangeError says that a target is outside of what the trail can restore, and
// what is nearest to it. It is a [journal.ErrRange], and its Err may be a
// [*journal.RangeError].
type RangeError struct {
	Target Target
	Window journal.Window // what can be restored
	Before *journal.Tx    // the last restorable transaction before the target, nil if there is none
	After  *journal.Tx    // the first one after it, nil if there is none
	Err    error
}

// Error names the nearest restorable transactions.
func (e *RangeError) Error() string {
	s := fmt.Sprintf("%v cannot be restored", e.Target)
	_, folded := errors.AsType[*journal.FoldedError](e.Err)
	switch {
	case folded && e.Before != nil && e.After != nil:
		s += fmt.Sprintf(": it was folded into a later one; the nearest are %s and %s", describe(e.Before), describe(e.After))
	case e.Before != nil && e.After != nil:
		s += fmt.Sprintf(": it lies in a gap between %s and %s", describe(e.Before), describe(e.After))
	case e.Before != nil:
		s += ": the last is " + describe(e.Before)
	case e.After != nil:
		s += ": the first is " + describe(e.After)
	default:
		s += ": the trail holds none that can"
	}
	return s
}

// Unwrap returns the error beneath, which is a [journal.ErrRange].
func (e *RangeError) Unwrap() error { return e.Err }

func describe(tx *journal.Tx) string {
	if tx.TXID == 0 {
		return "transaction 0, the empty database"
	}
	return fmt.Sprintf("transaction %d of %s", tx.TXID, tx.Time.Time().Format(timeLayout))
}

// timeLayout shows a moment to the microsecond, as the trail keeps it.
const timeLayout = "2006-01-02T15:04:05.999999Z07:00"

// OutputError says why an output was refused before anything was read. Hint
// is the way forward, a sentence without a full stop.
type OutputError struct {
	Path   string
	Reason string
	Hint   string
	Err    error // fs.ErrExist, fs.ErrInvalid, or what the file system said
	InUse  bool  // programs may be using what is there: Options.Force does not replace it
}

// Error gives path, reason and hint.
func (e *OutputError) Error() string {
	s := fmt.Sprintf("output %s: %s", e.Path, e.Reason)
	if e.Hint != "" {
		s += ": " + e.Hint
	}
	return s
}

// Unwrap returns the error beneath.
func (e *OutputError) Unwrap() error { return e.Err }

// corrupt is an error about the content of a transaction that the trail's own
// checksums did not find: whole bytes that make no sense.
func corrupt(trail string, id journal.TXID, err error) error {
	return &journal.Error{Path: trail, Offset: -1, TXID: id, Err: fmt.Errorf("%w: %w", err, journal.ErrCorrupt)}
}
