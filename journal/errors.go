package journal

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// The reasons for which something fails, for errors.Is. Each is a different decision for the caller.
var (
	// ErrCorrupt: bytes that were once right are wrong now. Nothing here repairs it; another copy does.
	ErrCorrupt = errors.New("corrupt")
	// ErrTorn: the tail ends in the middle of a write, as a crash leaves it. The next Writer.Lock repairs it.
	ErrTorn = errors.New("torn tail")
	// ErrGap: transactions are missing between two files.
	ErrGap = errors.New("gap")
	// ErrDiverged: whole and readable, but not the history it continues: sum, time or size before differ.
	ErrDiverged = errors.New("diverged")
	// ErrVersion: written by a newer format version than this program reads.
	ErrVersion = errors.New("newer format version")
	// ErrFlag: a kind or flag this program does not know, in bytes that are otherwise whole.
	ErrFlag = errors.New("unknown flag")
	// ErrForeign: a file of another database or timeline.
	ErrForeign = errors.New("of another database")
	// ErrNotFound: no trail, or no transaction, point, base or file of that name in it.
	ErrNotFound = errors.New("not found")
	// ErrExists: something of that name is there already.
	ErrExists = errors.New("exists already")
	// ErrLocked: somebody else holds the lock.
	ErrLocked = durable.ErrLocked
	// ErrRange: outside what the trail holds; usually a *RangeError.
	ErrRange = errors.New("out of range")
	// ErrFailed: an earlier write or sync failed, so the state of the file is unknown; open the writer anew.
	ErrFailed = errors.New("writer failed before")
)

// Error says where something is wrong, and what to do next.
type Error struct {
	Path   string // the file
	Offset int64  // byte offset in it, -1 when it is about the whole file
	TXID   TXID   // the transaction concerned, 0 when unknown
	Err    error  // wraps one of the sentinels, or an error of the system
	Hint   string // what to do next; empty when there is nothing to say
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Path)
	if e.Offset >= 0 {
		fmt.Fprintf(&b, " at byte %d", e.Offset)
	}
	if e.TXID != 0 {
		fmt.Fprintf(&b, " (transaction %d)", uint64(e.TXID))
	}
	fmt.Fprintf(&b, ": %v", e.Err)
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// RangeError says that the trail does not hold a transaction, and which it does.
type RangeError struct {
	Want        TXID
	First, Last TXID // what is held: First > Last when nothing is
}

func (e *RangeError) Error() string {
	if e.First > e.Last {
		return fmt.Sprintf("transaction %d: the trail holds none", uint64(e.Want))
	}
	return fmt.Sprintf("transaction %d: the trail holds %d to %d", uint64(e.Want), uint64(e.First), uint64(e.Last))
}

// Is makes a RangeError an ErrRange.
func (e *RangeError) Is(target error) bool { return target == ErrRange }

// FoldedError says that the state after a transaction cannot be had, because it was folded into a later one. It is
// an ErrRange.
type FoldedError struct {
	Want          TXID
	Before, After TXID // the nearest states that can be had, as far as records go
}

func (e *FoldedError) Error() string {
	return fmt.Sprintf("transaction %d was folded into %d; the state before both is %d", uint64(e.Want), uint64(e.After), uint64(e.Before))
}

// Is makes a FoldedError an ErrRange.
func (e *FoldedError) Is(target error) bool { return target == ErrRange }

// The hints, so that one situation is always answered by the same words.
const (
	hintCorrupt  = "restore the file from a copy, or see what pagetrail repair --dry-run can save of it"
	hintTorn     = "the next writer cuts it and keeps the bytes; a reader just stops before it"
	hintGap      = "bring the missing segment back, or restore from a later base, which pagetrail repair can make"
	hintDiverged = "two histories are mixed here: find the file that does not belong and take it out"
	hintVersion  = "use a newer pagetrail"
	hintForeign  = "the file was copied here from another trail: take it out, or let pagetrail repair do that"
	hintReopen   = "close the writer and open it again"
)

// hintFor is the hint that belongs to a sentinel.
func hintFor(err error) string {
	switch {
	case errors.Is(err, ErrCorrupt):
		return hintCorrupt
	case errors.Is(err, ErrTorn):
		return hintTorn
	case errors.Is(err, ErrGap):
		return hintGap
	case errors.Is(err, ErrDiverged):
		return hintDiverged
	case errors.Is(err, ErrVersion), errors.Is(err, ErrFlag):
		return hintVersion
	case errors.Is(err, ErrForeign):
		return hintForeign
	}
	return ""
}

// located puts a place on err, unless it has one already.
func located(err error, path string, offset int64, id TXID) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	return &Error{Path: path, Offset: offset, TXID: id, Err: err, Hint: hintFor(err)}
}

// because makes an error of a sentinel with the detail in front: "block checksum: corrupt".
func because(sentinel error, format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, sentinel)...)
}

// isDamage says that an error is about the bytes, not about reading them.
func isDamage(err error) bool { return errors.Is(err, ErrCorrupt) || errors.Is(err, ErrTorn) }

// isContent says that an error is about what a file holds, not about reading it.
func isContent(err error) bool {
	for _, s := range []error{ErrCorrupt, ErrTorn, ErrGap, ErrDiverged, ErrVersion, ErrFlag, ErrForeign} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}

// isLost says that what a file held cannot be had: not by this program, and not by a newer one either.
func isLost(err error) bool {
	return isContent(err) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrFlag)
}

// joinClose closes what is of no more use after an error.
func joinClose(err error, c io.Closer) error { return errors.Join(err, c.Close()) }
