package archtest_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fenced returns the first block of a language in a Markdown text.
func fenced(t *testing.T, text, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```\n")
	if !ok || !closed {
		t.Fatalf("no block of %s", language)
	}
	return block + "\n"
}

// The session in the README is the first thing a stranger tries, so it is run
// as it stands there: the program, then its commands, with what they print.
func TestReadmeSession(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: -short, and the README's session builds two programs")
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := func(name string, args ...string) {
		t.Helper()
		cmd := exec.Command("go", append([]string{"build", "-o", filepath.Join(dir, name)}, args...)...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}

	// The program is compiled as a package of this module, without being a
	// file of it, so that it is the code of this checkout that it meets.
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(fenced(t, string(readme), "go")), 0o644); err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(root, "examples", "readme", "main.go"): source,
	}})
	if err != nil {
		t.Fatal(err)
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	build("session.exe", "-overlay", overlayFile, "./examples/readme")
	build("pagetrail.exe", "./cmd/pagetrail")

	console := strings.Split(strings.TrimSpace(fenced(t, string(readme), "console")), "\n")
	for i := 0; i < len(console); {
		command, ok := strings.CutPrefix(console[i], "$ ")
		if !ok {
			t.Fatalf("not a command: %q", console[i])
		}
		i++
		var want []string
		for ; i < len(console) && !strings.HasPrefix(console[i], "$ "); i++ {
			want = append(want, console[i])
		}
		step(t, dir, command, strings.Join(want, "\n"))
	}
}

// varies is what differs from run to run: times, and bytes of compressed patches.
var varies = regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\S+| *\d+ B\b`)

// step runs a command of the session and compares what it prints on stdout with
// what the README shows, if it shows anything.
func step(t *testing.T, dir, command, want string) {
	t.Helper()
	command, _, _ = strings.Cut(command, "  # ")
	f := words(command)
	switch {
	case command == "go run .":
		f = []string{filepath.Join(dir, "session.exe")}
	case strings.HasPrefix(command, "go mod "), strings.HasPrefix(command, "go install "):
		return // was built above, in this module
	case f[0] == "pagetrail":
		f[0] = filepath.Join(dir, "pagetrail.exe")
	default:
		if _, err := exec.LookPath(f[0]); err != nil {
			t.Logf("not run, %s is not installed: %s", f[0], command)
			return
		}
	}
	cmd := exec.Command(f[0], f[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	t.Logf("$ %s\n%s%s", command, out, stderr.Bytes())
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	got := varies.ReplaceAllString(strings.TrimSpace(string(out)), "-")
	if want = varies.ReplaceAllString(want, "-"); want != "" && got != want {
		t.Errorf("%s printed\n%s\nthe README says\n%s", command, got, want)
	}
}

// words splits a command line at spaces outside single quotes.
func words(line string) []string {
	var out []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			out = append(out, part)
		} else {
			out = append(out, strings.Fields(part)...)
		}
	}
	return out
}
