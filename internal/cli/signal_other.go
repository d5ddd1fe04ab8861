//go:build !unix

package cli

import "context"

// onReportSignal does nothing where there is no signal to ask with.
func onReportSignal(context.Context, func()) (stop func()) { return func() {} }
