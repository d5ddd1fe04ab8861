package journal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

var errFault = errors.New("injected fault")

// faultFS fails its call of number at, counted over all calls that change something. With done, the call takes
// effect and is reported as failed all the same.
type faultFS struct {
	durable.FS
	calls, at int
	done      bool
	fired     string // the call that failed
}

// do makes a call, unless it is the one to fail.
func (f *faultFS) do(what string, call func() error) error {
	f.calls++
	if f.calls != f.at {
		return call()
	}
	f.fired = what
	if f.done {
		if err := call(); err != nil {
			return err
		}
	}
	return errFault
}

func (f *faultFS) OpenFile(name string, flag int, perm fs.FileMode) (file durable.File, err error) {
	if flag&os.O_CREATE == 0 {
		file, err = f.FS.OpenFile(name, flag, perm)
	} else {
		err = f.do("create "+filepath.Base(name), func() (err error) {
			file, err = f.FS.OpenFile(name, flag, perm)
			return err
		})
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return nil, err
	}
	return &faultFile{file, f}, nil
}

func (f *faultFS) Remove(name string) error {
	return f.do("remove", func() error { return f.FS.Remove(name) })
}

func (f *faultFS) Rename(a, b string) error {
	return f.do("rename", func() error { return f.FS.Rename(a, b) })
}

func (f *faultFS) Mkdir(name string, perm fs.FileMode) error {
	return f.do("mkdir", func() error { return f.FS.Mkdir(name, perm) })
}

func (f *faultFS) SyncDir(name string) error {
	return f.do("sync directory", func() error { return f.FS.SyncDir(name) })
}

type faultFile struct {
	durable.File
	fs *faultFS
}

// WriteAt that fails leaves half of what it was given, as a full disk does.
func (f *faultFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.fs.do("write", func() (err error) {
		n, err = f.File.WriteAt(b, off)
		return err
	})
	if err == errFault && !f.fs.done {
		n, _ = f.File.WriteAt(b[:len(b)/2], off)
	}
	return n, err
}

func (f *faultFile) Sync() error { return f.fs.do("sync", f.File.Sync) }

func (f *faultFile) Truncate(size int64) error {
	return f.fs.do("truncate", func() error { return f.File.Truncate(size) })
}

// faultRun is a run of everything that changes files, until the first error.
type faultRun struct {
	fsys  *faultFS
	dir   string
	least journal.TXID // the last transaction surely recorded, if nothing failed after
	most  journal.TXID // the last that may be
}

func (r *faultRun) run(t *testing.T) error {
	o := &journal.WriterOptions{FS: r.fsys, Create: true}
	w, err := journal.OpenWriter(r.dir, o)
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		return err
	}
	steps := []func() error{
		func() error { return r.commit(w, 3) },
		func() error { return r.large(w) },
		w.Sync,
		func() error { return r.prepared(w, true) },
		func() error { return r.prepared(w, false) },
		func() error { _, err := w.AddPoint("point", 1); return err },
		w.Rotate,
		func() error { return r.commit(w, 2) },
		func() error { return r.cut(w) },
		func() error { return r.base(w) },
		w.Rotate,
		func() error { return r.commit(w, 1) },
		func() error { _, err := journal.Seal(t.Context(), r.dir, o); return err },
		func() error { _, err := journal.Prune(t.Context(), r.dir, w.Last().TXID, o); return err },
		func() error { return r.commit(w, 1) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (r *faultRun) commit(w *journal.Writer, n int) error {
	for range n {
		id := w.Last().TXID + 1
		tx := journal.Tx{PageSize: 512, PageCount: uint32(id%7) + 1, Sum: sumOf(id)}
		if _, err := w.Add(tx, patch(uint32(id%7)+1, byte(id)), 1, false); err != nil {
			return err
		}
	}
	r.most = w.Last().TXID
	if err := w.Flush(); err != nil {
		return err
	}
	r.least = r.most
	return nil
}

func (r *faultRun) large(w *journal.Writer) error {
	for range 2 {
		if err := w.AddPart(patch(9, 9), 1); err != nil {
			return err
		}
	}
	return r.commit(w, 1)
}

func (r *faultRun) prepared(w *journal.Writer, commit bool) error {
	id := w.Last().TXID + 1
	tx := journal.Tx{PageSize: 512, PageCount: uint32(id%7) + 1, Sum: sumOf(id)}
	if _, err := w.Add(tx, patch(uint32(id%7)+1, byte(id)), 1, true); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := w.Sync(); err != nil {
		return err
	}
	if !commit {
		return w.Drop()
	}
	r.most = id
	if err := w.Confirm(); err != nil {
		return err
	}
	r.least = id
	return nil
}

func (r *faultRun) cut(w *journal.Writer) error {
	r.least--
	if err := w.CutAfter(r.least); err != nil {
		return err
	}
	r.most = r.least
	return nil
}

func (r *faultRun) base(w *journal.Writer) error {
	b, err := w.CreateBase(512, 1, 0, true)
	if err != nil {
		return err
	}
	defer b.Abort()
	if err := b.WritePages(1, make([]byte, 512)); err != nil {
		return err
	}
	if _, err := b.Commit(); err != nil {
		return err
	}
	id := w.Last().TXID + 1
	if _, err := w.Add(journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: 1, Sum: b.Sum()}, diff.Body{}, 0, false); err != nil {
		return err
	}
	r.most = id
	if err := w.Flush(); err != nil {
		return err
	}
	r.least = id
	return nil
}

// TestEveryFault fails each call that changes a file, refused and done but reported as failed. Whatever was under
// way, the trail opens afterwards, verifies, has all that was acknowledged and nothing that was never asked for, and
// a new writer goes on.
func TestEveryFault(t *testing.T) {
	for _, done := range []bool{false, true} {
		for at := 1; ; at++ {
			r := faultRun{fsys: &faultFS{FS: durable.OS, at: at, done: done}, dir: filepath.Join(t.TempDir(), "trail")}
			err := r.run(t)
			if r.fsys.fired == "" {
				if err != nil || at < 60 {
					t.Fatalf("no fault at call %d: %v", at, err)
				}
				break
			}
			if err == nil && r.fsys.fired != "remove" {
				t.Fatalf("call %d (%s) failed, nobody said so", at, r.fsys.fired)
			}
			if err != nil && !errors.Is(err, errFault) {
				t.Fatalf("call %d (%s) failed: %v", at, r.fsys.fired, err)
			}
			r.check(t)
			if t.Failed() {
				t.Fatalf("call %d (%s) failed, done %v: %v", at, r.fsys.fired, done, err)
			}
		}
	}
}

func (r *faultRun) check(t *testing.T) {
	w := lockedWriter(t, r.dir)
	defer w.Close()
	if w.Prepared() {
		if err := w.Drop(); err != nil {
			t.Error(err)
			return
		}
	}
	tr := openTrail(t, r.dir)
	defer tr.Close()
	if _, err := tr.Verify(t.Context(), nil); err != nil {
		t.Error(err)
		return
	}
	if last := w.Last().TXID; last < r.least || last > r.most {
		t.Errorf("%d is the last, want %d to %d", last, r.least, r.most)
	}
	if _, err := tr.Window(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.commit(w, 1); err != nil {
		t.Error(err)
	}
	if _, err := journal.Seal(t.Context(), r.dir, nil); err != nil {
		t.Error(err)
	}
	if err := tr.Refresh(); err != nil {
		t.Error(err)
	}
	if _, err := tr.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	left, err := os.ReadDir(r.dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range left {
		if strings.HasSuffix(e.Name(), ".sealing") {
			t.Errorf("%s was left behind", e.Name())
		}
	}
}
