package objstore

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// Meter counts what is asked of a store. The zero value is ready; one may count several stores.
type Meter struct {
	mu       sync.Mutex
	requests map[Op]Count // under mu
	read     atomic.Int64
}

// Count is what a Meter knows of one kind of call.
type Count struct {
	Requests int64 // calls of ours; a List of more than 1000 objects is several of the store's
	Failed   int64
	Written  int64 // bytes
}

// Counts are the calls by kind, and the bytes of bodies that were read.
func (m *Meter) Counts() (calls map[Op]Count, read int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	calls = make(map[Op]Count, len(m.requests))
	for op, c := range m.requests {
		calls[op] = c
	}
	return calls, m.read.Load()
}

// Requests is the number of all calls.
func (m *Meter) Requests() int64 {
	calls, _ := m.Counts()
	var n int64
	for _, c := range calls {
		n += c.Requests
	}
	return n
}

// Metered counts the calls of a store in m.
func Metered(s Store, m *Meter) Store {
	return &metered{around{s, func(ctx context.Context, c Call, do func(context.Context) error) error {
		err := do(ctx)
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.requests == nil {
			m.requests = make(map[Op]Count)
		}
		n := m.requests[c.Op]
		n.Requests++
		n.Written += c.Bytes
		if err != nil {
			n.Failed++
		}
		m.requests[c.Op] = n
		return err
	}}, m}
}

type metered struct {
	around
	m *Meter
}

var _ Store = (*metered)(nil)

func (s *metered) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, size, err := s.around.Get(ctx, key, off, n)
	if err != nil {
		return nil, 0, err
	}
	return &tapped{body, func(n int) error { s.m.read.Add(int64(n)); return nil }}, size, nil
}

// tapped tells of the bytes that are read.
type tapped struct {
	io.ReadCloser
	tell func(n int) error
}

func (t *tapped) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if e := t.tell(n); err == nil {
		err = e
	}
	return n, err
}
