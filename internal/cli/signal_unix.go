//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onReportSignal calls report for every SIGUSR1 until the context or the returned function ends it,
// so that a job in a pipe or under a service manager can be asked how far it is.
func onReportSignal(ctx context.Context, report func()) (stop func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGUSR1)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-asked:
				report()
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		cancel()
		<-done
	}
}
