package sidecar

import (
	"context"
	"sync"
	"time"
)

// task is a step of one entry. It belongs to the loop, except while it is under way.
type task struct {
	e    *entry
	do   func(ctx context.Context) (again time.Duration, err error)
	busy bool
	due  time.Time
	// What came of it, for the loop.
	again time.Duration
	err   error
}

// pool is a number of workers.
type pool struct {
	jobs chan *task
	done chan *task
	free int // owned by the loop
	all  sync.WaitGroup
}

func (p *pool) start(ctx context.Context, workers int) {
	p.jobs, p.done, p.free = make(chan *task), make(chan *task), workers
	for range workers {
		p.all.Go(func() {
			for t := range p.jobs {
				t.again, t.err = t.do(ctx)
				p.done <- t
			}
		})
	}
}

// stop ends the workers; no task may be under way.
func (p *pool) stop() {
	close(p.jobs)
	p.all.Wait()
}

// give hands a task to a worker that is free.
func (p *pool) give(t *task) {
	t.busy = true
	p.free--
	p.jobs <- t
}

// took is called with each task that comes back.
func (p *pool) took(t *task) {
	t.busy = false
	p.free++
}
