//go:build !unix

package cli

import "context"

// ignoreFileSizeSignal does nothing where there is no such signal.
func ignoreFileSizeSignal() {}

// onReportSignal does nothing where there is no signal to ask with.
func onReportSignal(context.Context, func()) (stop func()) { return func() {} }
