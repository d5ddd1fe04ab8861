package archive

import (
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
)

// Plan is maintenance, written down in the head before its first step. Each step may be done again.
type Plan struct {
	ID    string       `json:"id"`
	By    string       `json:"by"`
	Made  journal.Time `json:"made"`
	Steps []Step       `json:"steps"`
	Done  int          `json:"done,omitempty"` // steps that need not be done again
	// Strays that the planner saw.
	Strays []string `json:"strays,omitempty"`
}

// The kinds of steps.
const (
	OpMerge  = "merge"  // many objects become one, nothing is lost
	OpFold   = "fold"   // likewise, and fewer states are left
	OpBase   = "base"   // a base of a transaction is made from what is there
	OpForget = "forget" // the history begins with a base, what came before is no part of it
	OpDelete = "delete" // objects that are no part of the history
)

// Step is one step of a Plan.
type Step struct {
	Op       string           `json:"op"`
	Timeline journal.Timeline `json:"timeline,omitempty"` // of what is written, or of the batches deleted
	Level    int              `json:"level,omitempty"`
	// First and Last transaction of the segment that is written; of batches to delete, the first transactions of the
	// first and the last.
	First journal.TXID `json:"first,omitempty"`
	Last  journal.TXID `json:"last,omitempty"`
	// Every so many seconds a state is kept by OpFold; -1: restore points only.
	Every int64 `json:"every,omitempty"`
	// Base is the transaction of OpBase and OpForget.
	Base journal.TXID `json:"base,omitempty"`
	// Keys of OpDelete, when it is not for batches.
	Keys []string `json:"keys,omitempty"`
	// Objects and Bytes that are read, or deleted; for people.
	Objects int   `json:"objects,omitempty"`
	Bytes   int64 `json:"bytes,omitempty"`
}

func (s Step) String() string {
	switch s.Op {
	case OpMerge:
		return fmt.Sprintf("merge transactions %d to %d", s.First, s.Last)
	case OpFold:
		kept := "restore points"
		if s.Every > 0 {
			kept = map[int64]string{60: "minutes", 3600: "hours"}[s.Every] + " and restore points"
		}
		return fmt.Sprintf("fold transactions %d to %d, keeping %s", s.First, s.Last, kept)
	case OpBase:
		return fmt.Sprintf("make a base of transaction %d", s.Base)
	case OpForget:
		return fmt.Sprintf("forget what is before transaction %d", s.Base)
	case OpDelete:
		if len(s.Keys) == 0 {
			return fmt.Sprintf("delete batches of timeline %d that begin with transactions %d to %d", s.Timeline, s.First, s.Last)
		}
		return "delete objects that are no part of the history"
	}
	return s.Op
}

// Hold keeps everything up to a transaction: nothing of it is folded, and nothing before it is forgotten.
type Hold struct {
	TXID  journal.TXID `json:"txid"`
	What  string       `json:"what"` // for people: the moment that was named
	Since journal.Time `json:"since"`
}

// checkPlan looks for what no planner writes.
func (h *Head) checkPlan() error {
	p := h.Plan
	if p == nil {
		return nil
	}
	if p.Done < 0 || p.Done > len(p.Steps) || p.ID == "" {
		return fmt.Errorf("plan at step %d of %d", p.Done, len(p.Steps))
	}
	for _, s := range p.Steps {
		switch s.Op {
		case OpMerge, OpFold:
			if s.First == 0 || s.Last < s.First || s.Level < 1 || s.Level > maxLevel || h.line(s.Timeline) == nil {
				return fmt.Errorf("step %v", s)
			}
		case OpBase, OpForget:
		case OpDelete:
			for _, key := range s.Keys {
				if _, ok := parseKey(key); !ok {
					return fmt.Errorf("step that deletes %.80q", key)
				}
			}
		default:
			return fmt.Errorf("step %.20q", s.Op)
		}
	}
	return nil
}
