//go:build mutants

package crashtest_test

import (
	"bytes"
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// mutant is a fault of the engine, made on purpose.
type mutant struct {
	name, file, old, new string
	run                  string // the tests that must catch it
}

var mutants = []mutant{
	{"the trail is not synced beside the database", "vfs/file.go", "if !f.conn.Unsynced() {", "if true {", "TestPowerCuts/DELETE/FULL"},
	{"a transaction is committed before the commit point", "internal/capture/conn.go", "return c.append(v, tx, true)", "return c.append(v, tx, false)", "TestKillPoints/DELETE/FULL"},
	{"what a rollback after a spill left is ignored", "internal/capture/conn.go", "c.db.do(true, c.residue)", "c.db.do(true, c.dropPrepared)", "TestPowerCuts/(DELETE|PERSIST)/FULL|TestOutsiders/(DELETE|PERSIST)"},
	{"a stale page hash is trusted", "internal/capture/table.go", "return err == nil && sum == tx.Sum", "return err == nil && (sum == tx.Sum || true)", "TestPowerCuts/WAL"},
	{"the trail is not synced before a checkpoint", "internal/capture/connwal.go", "		return c.db.durable()\n	})\n	if c.ckptErr", "		return nil\n	})\n	if c.ckptErr", "TestPowerCuts/WAL"},
	{"the trail is not synced before the WAL begins anew", "internal/capture/connwal.go", "		db.generation.Store(saltKey(hdr.Salt))\n		return db.durable()", "		db.generation.Store(saltKey(hdr.Salt))\n		return nil", "TestPowerCuts/WAL"},
	{"nothing is caught up before a checkpoint", "internal/capture/connwal.go", "	c.ckptErr = c.db.do(false, func() error {\n		if err := c.db.settleWAL(c.files()); err != nil {\n			return err\n		}", "	c.ckptErr = c.db.do(false, func() error {", "TestPowerCuts/WAL|TestKillPoints/WAL"},
	{"the directory of a new journal is not synced", "vfs/file.go", "if f.dir == \"\" {", "if true {", "TestPowerCuts/DELETE/FULL"},
	{"the clean stamp survives the first write", "internal/capture/table.go", "	if !t.stamp.Clean {\n		return nil\n	}", "	if true {\n		return nil\n	}", "TestPowerCuts|TestKillPoints"},
	{"a WAL that nobody knows is taken for ours", "internal/capture/catchup.go", "	default:\n		return errUnknownWAL", "	default:", "TestOutsiders/WAL"},
	{"the wal-index is not asked for the end", "internal/capture/wal.go", "	if shm != nil && known == 0 {", "	if false {", "TestFaults/WAL/FULL"},
	{"what SQLite lost is never taken back", "internal/capture/reconcile.go", "found, err = db.align(src)", "found, err = false, error(nil)", "TestPowerCuts/DELETE/FULL"},
	{"a tail ends while its last record can be lost", "internal/capture/db.go", "if err := db.settleFiles(); err != nil {", "if err := error(nil); err != nil {", "TestPowerCuts/(DELETE|TRUNCATE|WAL)/NORMAL"},
	{"pages beyond the committed size are kept", "internal/capture/wal.go", "return r.page > count || r.page == lock", "return r.page == lock", "TestPowerCuts/WAL|TestKillPoints/WAL"},
	{"a prepared record is always dropped", "internal/capture/reconcile.go", "case same && p.Sum == sum:\n\t\terr = db.w.Confirm()", "case same && p.Sum == sum:\n\t\terr = db.w.Drop()", "TestKillPoints/(DELETE|PERSIST)/FULL|TestPowerCuts/PERSIST/FULL"},
	{"writes without syncs are not noted", "internal/capture/table.go", "	if t.stamp.Loose {\n		return nil\n	}", "	if true {\n		return nil\n	}", "TestPowerCuts/WAL/OFF"},
	{"pages that nobody wrote are zero", "internal/capture/wal.go", "return buf, w.page(no, buf)\n	default", "clear(buf)\n		return buf, nil\n	default", "TestPowerCuts/WAL"},
}

// TestMutants makes a copy of the module, puts one fault after another into it,
// and wants the tests of this package to fail:
//
//	go test -tags mutants -run TestMutants -timeout 60m ./internal/crashtest
func TestMutants(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := copyModule(dir, root); err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		t.Run(strings.ReplaceAll(m.name, " ", "_"), func(t *testing.T) {
			name := filepath.Join(dir, filepath.FromSlash(m.file))
			source, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(source, []byte(m.old)); n != 1 {
				t.Fatalf("%s has the place %d times: the mutant has to follow the code", m.file, n)
			}
			if err := os.WriteFile(name, bytes.Replace(source, []byte(m.old), []byte(m.new), 1), 0o644); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(name, source, 0o644); err != nil {
					t.Fatal(err)
				}
			}()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "go", "test", "-vet=off", "-failfast", "-short", "-run", m.run, "./internal/crashtest")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "PAGETRAIL_CUTS=800", "PAGETRAIL_FAULTS=60")
			out, err := cmd.CombinedOutput()
			switch {
			case err == nil:
				t.Errorf("nobody noticed that %s", m.name)
			case !bytes.Contains(out, []byte("--- FAIL")):
				t.Fatalf("it does not run: %v\n%s", err, out)
			default:
				t.Logf("caught: %s", firstComplaint(out))
			}
		})
	}
}

func firstComplaint(out []byte) string {
	for _, line := range strings.Split(string(out), "\n") {
		if strings.Contains(line, "_test.go:") {
			return line[:min(len(line), 400)]
		}
	}
	return ""
}

func copyModule(dst, src string) error {
	return filepath.WalkDir(src, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(src, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == ".git" || d.Name() == "node_modules" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(dst, rel), 0o755)
		}
		if !d.Type().IsRegular() || rel == ".git" {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dst, rel), data, 0o644)
	})
}
