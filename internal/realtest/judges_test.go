//go:build real

package realtest_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// judge is another SQLite: it checks files and says what it reads in each, as one word. It looks
// at many in one process, since starting it costs more than looking.
type judge struct {
	name string
	read func(paths []string) *exec.Cmd
}

// judges are those that this machine has; of a missing one a line tells.
func judges(t *testing.T) []judge {
	t.Helper()
	var found []judge
	for _, j := range []judge{{"sqlite3", shell}, {"python3", python}} {
		if _, err := exec.LookPath(j.name); err != nil {
			t.Logf("JUDGE SKIPPED: %s is not installed", j.name)
			continue
		}
		found = append(found, j)
	}
	if len(found) == 0 {
		t.Skip("SKIPPED: there is neither the sqlite3 shell nor Python to judge the replicas")
	}
	return found
}

// shell has the C command-line shell print, for each file, integrity and the hash of all content.
func shell(paths []string) *exec.Cmd {
	var script strings.Builder
	for _, path := range paths {
		fmt.Fprintf(&script, ".open %s\nPRAGMA integrity_check;\nPRAGMA foreign_key_check;\n.sha3sum --schema\n", path)
	}
	cmd := exec.Command("sqlite3", "-batch", "-bail")
	cmd.Stdin = strings.NewReader(script.String())
	return cmd
}

const pythonScript = `
import hashlib, sqlite3, sys
for name in sys.argv[1:]:
    db = sqlite3.connect(name)
    print(db.execute("PRAGMA integrity_check").fetchone()[0])
    for row in db.execute("PRAGMA foreign_key_check"): print(row)
    h = hashlib.sha256()
    for line in db.iterdump(): h.update(line.encode("utf-8", "surrogatepass"))
    print(h.hexdigest())
    db.close()
`

// python has the sqlite3 module of Python print, for each file, integrity and the hash of a dump.
func python(paths []string) *exec.Cmd {
	return exec.Command("python3", append([]string{"-c", pythonScript}, paths...)...)
}

// judged has every judge look at files, and returns what each read in the last.
func judged(t *testing.T, all []judge, paths ...string) map[string]string {
	t.Helper()
	last := map[string]string{}
	for _, j := range all {
		cmd := j.read(paths)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		lines := strings.Fields(string(out))
		if err != nil || len(lines) != 2*len(paths) {
			t.Errorf("%s: %v: %s%s", j.name, err, firstBad(lines, paths), fmt.Sprintf("%.300s", stderr.String()))
			continue
		}
		for i, path := range paths {
			if lines[2*i] != "ok" {
				t.Errorf("%s does not find %s whole: %s", j.name, path, lines[2*i])
			}
		}
		last[j.name] = lines[2*len(paths)-1]
	}
	return last
}

// firstBad finds where the answers leave the pattern of one "ok" and one hash for each file.
func firstBad(lines, paths []string) string {
	for i, path := range paths {
		if len(lines) < 2*i+2 || lines[2*i] != "ok" {
			rest := strings.Join(lines[min(2*i, len(lines)):], " ")
			return fmt.Sprintf("at %s: %.200s … ", path, rest)
		}
	}
	return ""
}
