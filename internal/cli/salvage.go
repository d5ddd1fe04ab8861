package cli

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/ui"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// openedTrail is a trail as far as it can be read.
type openedTrail struct {
	*journal.Trail
	// damage ends the trail before its end: a file that must be read to open it is damaged, and what
	// comes from there on is as if it were not there. Nil for a sound end.
	damage error
	// beginning says from which transaction on what an archive began with is not there any more; nil when it is.
	beginning error
	// meter counts the requests of an archive, which took so long since began; nil for a trail on disk.
	meter *objstore.Meter
	began time.Time
}

// lostBeginning is what an archive began with and is not there any more; false when it is.
func (t *openedTrail) lostBeginning() (journal.Span, bool) {
	e, lost := errors.AsType[*journal.Error](t.beginning)
	segments, err := t.Segments()
	if !lost || err != nil || len(segments) == 0 {
		return journal.Span{}, false
	}
	return journal.Span{First: e.TXID, Last: segments[0].First - 1}, true
}

// openWhole opens a trail of which every last byte of the tail is right, or as much of it as is. A
// damaged tail must not take with it what stands before: that is when somebody needs to get at it.
func openWhole(dir string) (*openedTrail, error) {
	t, err := journal.Open(dir, &journal.ReadOptions{Damaged: true})
	if err != nil {
		return nil, err
	}
	return &openedTrail{Trail: t, damage: t.Damage()}, nil
}

// ending is what is wrong with the end by now.
func (t *openedTrail) ending() error {
	if t.damage != nil {
		return t.damage
	}
	return t.Damage()
}

// torn says how many bytes stand after the last whole block of the tail, 0 for a clean end.
func (t *openedTrail) torn() int64 {
	e := t.Torn()
	if e == nil {
		return 0
	}
	info, err := os.Stat(e.Path)
	if err != nil {
		return 0
	}
	return max(info.Size()-e.Offset, 0)
}

// tornText says what torn bytes are, to follow what stands before them; empty for a clean end.
func (t *openedTrail) tornText() string {
	n := t.torn()
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("%s after it are torn: a crash left them, or a commit is being written", ui.Bytes(n))
}

// beforeDamage refuses a target of which nobody can say that it lies before the damage: the latest, or
// a time that the lost transactions may well precede. A number or a name is clear.
func (t *openedTrail) beforeDamage(plan apply.Plan, exact bool, command string) error {
	if t.damage == nil || exact || plan.Next != nil {
		return nil
	}
	return &hintError{
		fmt.Errorf("%v may be among what is lost: %w", plan.Target, t.damage),
		fmt.Sprintf("the last before the damage: %s --txid %d", command, plan.Tx.TXID),
	}
}
