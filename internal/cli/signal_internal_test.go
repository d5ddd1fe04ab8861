//go:build unix

package cli

import (
	"os"
	"os/exec"
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

// A signal that comes while an application is started reaches it all the same.
func TestSignalWhileStarting(t *testing.T) {
	forward, stop := catchSignals()
	defer stop()
	if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-c", "trap 'exit 5' TERM; echo; while :; do sleep 0.01; done")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	forward(cmd.Process)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("code %d", code)
	}
}
