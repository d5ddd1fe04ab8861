//go:build unix

package cli

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// onReportSignal calls report for every SIGUSR1 until the context or the returned function ends it,
// so that a job in a pipe or under a service manager can be asked how far it is.
func onReportSignal(ctx context.Context, report func()) (stop func()) {
	return onSignal(ctx, syscall.SIGUSR1, report)
}

// onSignal calls do for every such signal until the context or the returned function ends it.
func onSignal(ctx context.Context, sig os.Signal, do func()) (stop func()) {
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, sig)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-ctx.Done():
				return
			case <-asked:
				do()
			}
		}
	}()
	return func() {
		signal.Stop(asked)
		cancel()
		<-done
	}
}

// onReloadSignal calls reload for every SIGHUP until the returned function ends it.
func onReloadSignal(ctx context.Context, reload func()) (stop func()) {
	return onSignal(ctx, syscall.SIGHUP, reload)
}

// catchSignals keeps what this process is sent from now on, for the process that forward names, until stop ends it.
// Begun before that process is: else a signal in between would end this one and leave that one alone. What a terminal
// sends goes to both already, and an application must bear to be told twice.
func catchSignals() (forward func(*os.Process), stop func()) {
	sent := make(chan os.Signal, 16)
	signal.Notify(sent, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	var forwarding sync.WaitGroup
	forward = func(p *os.Process) {
		forwarding.Go(func() {
			for sig := range sent {
				_ = p.Signal(sig) // it may have ended
			}
		})
	}
	return forward, func() {
		signal.Stop(sent)
		close(sent)
		forwarding.Wait()
	}
}

// signalCode is a shell's exit code for a process that a signal ended.
func signalCode(e *exec.ExitError) int {
	if st, ok := e.Sys().(syscall.WaitStatus); ok {
		return 128 + int(st.Signal())
	}
	return int(Failed)
}
