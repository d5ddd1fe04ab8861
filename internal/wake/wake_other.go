//go:build !linux

package wake

import (
	"context"
	"time"
)

// Waker is not to be had here.
type Waker struct{}

// New returns nil.
func New() *Waker { return nil }

// Dir returns false.
func (*Waker) Dir(string) bool { return false }

// Next returns false.
func (*Waker) Next(string) bool { return false }

// Wait returns false.
func (*Waker) Wait(context.Context, time.Duration) bool { return false }

// Close does nothing.
func (*Waker) Close() {}
