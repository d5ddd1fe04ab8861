package cli_test

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

// TestMain makes the test binary the pagetrail that scripts run.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"pagetrail":        func() { os.Exit(pagetrail()) },
		"pagetrail-writer": writer,
	})
}

// pagetrail is the program with a clock that scripts set: without that, no output could be compared.
func pagetrail() int {
	env := cli.SystemEnv()
	if s := os.Getenv("NOW"); s != "" {
		now, err := time.Parse(time.RFC3339, s)
		if err != nil {
			panic(err)
		}
		env.Now = func() time.Time { return now }
	}
	return cli.Process(env, os.Args[1:])
}

// manyGoroutines are the verbs, and so the beginnings of scripts' names, that do several things at once.
var manyGoroutines = regexp.MustCompile(`^(compact|demo|doctor|exec|follow|hydrate_(at|base|sealed)|interrupted|promote|run|send|service|ship|verify|watch)`)

// scripts are those of testdata/script; under -short, which is how the race detector runs them, those alone in which it
// could find something.
func scripts(t *testing.T) (files []string) {
	all, err := filepath.Glob(filepath.Join("testdata", "script", "*.txtar"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%d scripts: %v", len(all), err)
	}
	if !testing.Short() {
		return all
	}
	for _, file := range all {
		if manyGoroutines.MatchString(filepath.Base(file)) {
			files = append(files, file)
		}
	}
	t.Run("others", func(t *testing.T) {
		t.Skipf("skipped: -short, %d scripts of verbs that do one thing after the other", len(all)-len(files))
	})
	return files
}

// TestScripts runs testdata/script: one behaviour a file. To the commands of testscript come those of
// README.md there.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Files:               scripts(t),
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		Setup: func(e *testscript.Env) error {
			e.Setenv("NOW", "2026-11-21T12:00:00Z")
			e.Setenv("TZ", "UTC")
			serviceEnv(e)
			e.Values[remembered{}] = map[string]string{}
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "service":
				return os.Getenv(objstoretest.ServiceEnv) != "", nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"maketrail": cmdMakeTrail,
			"damage":    cmdDamage,
			"mask":      cmdMask,
			"cutafter":  cmdCutAfter,
			"snapshot":  cmdSnapshot,
			"remember":  cmdRemember,
			"unchanged": cmdUnchanged,
			"holdlock":  cmdHoldLock,
		},
	})
}

// serviceEnv sets STORE and QUERY, from which scripts make URLs at a running service, and the credentials for it.
func serviceEnv(e *testscript.Env) {
	base, query, _ := strings.Cut(os.Getenv(objstoretest.ServiceEnv), "?")
	var name [8]byte
	_, _ = rand.Read(name[:]) // documented never to fail
	e.Setenv("STORE", base+"/script-"+hex.EncodeToString(name[:]))
	e.Setenv("QUERY", query)
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY", "STORAGE_EMULATOR_HOST",
	} {
		e.Setenv(name, os.Getenv(name))
	}
}

// exits CODE PROGRAM ARG... runs a program and wants that exit code of it.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s ends with %d, want %d", args[1], got, want)
	}
}

// damage HOW FILE ARG... spoils a file in one of these ways:
//
//	empty FILE        leaves nothing of it
//	cut FILE N        takes N bytes off its end
//	flip FILE N       inverts the byte at N (from the end: negative)
//	swap FILE FILE    exchanges the contents of two
//	version FILE N    makes it a file of format version N, its checksum right
func cmdDamage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: damage HOW FILE ARG...")
	}
	path := ts.MkAbs(args[1])
	b, err := os.ReadFile(path)
	ts.Check(err)
	number := func() int {
		n, err := strconv.Atoi(args[2])
		ts.Check(err)
		return n
	}
	switch args[0] {
	case "empty":
		b = nil
	case "cut":
		b = b[:len(b)-number()]
	case "flip":
		n := number()
		if n < 0 {
			n += len(b)
		}
		b[n] ^= 0xff
	case "version":
		// Segment and base headers: u16 version at 8, CRC-32C of the first 124 bytes after them.
		binary.LittleEndian.PutUint16(b[8:], uint16(number()))
		binary.LittleEndian.PutUint32(b[124:], crc32.Checksum(b[:124], crc32.MakeTable(crc32.Castagnoli)))
	case "swap":
		other := ts.MkAbs(args[2])
		o, err := os.ReadFile(other)
		ts.Check(err)
		ts.Check(os.WriteFile(other, b, 0o644))
		b = o
	default:
		ts.Fatalf("damage: unknown way %s", args[0])
	}
	ts.Check(os.WriteFile(path, b, 0o644))
}

// cutafter DIR N has the database lose what came after transaction N, as far as its trail can tell: that is kept in
// cut-1795258800000000, of 2026-11-21 11:00.
func cmdCutAfter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: cutafter DIR N")
	}
	dir := ts.MkAbs(args[0])
	n, err := strconv.ParseUint(args[1], 10, 63)
	ts.Check(err)
	w, err := journal.OpenWriter(dir, nil)
	ts.Check(err)
	_, err = w.Lock()
	ts.Check(err)
	ts.Check(w.CutAfter(journal.TXID(n)))
	ts.Check(w.Close())
	cuts, err := filepath.Glob(filepath.Join(dir, "cut-*"))
	ts.Check(err)
	ts.Check(os.Rename(cuts[len(cuts)-1], filepath.Join(dir, "cut-1795258800000000")))
}

// sizes are what depends on how well patches are encoded.
var sizes = regexp.MustCompile(`[0-9][0-9.]* (?:[kM]?B|%)|patch_bytes":[0-9]+`)

// mask FILE FILE copies a file, the digits of its sizes made x: a better encoding changes them, and
// is no matter of the command line.
func cmdMask(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: mask FROM TO")
	}
	masked := sizes.ReplaceAllStringFunc(ts.ReadFile(args[0]), func(s string) string {
		return strings.Map(func(r rune) rune {
			if '0' <= r && r <= '9' {
				return 'x'
			}
			return r
		}, s)
	})
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(masked), 0o644))
}

// remembered is the key of what remember keeps in a script.
type remembered struct{}

// remember DIR... takes the fingerprints of directories: names, sizes, modes and contents.
func cmdRemember(ts *testscript.TestScript, neg bool, args []string) {
	m := ts.Value(remembered{}).(map[string]string)
	for _, dir := range args {
		m[dir] = fingerprint(ts, dir)
	}
}

// unchanged DIR... wants each directory to be as it was at remember.
func cmdUnchanged(ts *testscript.TestScript, neg bool, args []string) {
	m := ts.Value(remembered{}).(map[string]string)
	for _, dir := range args {
		before, ok := m[dir]
		if !ok {
			ts.Fatalf("unchanged: %s was never remembered", dir)
		}
		if now := fingerprint(ts, dir); now != before {
			ts.Fatalf("%s changed. Before:\n%s\nNow:\n%s", dir, before, now)
		}
	}
}

// holdlock DIR holds a trail's writer lock, as a program does that writes, until the script ends.
func cmdHoldLock(ts *testscript.TestScript, neg bool, args []string) {
	lock, err := durable.OS.Lock(filepath.Join(ts.MkAbs(args[0]), "lock"), 0o644, true, false)
	ts.Check(err)
	ts.Defer(func() { _ = lock.Close() })
}

func fingerprint(ts *testscript.TestScript, dir string) string {
	var lines []string
	root := ts.MkAbs(dir)
	ts.Check(filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		l := fmt.Sprintf("%s %v", rel, info.Mode())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			l += fmt.Sprintf(" %d %x", len(b), sha256.Sum256(b))
		}
		lines = append(lines, l)
		return nil
	}))
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
