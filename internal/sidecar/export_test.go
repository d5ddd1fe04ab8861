package sidecar

import "time"

// SetGrace changes Options.Grace.
func (s *Sidecar) SetGrace(d time.Duration) { s.opt.Grace = d }

// SetPause sets how long is waited before what failed is tried again.
func (s *Sidecar) SetPause(d time.Duration) { s.pause = d }
