//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// ignoreFileSizeSignal lets a write beyond the limit of ulimit -f fail with EFBIG, as documented in
// setrlimit(2); left alone, the signal would end the process with its temporary file left behind.
func ignoreFileSizeSignal() { signal.Ignore(syscall.SIGXFSZ) }

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
