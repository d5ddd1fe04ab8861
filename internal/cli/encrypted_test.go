package cli_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// A service encrypts what it ships, goes on with that after it was started again, and each database's archive is read
// by its own URL, wherever the service's begins.
func TestRunEncrypted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	store := filepath.Join(dir, "store")
	key := write("key.txt", "AGE-SECRET-KEY-1Q04Y769AMGTUQ8XEZREDKTNZFZ5YCR8SPC5DG745STNJH5L7647Q52YCXT\n")
	conf := write("run.yaml", "to: file://"+store+"\nlisten: 127.0.0.1:0\nlog: {format: json}\nlook: 20ms\n"+
		"encrypt-to: age1zpxqdja4rk8zv0qvlljmveaggfql3c8mzsugdmpdukn07caqfslsqlv9hp\nidentity: key.txt\n"+
		"databases:\n- path: a.db\n  name: tenants/a\n")
	for round := range 2 {
		c, err := sqlite3.Open("file:" + filepath.Join(dir, "a.db") + "?vfs=pagetrail")
		if err == nil {
			err = c.Exec("PRAGMA journal_mode=WAL; CREATE TABLE IF NOT EXISTS t(a); INSERT INTO t VALUES(1); PRAGMA wal_checkpoint(TRUNCATE)")
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		s := launch(t, "pagetrail", "run", "--config", conf)
		s.until(`"msg":"shipping"`)
		s.cmd.Process.Signal(syscall.SIGTERM) // it ships what there is before it ends
		if code := s.end(); code != 0 {
			t.Fatalf("round %d ended with %d:\n%s", round, code, s.said())
		}
		out := filepath.Join(dir, "out.db")
		if r := run(t, t.Context(), nil, "hydrate", "file://"+store+"/tenants/a", "-o", out, "--force", "--identity", key); r.code != 0 {
			t.Fatalf("round %d: hydrate: %+v", round, r)
		}
		want, err := os.ReadFile(filepath.Join(dir, "a.db"))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("round %d: %d bytes restored of %d, %v", round, len(got), len(want), err)
		}
	}
	err := filepath.WalkDir(store, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		for _, plain := range []string{"PTSEG", "PTBAS", `"writer"`} {
			if bytes.Contains(data, []byte(plain)) {
				t.Errorf("%s has %s in it", path, plain)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
