//go:build unix

package cli

import (
	"os"
	"syscall"
	"testing"
)

// Asked by SIGUSR1, a job reports; when it is done, the signal is its own no longer.
func TestReportSignal(t *testing.T) {
	reported := make(chan struct{})
	stop := onReportSignal(t.Context(), func() { reported <- struct{}{} })
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		<-reported
	}
	stop()
}
