package journal_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// forkTrail makes a trail of 12 transactions: 5 in a sealed segment, 7 in the tail, the last 4 of them by one write.
func forkTrail(t testing.TB) (*journal.Writer, string) {
	t.Helper()
	w, dir := newWriter(t)
	add(t, w, 5)
	flush(t, w)
	if err := w.Rotate(); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Seal(t.Context(), dir, nil); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		add(t, w, 1)
		flush(t, w)
	}
	add(t, w, 4)
	flush(t, w)
	return w, dir
}

// addOther adds a transaction that is not the one which add would.
func addOther(t testing.TB, w *journal.Writer) journal.Tx {
	t.Helper()
	tx, err := w.Add(journal.Tx{PageSize: 512, PageCount: 1, Sum: sumOf(w.Last().TXID + 1000), Note: "other"}, patch(1, 0xee), 1, false)
	if err != nil {
		t.Fatal(err)
	}
	flush(t, w)
	return tx
}

// wantForked checks a trail that forked after id, and was nothing but forkTrail before.
func wantForked(t testing.TB, dir string, id journal.TXID) {
	t.Helper()
	tr := openTrail(t, dir)
	parent := tr.Identity().Parent
	if tl := tr.Identity().Timeline; tl != 2 || parent == nil || parent.Timeline != 1 || parent.TXID != id || id > 5 && parent.Sum != sumOf(id) {
		t.Fatalf("timeline %d, parent %+v, want the fork after %d", tl, parent, id)
	}
	branches, err := tr.Branches()
	if err != nil || len(branches) != 1 || branches[0].Common != *parent || branches[0].Last != 12 {
		t.Fatalf("branches %+v, %v", branches, err)
	}
	branch := openTrail(t, branches[0].Dir)
	if branch.Identity().Timeline != 1 {
		t.Errorf("the branch is of timeline %d", branch.Identity().Timeline)
	}
	wantRecords(t, branch, 1, 12)
	w, err := branch.Window(t.Context())
	if err != nil || len(w.Gaps) != 0 || len(w.Spans) != 1 || w.Spans[0].Last != 12 {
		t.Errorf("window of the branch: %+v, %v", w, err)
	}
	if r, err := tr.Verify(t.Context(), nil); err != nil {
		t.Errorf("verify: %+v, %v", r, err)
	}
	if _, err := journal.OpenWriter(branches[0].Dir, nil); err == nil {
		t.Error("a branch can be written to")
	}
}

// TestFork forks at every place of the tail, goes on, and finds both histories.
func TestFork(t *testing.T) {
	for id := journal.TXID(5); id < 12; id++ {
		w, dir := forkTrail(t)
		if err := w.Fork(id); err != nil {
			t.Fatalf("fork after %d: %v", id, err)
		}
		wantRecords(t, openTrail(t, dir), 1, id)
		if tx := addOther(t, w); tx.TXID != id+1 {
			t.Errorf("transaction %d follows %d", tx.TXID, id)
		}
		wantForked(t, dir, id)
		last, err := openTrail(t, dir).Last()
		if err != nil || last.Note != "other" || last.TXID != id+1 {
			t.Errorf("the trail ends with %+v, %v", last, err)
		}
	}
	w, _ := forkTrail(t)
	if err := w.Fork(4); !errors.Is(err, journal.ErrRange) {
		t.Errorf("a fork before the tail: %v", err)
	}
}

// TestForkKeepsBases has a base of a transaction that is lost, and one of before.
func TestForkKeepsBases(t *testing.T) {
	w, dir := newWriter(t)
	base := func() {
		t.Helper()
		b, err := w.CreateBase(512, 1, 1000*journal.Time(w.Last().TXID+1), true)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.WritePages(1, make([]byte, 512)); err != nil {
			t.Fatal(err)
		}
		sum := b.Sum()
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add(journal.Tx{Kind: journal.Base, PageSize: 512, PageCount: 1, Sum: sum}, diff.Body{}, 0, false); err != nil {
			t.Fatal(err)
		}
		flush(t, w)
	}
	base()
	addOther(t, w)
	base()
	if err := w.Fork(2); err != nil {
		t.Fatal(err)
	}
	addOther(t, w)
	tr := openTrail(t, dir)
	bases, err := tr.Bases()
	if err != nil || len(bases) != 1 || bases[0].TXID != 1 {
		t.Errorf("bases of the trail: %+v, %v", bases, err)
	}
	branches, err := tr.Branches()
	if err != nil || len(branches) != 1 {
		t.Fatalf("branches: %+v, %v", branches, err)
	}
	bases, err = openTrail(t, branches[0].Dir).Bases()
	if err != nil || len(bases) != 2 || bases[1].TXID != 3 {
		t.Errorf("bases of the branch: %+v, %v", bases, err)
	}
}

// TestForkWithoutRecords forks a trail that does not have what is lost.
func TestForkWithoutRecords(t *testing.T) {
	w, dir := forkTrail(t)
	if err := w.Fork(12); err != nil {
		t.Fatal(err)
	}
	tr := openTrail(t, dir)
	branches, err := tr.Branches()
	if err != nil || tr.Identity().Timeline != 2 || len(branches) != 1 || branches[0].Last != 12 || branches[0].Common.TXID != 12 {
		t.Fatalf("timeline %d, branches %+v, %v", tr.Identity().Timeline, branches, err)
	}
	if _, err := journal.Open(branches[0].Dir, nil); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("a branch without transactions: %v", err)
	}
	wantRecords(t, tr, 1, 12)
}

// TestForkBesideOthers has another writer and a reader, who knew the trail before, go on after a fork.
func TestForkBesideOthers(t *testing.T) {
	for _, id := range []journal.TXID{5, 7, 10} {
		w, dir := forkTrail(t)
		tr := openTrail(t, dir)
		w.Unlock()
		other := lockedWriter(t, dir)
		other.Unlock()
		if _, err := w.Lock(); err != nil {
			t.Fatal(err)
		}
		if err := w.Fork(id); err != nil {
			t.Fatal(err)
		}
		w.Unlock()
		if moved, err := other.Lock(); err != nil || !moved || other.Identity().Timeline != 2 {
			t.Fatalf("another writer: moved %v, timeline %d, %v", moved, other.Identity().Timeline, err)
		}
		addOther(t, other)
		other.Unlock()
		if err := tr.Refresh(); err != nil {
			t.Fatal(err)
		}
		pos, err := tr.Position()
		if err != nil || pos.TXID != id+1 || pos.Timeline != 2 {
			t.Errorf("a reader sees %+v, %v", pos, err)
		}
		wantForked(t, dir, id)
	}
}

// deadFS fails every call that changes something from number at on, as if the process had died there.
type deadFS struct {
	durable.FS
	calls, at int
}

func (f *deadFS) do(call func() error) error {
	if f.calls++; f.calls >= f.at {
		return errFault
	}
	return call()
}

func (f *deadFS) OpenFile(name string, flag int, perm fs.FileMode) (file durable.File, err error) {
	if flag&os.O_CREATE != 0 {
		err = f.do(func() error { return nil })
	}
	if err == nil {
		file, err = f.FS.OpenFile(name, flag, perm)
	}
	if err != nil {
		return nil, err
	}
	return &deadFile{file, f}, nil
}

func (f *deadFS) Remove(name string) error { return f.do(func() error { return f.FS.Remove(name) }) }

func (f *deadFS) Rename(a, b string) error { return f.do(func() error { return f.FS.Rename(a, b) }) }

func (f *deadFS) SyncDir(name string) error {
	return f.do(func() error { return f.FS.SyncDir(name) })
}

func (f *deadFS) Mkdir(name string, perm fs.FileMode) error {
	return f.do(func() error { return f.FS.Mkdir(name, perm) })
}

type deadFile struct {
	durable.File
	fs *deadFS
}

func (f *deadFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = f.fs.do(func() (err error) {
		n, err = f.File.WriteAt(b, off)
		return err
	})
	return n, err
}

func (f *deadFile) Sync() error { return f.fs.do(f.File.Sync) }

func (f *deadFile) Truncate(size int64) error {
	return f.fs.do(func() error { return f.File.Truncate(size) })
}

// TestForkStopped dies before every call of a fork. The next writer finds the fork not begun, or finishes it.
func TestForkStopped(t *testing.T) {
	for _, id := range []journal.TXID{5, 7, 10} {
		begun, not := 0, 0
		for at := 1; ; at++ {
			made, dir := forkTrail(t)
			made.Close()
			dead := &deadFS{FS: durable.OS, at: at}
			w, err := journal.OpenWriter(dir, &journal.WriterOptions{FS: dead})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Lock(); err != nil {
				t.Fatal(err)
			}
			err = w.Fork(id)
			if dead.calls < at {
				if err != nil {
					t.Fatal(err)
				}
				w.Close()
				break
			}
			if err == nil {
				t.Fatalf("call %d failed and the fork did not", at)
			}
			w.Close()
			openTrail(t, dir) // readers can read what is there
			next := lockedWriter(t, dir)
			if next.Identity().Timeline == 2 {
				begun++
				addOther(t, next)
				wantForked(t, dir, id)
				continue
			}
			not++
			wantRecords(t, openTrail(t, dir), 1, 12)
			if err := next.Fork(id); err != nil {
				t.Fatal(err)
			}
			addOther(t, next)
			wantForked(t, dir, id)
		}
		if begun < 5 || not < 5 {
			t.Errorf("fork after %d: stopped %d times before it was decided, %d times after", id, not, begun)
		}
	}
}

// TestShipMark reads what was marked, whichever of the two places a crash spoilt.
func TestShipMark(t *testing.T) {
	w, dir := forkTrail(t)
	want := func(id journal.TXID) {
		t.Helper()
		want := journal.Shipped{}
		if id != 0 {
			want = journal.Shipped{TXID: id, Time: 5, Sum: sumOf(id)}
		}
		if got, err := w.Shipped(); got != want || err != nil {
			t.Errorf("shipped: %+v, %v, want %d", got, err, id)
		}
	}
	want(0)
	m, err := journal.OpenShipMark(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { m.Close() }()
	want(0)
	name := filepath.Join(dir, "left")
	for _, id := range []journal.TXID{3, 7, 7, 5, 9} {
		if err := m.Mark(1, journal.Shipped{TXID: id, Time: 5, Sum: sumOf(id)}, nil); err != nil {
			t.Fatal(err)
		}
		want(max(id, 7*min(1, id/5)))
	}
	data := readFile(t, name)
	for at, left := range map[int]journal.TXID{3: 9, 512 + 20: 7} {
		bad := append([]byte{}, data...)
		bad[at] ^= 1
		writeFile(t, name, bad)
		want(left)
	}
	writeFile(t, name, data)
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if m, err = journal.OpenShipMark(dir, nil); err != nil {
		t.Fatal(err)
	}
	if err := m.Mark(1, journal.Shipped{TXID: 8, Time: 5, Sum: sumOf(8)}, nil); err != nil {
		t.Fatal(err)
	}
	want(9)
	if err := w.Fork(9); err != nil {
		t.Fatal(err)
	}
	want(0)
	if err := m.Mark(2, journal.Shipped{TXID: 10, Time: 5, Sum: sumOf(10)}, nil); err != nil {
		t.Fatal(err)
	}
	want(10)
	if fi, err := os.Stat(name); err != nil || fi.Size() != 576 {
		t.Errorf("%v, %v", fi, err)
	}
}
