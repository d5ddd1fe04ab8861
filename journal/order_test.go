package journal_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// logFS writes down every call that changes a file, and every sync.
type logFS struct {
	durable.FS
	log strings.Builder
}

type logFile struct {
	durable.File
	fs *logFS
}

func (f *logFS) note(format string, args ...any) { fmt.Fprintf(&f.log, "  "+format+"\n", args...) }

func (f *logFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if flag&os.O_CREATE != 0 {
		f.note("create %s", baseOf(name))
	}
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &logFile{file, f}, nil
}

func (f *logFS) Remove(name string) error {
	f.note("remove %s", filepath.Base(name))
	return f.FS.Remove(name)
}

func (f *logFS) Rename(a, b string) error {
	f.note("rename %s %s", filepath.Base(a), filepath.Base(b))
	return f.FS.Rename(a, b)
}

func (f *logFS) Mkdir(name string, perm fs.FileMode) error {
	f.note("mkdir %s", baseOf(name))
	return f.FS.Mkdir(name, perm)
}

func (f *logFS) SyncDir(name string) error {
	f.note("sync directory %s", baseOf(name))
	return f.FS.SyncDir(name)
}

func (f *logFile) name() string { return baseOf(f.Name()) }

// baseOf is the last part of a name, without the time that it may be named for.
func baseOf(name string) string {
	base := filepath.Base(name)
	for _, kind := range []string{"cut", "torn"} {
		if strings.HasPrefix(base, kind+"-") {
			return kind
		}
	}
	return base
}

func (f *logFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.note("write %s", f.name())
	return f.File.WriteAt(b, off)
}

func (f *logFile) Sync() error {
	f.fs.note("sync %s", f.name())
	return f.File.Sync()
}

func (f *logFile) Truncate(size int64) error {
	f.fs.note("truncate %s", f.name())
	return f.File.Truncate(size)
}

// TestOrderOfSyncs compares what is written, synced and renamed, and in which order, with testdata/order.txt: what a
// crash can leave depends on nothing else.
func TestOrderOfSyncs(t *testing.T) {
	root := filepath.Join(t.TempDir(), "db")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "trail")
	fsys := &logFS{FS: durable.OS}
	o := &journal.WriterOptions{FS: fsys, Create: true}
	var w *journal.Writer
	step := func(what string, f func() error) {
		t.Helper()
		fsys.log.WriteString(what + "\n")
		if err := f(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	large := func() error {
		for range 2 {
			if err := w.AddPart(patch(1, 1), 1); err != nil {
				return err
			}
		}
		add(t, w, 1)
		return w.Flush()
	}
	adopt := func() error {
		b, err := w.CreateBase(512, 1, 1, true)
		if err == nil {
			err = b.WritePages(1, make([]byte, 512))
		}
		if err == nil {
			_, err = b.Commit()
		}
		if err == nil {
			_, err = w.Add(journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: 1, Sum: b.Sum()}, diff.Body{}, 0, false)
		}
		if err != nil {
			return err
		}
		return w.Flush()
	}
	step("create a trail", func() (err error) { w, err = journal.OpenWriter(dir, o); return err })
	step("lock", func() error { _, err := w.Lock(); return err })
	step("ten transactions in a group", func() error { add(t, w, 10); return w.Flush() })
	step("sync", w.Sync)
	step("sync with nothing new", w.Sync)
	step("prepare, confirm", func() error { prepare(t, w); return w.Confirm() })
	step("prepare, drop", func() error { prepare(t, w); return w.Drop() })
	step("a large transaction", large)
	step("a restore point", func() error { _, err := w.AddPoint("p", 1); return err })
	step("rotate", w.Rotate)
	step("seal", func() error { _, err := journal.Seal(t.Context(), dir, o); return err })
	step("three transactions in a group", func() error { add(t, w, 3); return w.Flush() })
	step("cut in the middle of a group", func() error { return w.CutAfter(w.Last().TXID - 1) })
	step("a base and its record", adopt)
	step("rotate", w.Rotate)
	step("seal", func() error { _, err := journal.Seal(t.Context(), dir, o); return err })
	step("prune", func() error { _, err := journal.Prune(t.Context(), dir, w.Last().TXID, o); return err })
	step("three transactions in a group", func() error { add(t, w, 3); return w.Flush() })
	var m *journal.ShipMark
	last := journal.Shipped{TXID: w.Last().TXID, Time: w.Last().Time, Sum: w.Last().Sum}
	step("begin to mark what is shipped", func() (err error) { m, err = journal.OpenShipMark(dir, o); return err })
	step("mark", func() error { return m.Mark(1, last, nil) })
	step("take back what was shipped", func() error { _, _, err := w.TakeBack(last.TXID - 1); return err })
	step("close", func() error { return errors.Join(w.Close(), m.Close()) })
	golden := filepath.Join("testdata", "order.txt")
	if *update {
		writeFile(t, golden, []byte(fsys.log.String()))
	}
	if want := string(readFile(t, golden)); fsys.log.String() != want {
		t.Errorf("got\n%s\nwant\n%s", fsys.log.String(), want)
	}
}
