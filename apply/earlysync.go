package apply

import (
	"sync"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// earlySync syncs a file now and then while it is being written, beside the
// writers. It makes nothing durable that counts; but the disk works while the
// cores decode, and the one sync that counts has little left to do and does
// not hold up everybody else's. A nil one does nothing. Safe for concurrent use.
type earlySync struct {
	file durable.File

	mu    sync.Mutex
	busy  bool  // under mu
	dirty int64 // under mu; bytes written since a sync began
	err   error // under mu; the first: after it there is no other sync
	wg    sync.WaitGroup
}

// earlySyncBytes is how much is written from one early sync to the next.
const earlySyncBytes = 64 << 20

// wrote is told that n bytes are written, or just about to be.
func (e *earlySync) wrote(n int) {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dirty += int64(n); e.busy || e.err != nil || e.dirty < earlySyncBytes {
		return
	}
	e.busy, e.dirty = true, 0
	e.wg.Go(func() {
		err := e.file.Sync()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.busy, e.err = false, err
	})
}

// wait ends the sync that is under way and returns the first error. Nobody may
// write meanwhile.
func (e *earlySync) wait() error {
	if e == nil {
		return nil
	}
	e.wg.Wait()
	return e.err
}
