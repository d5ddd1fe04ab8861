package sqlitefile_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

var pageSizes = []int{512, 1024, 2048, 4096, 8192, 16384, 32768, 65536}

// shell runs a script in the C library's shell on the database db, and returns
// what it printed. Files are made by the program whose formats we claim to
// read; without it the test is skipped, and says so.
func shell(t testing.TB, db, script string) string {
	t.Helper()
	bin, err := exec.LookPath("sqlite3")
	if err != nil {
		t.Skip("skipped: needs the sqlite3 shell to make real files, which is not installed")
	}
	cmd := exec.Command(bin, "-batch", "-bail", db)
	// The shell knows its own commands only at the beginning of a line.
	lines := strings.Split(script, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	cmd.Dir = filepath.Dir(db)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("sqlite3: %v\n%s\nscript: %s", err, out, script)
	}
	return strings.TrimSpace(string(out))
}

// python runs a program in Python and returns what it printed.
func python(t testing.TB, program string, args ...string) string {
	t.Helper()
	bin, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("skipped: needs python3 to make real files, which is not installed")
	}
	if err := exec.Command(bin, "-c", "import sqlite3").Run(); err != nil {
		t.Skip("skipped: python3 has no sqlite3 module")
	}
	out, err := exec.Command(bin, append([]string{"-c", program}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o644); err != nil {
		t.Fatal(err)
	}
}

func header(t testing.TB, db []byte) sqlitefile.Header {
	t.Helper()
	h, err := sqlitefile.ParseHeader(db)
	if err != nil {
		t.Fatal(err)
	}
	return h
}
