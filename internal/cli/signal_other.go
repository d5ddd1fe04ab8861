//go:build !unix

package cli

import (
	"context"
	"os"
	"os/exec"
)

// onReportSignal does nothing where there is no signal to ask with.
func onReportSignal(context.Context, func()) (stop func()) { return func() {} }

// onReloadSignal does nothing where there is no such signal.
func onReloadSignal(context.Context, func()) (stop func()) { return func() {} }

// catchSignals does nothing: a console sends to all its processes.
func catchSignals() (forward func(*os.Process), stop func()) { return func(*os.Process) {}, func() {} }

// signalCode is the exit code of a process that has none.
func signalCode(*exec.ExitError) int { return int(Failed) }
