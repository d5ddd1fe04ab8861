package crashtest_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The bytes of a wal-index that SQLite locks, but for those of readers, and the
// one that tells whether anybody has the file open: SQLite waits ten seconds
// for them before it gives up.
// See https://sqlite.org/walformat.html#locking_matrix.
const (
	walWriteLock      = 120
	walCheckpointLock = 121
	walRecoverLock    = 122
)

// indexFault is something that goes wrong with the wal-index itself. The driver
// maps it and locks it behind an interface that cannot be wrapped, so these are
// made with the real file that is behind it.
type indexFault struct {
	name string
	from int // first step; in the first one the index is made, and the locks are waited for
	set  func(path string) (undo func() error, err error)
	own  bool // concerns the whole process, so that it has one of its own
}

func indexFaults() []indexFault {
	held := func(name string, from int, at int64) indexFault {
		return indexFault{name: name, from: from, set: func(path string) (func() error, error) { return holdByte(path, at) }}
	}
	return []indexFault{
		{name: "cannot be opened", set: blockIndex},
		{name: "cannot grow", set: limitIndex, own: true},
		held("write lock held by another", 1, walWriteLock),
		held("checkpoint lock held by another", 1, walCheckpointLock),
		held("recovery lock held by another", 0, walRecoverLock),
	}
}

// holdByte locks a byte of the file as another process would.
func holdByte(path string, at int64) (undo func() error, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Start: at, Len: 1}
	if err := unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		f.Close()
		if err == unix.EAGAIN {
			return func() error { return nil }, nil // the program has it itself
		}
		return nil, err
	}
	return f.Close, nil
}

// blockIndex puts a directory in the place of the file.
func blockIndex(path string) (undo func() error, err error) {
	aside := path + "-aside"
	there := os.Rename(path, aside) == nil
	if err := os.Mkdir(path, 0o755); err != nil {
		return nil, err
	}
	return func() error {
		if err := os.Remove(path); err != nil || !there {
			return err
		}
		return os.Rename(aside, path)
	}, nil
}

// limitIndex forbids files of the process to grow. The disk is in memory, so
// that the wal-index is the only one.
func limitIndex(string) (undo func() error, err error) {
	signal.Ignore(syscall.SIGXFSZ)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		return nil, err
	}
	none := unix.Rlimit{Cur: 0, Max: was.Max}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &none); err != nil {
		return nil, err
	}
	return func() error { return unix.Setrlimit(unix.RLIMIT_FSIZE, &was) }, nil
}

// TestWALIndexFaults has the wal-index fail SQLite during each step of the work.
func TestWALIndexFaults(t *testing.T) {
	for _, fault := range indexFaults() {
		t.Run(fault.name, func(t *testing.T) {
			if fault.own && os.Getenv("PAGETRAIL_TEST_OWN") == "" {
				inOwnProcess(t)
				return
			}
			temp, fired := tempDir(t), 0
			for _, inline := range []bool{true, false} {
				for at := fault.from; at < len(killWork(true)); at++ {
					n, err := indexFaultRun(fault, at, inline, temp)
					if err != nil {
						t.Errorf("in step %d, inline=%v: %v", at+1, inline, err)
					}
					fired += n
				}
			}
			if fired == 0 {
				t.Error("the fault was never reached")
			}
			t.Logf("reached %d times", fired)
		})
	}
}

// inOwnProcess runs the test in a process for it alone.
func inOwnProcess(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^"+strings.ReplaceAll(t.Name(), "/", "$/^")+"$", "-test.v")
	cmd.Env = append(os.Environ(), "PAGETRAIL_TEST_OWN=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("reached")) {
		t.Errorf("%v: %s", err, out)
	}
}

// indexFaultRun does the work with the fault set during one step. fired counts
// what it made fail.
func indexFaultRun(fault indexFault, at int, inline bool, temp string) (fired int, err error) {
	set := setup{journal: "WAL", sync: "NORMAL", pageSize: 512, cache: 5, conns: 2, inline: inline, existing: true, fresh: true}
	w, err := newWorld(set, 1, temp)
	if err != nil {
		return 0, err
	}
	defer w.close()
	index := filepath.Join(w.m.Real(), dbName+"-shm")
	for i, s := range killWork(true) {
		undo := func() error { return nil }
		if i == at {
			if undo, err = fault.set(index); err != nil {
				return 0, err
			}
		}
		w.flight = i + 1
		failed := w.attemptAtOnce(s)
		if err := undo(); err != nil {
			return fired, err
		}
		switch {
		case failed == nil && s.commit:
			w.acked = w.flight
		case failed != nil && i == at:
			// The driver takes an index that could not be opened for one that
			// may only be read, as long as the connection lives.
			fired++
			c := w.conns[s.conn]
			if w.conns[s.conn] = nil; c != nil {
				if err := c.Close(); err != nil {
					fmt.Fprintf(w.m.log, "close: %v\n", err)
				}
			}
		case failed != nil && i < at:
			return fired, fmt.Errorf("step %d, before the fault: %w", w.flight, failed)
		}
	}
	if err := w.settle(); err != nil {
		return fired, fmt.Errorf("%w\n%s", err, w.m.log)
	}
	return fired, nil
}

// attemptAtOnce is attempt without waiting for locks; a checkpoint that was
// busy is an error.
func (w *world) attemptAtOnce(s step) error {
	if w.conns[s.conn] == nil || s.reopen {
		if err := w.reopen(s.conn); err != nil {
			return err
		}
	}
	if err := w.conns[s.conn].Exec("PRAGMA busy_timeout=0"); err != nil {
		return err
	}
	if s.reopen {
		return nil
	}
	if s.sql == "PRAGMA wal_checkpoint(RESTART)" || s.sql == "PRAGMA wal_checkpoint(TRUNCATE)" {
		if busy, err := number(w.conns[s.conn], s.sql); err != nil || busy != 0 {
			return fmt.Errorf("checkpoint: busy=%d: %w", busy, err)
		}
		return nil
	}
	return w.attempt(s)
}
