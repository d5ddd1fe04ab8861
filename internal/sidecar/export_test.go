package sidecar

import "time"

// SetGrace changes Options.Grace.
func (s *Sidecar) SetGrace(d time.Duration) { s.opt.Grace = d }
