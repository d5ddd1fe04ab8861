package objstore

import (
	"context"
	"errors"
	"sync"
)

// ErrInjected is the error of calls that Faults made fail. It is no clear answer, as that of a broken connection is
// none.
var ErrInjected = errors.New("injected fault")

// Outcome is what happens to a call.
type Outcome int

// The ways in which calls end.
const (
	Pass    Outcome = iota
	Refuse          // not carried out, and reported as failed
	Deceive         // carried out, and reported as failed
)

// Faults makes calls of a store fail, in tests. A test that injects faults asserts that Fired is not zero: a fault
// that was never reached proves nothing.
type Faults struct {
	// Decide says what happens to call number i, from 0. It may be called concurrently.
	Decide func(i int, c Call) Outcome

	mu    sync.Mutex
	calls int
	fired int
}

// Calls is how many calls there were.
func (f *Faults) Calls() int { f.mu.Lock(); defer f.mu.Unlock(); return f.calls }

// Fired is how many of them were made to fail.
func (f *Faults) Fired() int { f.mu.Lock(); defer f.mu.Unlock(); return f.fired }

func (f *Faults) decide(c Call) Outcome {
	f.mu.Lock()
	i := f.calls
	f.calls++
	f.mu.Unlock()
	out := Pass
	if f.Decide != nil {
		out = f.Decide(i, c)
	}
	if out != Pass {
		f.mu.Lock()
		f.fired++
		f.mu.Unlock()
	}
	return out
}

// Faulty is a store whose calls fail as f says.
func Faulty(s Store, f *Faults) Store {
	return &around{s, func(ctx context.Context, c Call, do func(context.Context) error) error {
		switch f.decide(c) {
		case Refuse:
			return &Error{Op: c.Op, Store: "store", Key: c.Key, Err: ErrInjected}
		case Deceive:
			_ = do(ctx) // whatever came of it, nobody learns it
			return &Error{Op: c.Op, Store: "store", Key: c.Key, Err: ErrInjected}
		}
		return do(ctx)
	}}
}
