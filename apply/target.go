package apply

import (
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
)

// Target is the moment to restore. The zero value is [Latest].
type Target struct {
	kind targetKind
	txid journal.TXID
	time journal.Time
	name string
}

type targetKind uint8

const (
	targetLatest targetKind = iota
	targetTXID
	targetTime
	targetPoint
)

// Latest is the last committed transaction that the trail knew when it was
// opened or refreshed.
func Latest() Target { return Target{} }

// AtTXID is the state after transaction id; 0 is the empty database before any.
func AtTXID(id journal.TXID) Target { return Target{kind: targetTXID, txid: id} }

// AtTime is the state at a moment: after the last transaction at or before it.
func AtTime(at journal.Time) Target { return Target{kind: targetTime, time: at} }

// AtPoint is the state at a restore point, the latest one of that name.
func AtPoint(name string) Target { return Target{kind: targetPoint, name: name} }

// String says in words what is meant: "transaction 12", "restore point deploy".
func (t Target) String() string {
	switch t.kind {
	case targetTXID:
		return fmt.Sprintf("transaction %d", t.txid)
	case targetTime:
		return "time " + t.time.Time().Format(timeLayout)
	case targetPoint:
		return fmt.Sprintf("restore point %q", t.name)
	default:
		return "the latest transaction"
	}
}
