package cli_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/cli"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/vfs"
)

// fullDisk is a file system on which segments do not grow while it is full, nor does what is written to see whether
// there is room again: so no try begins, and none has to be waited for afterwards.
type fullDisk struct {
	durable.FS
	full *atomic.Bool
}

type fullFile struct {
	durable.File
	full *atomic.Bool
}

func (d fullDisk) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	f, err := d.FS.OpenFile(name, flag, perm)
	if base := filepath.Base(name); err != nil || filepath.Ext(base) != ".seg" && !strings.HasPrefix(base, "pagetrail-") {
		return f, err
	}
	return fullFile{f, d.full}, nil
}

func (f fullFile) WriteAt(p []byte, off int64) (int, error) {
	if f.full.Load() {
		return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.ENOSPC}
	}
	return f.File.WriteAt(p, off)
}

// While commits go on without the trail, status says so; afterwards log says what was merged.
func TestDetached(t *testing.T) {
	var full atomic.Bool
	if err := vfs.Register("full-disk", &vfs.Options{FS: fullDisk{durable.OS, &full}, Full: vfs.FullDetach}); err != nil {
		t.Fatal(err)
	}
	db := filepath.Join(t.TempDir(), "app.db")
	conn, err := sqlite3.Open("file:" + filepath.ToSlash(db) + "?vfs=full-disk")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	exec := func(sql string) {
		t.Helper()
		if err := conn.Exec(sql); err != nil {
			t.Fatal(err)
		}
	}
	matches := func(want string, args ...string) {
		t.Helper()
		r := run(t, t.Context(), nil, args...)
		if r.code != cli.Done || !regexp.MustCompile(want).MatchString(r.out) {
			t.Errorf("%q: code %d, stderr %q, no %q in:\n%s", args, r.code, r.err, want, r.out)
		}
	}
	exec("CREATE TABLE t (a)")
	full.Store(true)
	exec("INSERT INTO t VALUES (1)")
	exec("INSERT INTO t VALUES (2)")
	why := regexp.QuoteMeta(fmt.Sprintf("(%v)", syscall.ENOSPC))
	matches(`(?m)^  DETACHED +since 20.*: the trail cannot be written `+why+`$`, "status", db)
	matches(`2 transactions committed without it; .*, and they will be one catch-up`, "status", db)
	matches(`"detached":\{"since":"20[^"]*Z","after":1,"reason":"[^"]+","transactions":2,"merged":true,"first":"20[^"]*Z","last":"20[^"]*Z"\}`, "status", db, "--json")
	full.Store(false)
	exec("INSERT INTO t VALUES (3)")
	matches(`(?m)^ *2 .* catch-up +merges 2 transactions from .* when the trail could not be written `+why, "log", db)
	if r := run(t, t.Context(), nil, "status", db); strings.Contains(r.out, "DETACHED") {
		t.Errorf("there is room again:\n%s", r.out)
	}
	matches("is sound", "verify", db)
}
