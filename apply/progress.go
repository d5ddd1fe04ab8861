package apply

import (
	"sync"
	"time"
)

// Phase is a step of the work, for showing progress.
type Phase string

// The phases, in the order in which they come. Verify has Scan, which runs
// beside its Replay.
const (
	PhaseBase   Phase = "base"   // pages of the base are written; bytes of the database
	PhaseReplay Phase = "replay" // transactions are applied; transactions, bytes of patches
	PhaseCheck  Phase = "check"  // the output is read back and hashed; bytes of the database
	PhaseCopy   Phase = "copy"   // the output is streamed; bytes of the database
	PhaseScan   Phase = "scan"   // every byte of the trail's files is read; bytes of files
)

// Progress says how far a phase is. Totals are estimates until the phase ends,
// 0 when nothing is known.
type Progress struct {
	Phase                           Phase
	Bytes, BytesTotal               int64
	Transactions, TransactionsTotal uint64
}

// progressEvery is the least time between two calls of a progress callback.
const progressEvery = 100 * time.Millisecond

// meter calls a progress callback, for each phase at most every 100 ms and
// at its end, never twice at once. A nil meter is silent.
type meter struct {
	mu   sync.Mutex
	call func(Progress)      // under mu
	last map[Phase]time.Time // under mu; two phases may run at once
}

func newMeter(call func(Progress)) *meter {
	if call == nil {
		return nil
	}
	return &meter{call: call, last: make(map[Phase]time.Time)}
}

// report passes p on if it is time, or if p ends its phase.
func (m *meter) report(p Progress, end bool) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if !end && now.Sub(m.last[p.Phase]) < progressEvery {
		return
	}
	m.last[p.Phase] = now
	m.call(p)
}
