//go:build mutants

package crashtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMutants builds the tests of this package with one fault after another in
// the engine, and wants them to fail:
//
//	go test -tags mutants -run TestMutants -timeout 60m ./internal/crashtest
func TestMutants(t *testing.T) {
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			bin, took := m.build(t)
			began := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, bin, "-test.failfast", "-test.short", "-test.run="+m.run)
			cmd.Env = append(os.Environ(), "PAGETRAIL_CUTS=800", "PAGETRAIL_FAULTS=60")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("nobody noticed that %s", m.name)
			case !bytes.Contains(out, []byte("--- FAIL")):
				t.Fatalf("it does not run: %v\n%s", err, out)
			default:
				t.Logf("built in %v, caught in %v: %s", took.Round(time.Second), time.Since(began).Round(100*time.Millisecond), firstComplaint(out))
			}
		})
	}
}

// build makes the test binary with the fault in it; the tree stays as it is.
func (m mutant) build(t *testing.T) (bin string, took time.Duration) {
	began, dir := time.Now(), t.TempDir()
	source, err := m.mutate()
	if err != nil {
		t.Fatal(err)
	}
	path, err := filepath.Abs(m.path())
	if err != nil {
		t.Fatal(err)
	}
	changed, overlay := filepath.Join(dir, "changed.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{path: changed}})
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{changed: source, overlay: list} {
		if err := os.WriteFile(name, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	bin = filepath.Join(dir, "mutant.test")
	if out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-ldflags=-s -w", "-overlay", overlay, "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("it does not compile: %v\n%s", err, out)
	}
	return bin, time.Since(began)
}

func firstComplaint(out []byte) string {
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "_test.go:") {
			return line[:min(len(line), 400)]
		}
	}
	return ""
}
