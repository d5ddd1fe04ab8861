//go:build !linux

package serve

import (
	"context"
	"time"
)

// waker is what wakes the pump when a trail is written to; there is none here.
type waker struct{}

func newWaker(string) *waker { return nil }

func (*waker) wait(context.Context, time.Duration) bool { return false }

func (*waker) close() {}
