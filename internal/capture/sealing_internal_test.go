package capture

import (
	"bytes"
	"io/fs"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// lateFS holds writes to a segment that is being sealed back until the sealing
// is asked to end.
type lateFS struct {
	durable.FS
	s     *sealing
	begun chan struct{} // closed with the first
	once  *sync.Once
}

type lateFile struct {
	durable.File
	fs lateFS
}

func (f lateFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, ".sealing") {
		return lateFile{file, f}, nil
	}
	return file, err
}

func (f lateFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.once.Do(func() { close(f.fs.begun) })
	for closing := false; !closing; runtime.Gosched() {
		f.fs.s.mu.Lock()
		closing = f.fs.s.closing
		f.fs.s.mu.Unlock()
	}
	return f.File.WriteAt(b, off)
}

// endedTrail makes a trail of two segments that have ended, one of so many MiB.
func endedTrail(t *testing.T, size int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "trail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	page := bytes.Repeat([]byte("text"), 65536/4)
	for range 2 {
		for no := range uint32(size * 16) {
			body := diff.EncodeFull(diff.Body{}, 65536, []diff.Page{{No: no + 2, New: page}})
			if err := w.AddPart(body, 1); err != nil {
				t.Fatal(err)
			}
		}
		size = 0
		body := diff.EncodeFull(diff.Body{}, 65536, []diff.Page{{No: 1, New: page}})
		if _, err := w.Add(journal.Tx{PageSize: 65536, PageCount: 1}, body, 1, false); err != nil {
			t.Fatal(err)
		}
		if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestEndOfSealing: a process that closes its database stops the sealing of what
// it has ended itself, and of much that others left; it waits for a little that
// others left. What was stopped is taken up.
func TestEndOfSealing(t *testing.T) {
	for _, c := range []struct {
		name   string
		size   int // MiB
		own    bool
		rotate bool // a segment of our own ends while what others left is being sealed
		sealed bool
	}{
		{"own", 1, true, false, false},
		{"little of others", 1, false, false, true},
		{"much of others", patientBytes >> 20, false, false, false},
		{"others' and own", 1, false, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := endedTrail(t, c.size)
			db := &DB{opt: Options{FS: durable.OS, Dir: dir}.withDefaults("")}
			begun := make(chan struct{})
			db.opt.FS = lateFS{durable.OS, &db.sealing, begun, new(sync.Once)}
			db.sealing.begin(db, c.own)
			<-begun
			if c.rotate {
				db.sealing.begin(db, true)
			}
			db.sealing.end()
			if n, err := journal.Unsealed(dir, nil); err != nil || (n == 0) != c.sealed {
				t.Fatalf("%d bytes are not sealed: %v", n, err)
			}
			db.sealing.end()           // nothing to wait for
			db.sealing.begin(db, true) // a late rotation finds that it is over
			next := &DB{opt: Options{FS: durable.OS, Dir: dir}.withDefaults("")}
			next.sealing.begin(next, false)
			<-next.sealing.done
			if n, err := journal.Unsealed(dir, nil); err != nil || n != 0 {
				t.Fatalf("the next left %d bytes: %v", n, err)
			}
			next.sealing.end()
		})
	}
}
