package crashtest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/vfs"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv("PAGETRAIL_TEST_VICTIM"); path != "" {
		if err := victim(path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	if path := os.Getenv("PAGETRAIL_TEST_WRITER"); path != "" {
		if err := writer(path); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	debug.SetGCPercent(400) // the disks are small, and there are many
	os.Exit(m.Run())
}

// calls counts what a process asks of the system for its files; at the one that
// was agreed on the process kills itself.
var calls struct {
	n  atomic.Int64
	at int64
}

func call() {
	if n := calls.n.Add(1); n != calls.at {
		return
	}
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		panic(err)
	}
	select {} // the signal is on its way
}

// victim does the work of killWork on real files, and prints the number of each
// transaction that was acknowledged.
func victim(path string) error {
	at, err := strconv.ParseInt(os.Getenv("PAGETRAIL_TEST_AT"), 10, 64)
	if err != nil {
		return err
	}
	calls.at = at
	sqlitevfs.Register("counting", countingVFS{sqlitevfs.Find("os")})
	if err := vfs.Register("victim", &vfs.Options{Base: "counting", FS: countingFS{durable.OS}, SealBytes: 16 << 10}); err != nil {
		return err
	}
	mode, sync, _ := strings.Cut(os.Getenv("PAGETRAIL_TEST_MODE"), "/")
	conns := make([]*sqlite3.Conn, 2)
	for i, s := range killWork(mode == "WAL") {
		if conns[s.conn] != nil && s.reopen {
			if err := conns[s.conn].Close(); err != nil {
				return err
			}
			conns[s.conn] = nil
		}
		if conns[s.conn] == nil {
			c, err := sqlite3.Open("file:" + path + "?vfs=victim")
			if err != nil {
				return err
			}
			conns[s.conn] = c
			if err := c.Exec(fmt.Sprintf("PRAGMA journal_mode=%s; PRAGMA synchronous=%s; PRAGMA cache_size=5", mode, sync)); err != nil {
				return err
			}
		}
		if err := conns[s.conn].Exec(withNumber(s.sql, i+1)); err != nil {
			return fmt.Errorf("step %d: %w", i+1, err)
		}
		if s.commit {
			fmt.Println(i + 1)
		}
	}
	fmt.Println("calls", calls.n.Load())
	return nil
}

func TestKilledProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("starts many processes")
	}
	var kills atomic.Int64
	points := int64(envInt("PAGETRAIL_KILLS", 8))
	for _, mode := range []string{"DELETE/FULL", "TRUNCATE/NORMAL", "PERSIST/OFF", "WAL/NORMAL", "WAL/FULL"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			total, err := runVictim(t.TempDir(), mode, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i := range points {
				dir := t.TempDir()
				at := 1 + (total-1)*i/points
				acked, err := runVictim(dir, mode, at)
				if err == nil {
					err = checkKilled(dir, int(acked))
				}
				if err != nil {
					t.Errorf("killed at call %d of %d: %v", at, total, err)
				}
				kills.Add(1)
			}
		})
	}
	t.Cleanup(func() { t.Logf("%d processes killed", kills.Load()) })
}

// runVictim starts a process that kills itself at a call, and returns the last
// transaction it acknowledged; with at 0 it is not killed, and the number of
// its calls is returned.
func runVictim(dir, mode string, at int64) (int64, error) {
	path := filepath.Join(dir, dbName)
	c, err := sqlite3.Open("file:" + path)
	if err != nil {
		return 0, err
	}
	err = c.Exec("PRAGMA page_size=512; CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB); CREATE TABLE meta(step INT); INSERT INTO meta VALUES(0)")
	if err := errors.Join(err, c.Close()); err != nil {
		return 0, err
	}
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "PAGETRAIL_TEST_VICTIM="+path, "PAGETRAIL_TEST_MODE="+mode, fmt.Sprintf("PAGETRAIL_TEST_AT=%d", at))
	out, err := cmd.Output()
	if at == 0 && err != nil {
		return 0, fmt.Errorf("%w: %s", err, out)
	}
	if at > 0 && cmd.ProcessState.Exited() {
		return 0, fmt.Errorf("it was not killed: %s", out)
	}
	last := int64(0)
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		n, err := strconv.ParseInt(strings.TrimPrefix(lines.Text(), "calls "), 10, 64)
		if err != nil {
			return 0, errors.New(lines.Text())
		}
		last = n
	}
	return last, nil
}

// checkKilled takes up what a killed process left: a copy with C SQLite first,
// where there is one, and then both with our VFS.
func checkKilled(dir string, acked int) error {
	other := dir + "-other"
	defer os.RemoveAll(other)
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		return err
	}
	if shell, err := exec.LookPath("sqlite3"); err == nil {
		out, err := exec.Command(shell, filepath.Join(other, dbName), "SELECT step FROM meta; PRAGMA integrity_check").CombinedOutput()
		if err != nil {
			return fmt.Errorf("the sqlite3 shell: %w: %s", err, out)
		}
		line, rest, _ := strings.Cut(string(out), "\n")
		if n, err := strconv.Atoi(line); err != nil || n < acked || strings.TrimSpace(rest) != "ok" {
			return fmt.Errorf("the sqlite3 shell found %q, %d were acknowledged", out, acked)
		}
	}
	for _, d := range []string{dir, other} {
		if err := takeUp(filepath.Join(d, dbName), acked); err != nil {
			return fmt.Errorf("in %s: %w", filepath.Base(d), err)
		}
	}
	return nil
}

func takeUp(path string, acked int) error {
	c, err := sqlite3.Open("file:" + path + "?vfs=" + vfs.Name)
	if err != nil {
		return err
	}
	n, err := number(c, "SELECT step FROM meta")
	if err == nil && n < acked {
		err = fmt.Errorf("transaction %d was acknowledged, the database has %d", acked, n)
	}
	if err == nil {
		err = c.Exec("UPDATE meta SET step=1000")
	}
	if err := errors.Join(err, c.Close()); err != nil {
		return err
	}
	return sameFile(path)
}

// sameFile compares the trail with the database, which nobody has open, byte
// for byte.
func sameFile(path string) error {
	trail, err := journal.Open(path+"-pagetrail", nil)
	if err != nil {
		return err
	}
	defer trail.Close()
	var out bytes.Buffer
	if _, err := apply.HydrateTo(context.Background(), trail, &out, apply.Latest(), nil); err != nil {
		return err
	}
	file, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	// Killed between the commit of a VACUUM and the truncation that follows it,
	// the file stays longer than its header says, for SQLite as well.
	h, err := sqlitefile.ParseHeader(file)
	if err != nil {
		return err
	}
	if size := int64(h.Pages(int64(len(file)))) * int64(h.PageSize); int64(len(file)) > size {
		file = file[:size]
	}
	if !bytes.Equal(out.Bytes(), file) {
		return fmt.Errorf("the trail gives %s", difference(out.Bytes(), file))
	}
	return nil
}

// countingVFS is the operating system's VFS, with every call counted.
type countingVFS struct{ sqlitevfs.VFS }

func (v countingVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	call()
	f, flags, err := vfsutil.WrapOpenFilename(v.VFS, name, flags)
	if err != nil {
		return nil, flags, err
	}
	return countingFile{f}, flags, nil
}

func (v countingVFS) Delete(name string, syncDir bool) error {
	call()
	return v.VFS.Delete(name, syncDir)
}

type countingFile struct{ sqlitevfs.File }

func (f countingFile) ReadAt(p []byte, off int64) (int, error) {
	call()
	return f.File.ReadAt(p, off)
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	call()
	return f.File.WriteAt(p, off)
}

func (f countingFile) Truncate(size int64) error {
	call()
	return f.File.Truncate(size)
}

func (f countingFile) Sync(flags sqlitevfs.SyncFlag) error {
	call()
	return f.File.Sync(flags)
}

func (f countingFile) Lock(lock sqlitevfs.LockLevel) error {
	call()
	return f.File.Lock(lock)
}

func (f countingFile) Unlock(lock sqlitevfs.LockLevel) error {
	call()
	return f.File.Unlock(lock)
}

func (f countingFile) SharedMemory() sqlitevfs.SharedMemory {
	return vfsutil.WrapSharedMemory(f.File)
}
func (f countingFile) SizeHint(size int64) error      { return vfsutil.WrapSizeHint(f.File, size) }
func (f countingFile) LockState() sqlitevfs.LockLevel { return vfsutil.WrapLockState(f.File) }

// countingFS is the operating system's file system, with every call counted.
type countingFS struct{ durable.FS }

func (s countingFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	call()
	f, err := s.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return countingTrailFile{f}, nil
}

func (s countingFS) Remove(name string) error {
	call()
	return s.FS.Remove(name)
}

func (s countingFS) Rename(oldName, newName string) error {
	call()
	return s.FS.Rename(oldName, newName)
}

func (s countingFS) Mkdir(name string, perm fs.FileMode) error {
	call()
	return s.FS.Mkdir(name, perm)
}

func (s countingFS) SyncDir(name string) error {
	call()
	return s.FS.SyncDir(name)
}

type countingTrailFile struct{ durable.File }

func (f countingTrailFile) ReadAt(p []byte, off int64) (int, error) {
	call()
	return f.File.ReadAt(p, off)
}

func (f countingTrailFile) WriteAt(p []byte, off int64) (int, error) {
	call()
	return f.File.WriteAt(p, off)
}

func (f countingTrailFile) Truncate(size int64) error {
	call()
	return f.File.Truncate(size)
}

func (f countingTrailFile) Sync() error {
	call()
	return f.File.Sync()
}
