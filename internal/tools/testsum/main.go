// Testsum runs go test and says at the end what came of it:
//
//	testsum [-add FILE] [arguments of go test]
//
// While the tests run it prints go test's own closing line of each package, and
// the whole output of tests that fail. Then it lists what was skipped and why,
// because a skipped test is a promise not kept, and ends with the line
//
//	N passed, N failed, N skipped
//
// Tests with subtests are not counted, their subtests are. With -add the three
// numbers are also appended to FILE, for a total over several runs. It exits
// with 1 when anything failed.
package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	add := ""
	if len(args) >= 2 && args[0] == "-add" {
		add, args = args[1], args[2:]
	}
	// An interrupt reaches go test as well, being of the same process group;
	// we stay to report what it says.
	signal.Notify(make(chan os.Signal, 1), os.Interrupt, syscall.SIGTERM)

	cmd := exec.Command("go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		return 1
	}
	s := newSummary(os.Stdout)
	readErr := s.read(out)
	_, _ = io.Copy(io.Discard, out)
	waitErr := cmd.Wait()
	passed, failed, skipped := s.close()
	if waitErr != nil && failed == 0 {
		// It failed before any test could: bad arguments, or no such package.
		failed = 1
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	if add != "" {
		if err := appendCounts(add, passed, failed, skipped); err != nil {
			fmt.Fprintln(os.Stderr, "testsum:", err)
			return 1
		}
	}
	if readErr != nil {
		fmt.Fprintln(os.Stderr, "testsum:", readErr)
		return 1
	}
	return min(failed, 1)
}

func appendCounts(name string, counts ...int) error {
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, counts[0], counts[1], counts[2])
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
