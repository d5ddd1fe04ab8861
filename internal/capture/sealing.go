package capture

import (
	"context"
	"errors"
	"sync"

	"github.com/pagetrail/pagetrail/journal"
)

// sealing compresses the segments of the trail that have ended, on a goroutine
// beside everything else. Nothing depends on it but the size of the trail and
// how fast a transaction of long ago is found, so nobody waits for it: begun by
// a rotation, it is stopped when the process closes the database, which may be
// a moment after an import that takes a minute to compress. journal.Seal keeps
// what was done so far.
//
// It is taken up by the next rotation and, with its first write, by the next
// process that writes to the database; `pagetrail status` tells what is left.
// Who only reads or ships the trail may be another user, whose files the
// database's own could not replace any more, so nobody else does it unasked.
//
// Where all processes are short-lived, none might ever come to the end of a
// segment: so a process that has taken up no more than patientBytes from others
// stays until that is done. It costs a fraction of a second, and not again until
// as much was written anew.
type sealing struct {
	mu      sync.Mutex
	stop    context.CancelFunc // nil: no goroutine is there
	done    chan struct{}      // closed when it is gone
	again   bool               // a segment has ended since it looked
	patient bool               // end waits for it
	closing bool
}

// patientBytes is two segments of the usual size.
const patientBytes = 16 << 20

// begin has what there is sealed; own says that this process has just ended a
// segment, else it is what others have left.
func (s *sealing) begin(db *DB, own bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop != nil || s.closing {
		s.again = true
		s.patient = s.patient && !own
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.done, s.patient = stop, make(chan struct{}), !own
	dir, log := db.opt.Dir, db.opt.Log
	o := &journal.WriterOptions{FS: db.opt.FS, Mode: db.opt.Mode, SealFast: db.opt.SealFast}
	go func() {
		defer close(s.done)
		defer stop()
		for more := true; more; more = s.more() {
			if !s.worth(dir, o) {
				continue
			}
			// Who holds the lock does what we would.
			if _, err := journal.Seal(ctx, dir, o); err != nil && ctx.Err() == nil && !errors.Is(err, journal.ErrLocked) {
				log.Error("seal a segment of the trail", "trail", dir, "err", err)
			}
		}
	}()
}

// worth says that there is something to seal, and time.
func (s *sealing) worth(dir string, o *journal.WriterOptions) bool {
	n, err := journal.Unsealed(dir, o)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.patient = s.patient && n <= patientBytes
	return err != nil || n > 0 && (s.patient || !s.closing) // an error is Seal's to find
}

// more says that there is another round, and else that the goroutine is gone.
func (s *sealing) more() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.again && !s.closing {
		s.again = false
		return true
	}
	s.stop = nil
	return false
}

// end returns when nothing is being sealed, and nothing will be.
func (s *sealing) end() {
	s.mu.Lock()
	s.closing = true
	if s.stop != nil && !s.patient {
		s.stop()
	}
	done := s.done
	s.mu.Unlock()
	if done != nil {
		<-done
	}
}
