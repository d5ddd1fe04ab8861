package objstore

import (
	"context"
	"io"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
)

// LimitOptions for NewLimiter. Zero is no limit.
type LimitOptions struct {
	RequestsPerSecond float64
	BytesPerSecond    float64 // of bodies, up and down together
}

// Limiter keeps the calls of all stores that it is given under one rate.
type Limiter struct{ requests, bytes *tokens }

// NewLimiter makes a Limiter.
func NewLimiter(o LimitOptions) *Limiter {
	return &Limiter{requests: newBucket(o.RequestsPerSecond), bytes: newBucket(o.BytesPerSecond)}
}

// Limit keeps a store's calls under the rate. A second's worth may come at once; a call that has to wait does so before
// it is made, a body while it is read.
func (l *Limiter) Limit(s Store) Store {
	return &limited{l, around{s, func(ctx context.Context, c Call, do func(context.Context) error) error {
		if err := l.requests.take(ctx, 1); err != nil {
			return err
		}
		if c.Op == OpSwap {
			if err := l.bytes.take(ctx, c.Bytes); err != nil {
				return err
			}
		}
		return do(ctx)
	}}}
}

type limited struct {
	*Limiter
	around
}

var _ Store = (*limited)(nil)

func (l *limited) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, size, err := l.around.Get(ctx, key, off, n)
	if err != nil {
		return nil, 0, err
	}
	return &tapped{body, func(n int) error { return l.bytes.take(ctx, int64(n)) }}, size, nil
}

func (l *limited) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return l.around.Put(ctx, key, &slowly{body, ctx, l.bytes}, size)
}

func (l *limited) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	return l.around.Create(ctx, key, &slowly{body, ctx, l.bytes}, size)
}

// slowly waits for what is read of it.
type slowly struct {
	body  io.ReaderAt
	ctx   context.Context // of the call that reads it
	bytes *tokens
}

func (s *slowly) ReadAt(p []byte, off int64) (int, error) {
	if err := s.bytes.take(s.ctx, int64(len(p))); err != nil {
		return 0, err
	}
	return s.body.ReadAt(p, off)
}

// tokens is a rate. nil is none.
type tokens struct {
	perSecond float64

	mu   sync.Mutex
	free time.Time // when all that was taken will have been paid for; under mu
}

func newBucket(perSecond float64) *tokens {
	if perSecond <= 0 {
		return nil
	}
	return &tokens{perSecond: perSecond}
}

// take waits until n may pass. What is taken is owed by whoever comes next, so that one large piece does not wait for
// its whole size before it begins.
func (t *tokens) take(ctx context.Context, n int64) error {
	if t == nil || n <= 0 {
		return nil
	}
	t.mu.Lock()
	now := time.Now()
	if earliest := now.Add(-time.Second); t.free.Before(earliest) {
		t.free = earliest
	}
	wait := t.free.Sub(now)
	t.free = t.free.Add(time.Duration(float64(n) / t.perSecond * float64(time.Second)))
	t.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	return pause.For(ctx, wait)
}
