package journal_test

import (
	"bytes"
	"context"
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

// stoppingFS ends a context with the last of so many writes to a file being sealed.
type stoppingFS struct {
	durable.FS
	left int
	stop func()
}

type stoppingFile struct {
	durable.File
	fs *stoppingFS
}

func (f *stoppingFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err == nil && strings.HasSuffix(name, ".sealing") {
		return &stoppingFile{file, f}, nil
	}
	return file, err
}

func (f *stoppingFile) WriteAt(b []byte, off int64) (int, error) {
	if f.fs.left--; f.fs.left == 0 {
		f.fs.stop()
	}
	return f.File.WriteAt(b, off)
}

// sealFor seals until it has written so many blocks; done says that it was through before.
func sealFor(t *testing.T, dir string, writes int) (done bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := journal.Seal(ctx, dir, &journal.WriterOptions{FS: &stoppingFS{FS: durable.OS, left: writes, stop: cancel}})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return err == nil
}

// unsealed makes a trail with what sealing must get right: blocks of many records, restore points at the same place,
// large transactions at the beginning and in the middle; and a tail.
func unsealed(t *testing.T) string {
	t.Helper()
	w, dir := newWriter(t)
	for range 2 {
		for groups := range 4 {
			for g := range groups {
				body := diff.Body{Pages: []byte{1, byte(2*g + 3)}, Tokens: []byte{1<<5 | 31, 0xe1, 3}, Literals: bytes.Repeat([]byte{byte(g), 7}, 256)}
				if err := w.AddPart(body, 1); err != nil {
					t.Fatal(err)
				}
			}
			add(t, w, 1)
			for range 110 {
				add(t, w, 1)
			}
			flush(t, w)
			for _, name := range []string{"one", "two"} {
				if _, err := w.AddPoint(name, 5); err != nil {
					t.Fatal(err)
				}
			}
		}
		rotate(t, w)
	}
	add(t, w, 1)
	flush(t, w)
	w.Close()
	return dir
}

// sameFiles compares all files but locks.
func sameFiles(t *testing.T, what, got, want string) {
	t.Helper()
	files := func(dir string) map[string][]byte {
		m := map[string][]byte{}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Name(), "lock") {
				m[e.Name()] = readFile(t, filepath.Join(dir, e.Name()))
			}
		}
		return m
	}
	a, b := files(got), files(want)
	for name := range a {
		if !bytes.Equal(a[name], b[name]) || b[name] == nil {
			t.Fatalf("%s: %s has %d bytes, other than the %d of a segment sealed in one go", what, name, len(a[name]), len(b[name]))
		}
	}
	if len(a) != len(b) {
		t.Fatalf("%s: %d files, want %d", what, len(a), len(b))
	}
}

// TestSealResumes stops sealing again and again, and wants the bytes of one that was not stopped. The end of a file is
// three writes, which have to be done in one go.
func TestSealResumes(t *testing.T) {
	raw := unsealed(t)
	whole := copyTrail(t, raw)
	seal(t, whole, 2)
	verify(t, openTrail(t, whole))
	for _, writes := range []int{4, 5, 8, 13} {
		dir := copyTrail(t, raw)
		stops := 0
		for ; !sealFor(t, dir, writes); stops++ {
			if stops > 100 {
				t.Fatalf("%d writes a time: sealing does not come to its end", writes)
			}
		}
		if stops < 2 {
			t.Fatalf("%d writes a time: stopped %d times, so nothing was tested", writes, stops)
		}
		sameFiles(t, "resumed", dir, whole)
	}
}

// TestSealResumesAfterCrash damages what a sealer left in every way that a power cut, or somebody who copies files
// about, might.
func TestSealResumesAfterCrash(t *testing.T) {
	raw := unsealed(t)
	whole := copyTrail(t, raw)
	seal(t, whole, 2)
	name := "0000000000000001.seg.sealing"
	dense := 4
	if testing.Short() {
		dense = 1
	}
	for _, writes := range []int{5, 14} {
		dir := copyTrail(t, raw)
		if sealFor(t, dir, writes) {
			t.Fatal("sealing was through before it was stopped")
		}
		left := readFile(t, filepath.Join(dir, name))
		var damaged [][]byte
		for at := 0; at < len(left); at += 1 + at/dense {
			flipped, hole := bytes.Clone(left), bytes.Clone(left)
			flipped[at] ^= 0x10
			clear(hole[at:min(at+512, len(hole))])
			damaged = append(damaged, left[:at], flipped, hole)
		}
		sealed := readFile(t, filepath.Join(whole, "0000000000000001.seg"))
		damaged = append(damaged, append(bytes.Clone(left), make([]byte, 3000)...), append(bytes.Clone(left), left[128:]...), sealed,
			readFile(t, filepath.Join(whole, "00000000000001bd.seg")))
		for _, b := range damaged {
			dir := copyTrail(t, raw)
			writeFile(t, filepath.Join(dir, name), b)
			seal(t, dir, 2)
			sameFiles(t, "after a crash", dir, whole)
		}
	}
}

// TestSealOtherHistory: what was written for a segment that has since become another, in a trail copied back, say, is
// not mixed into it.
func TestSealOtherHistory(t *testing.T) {
	a, b := unsealed(t), unsealed(t)
	want := copyTrail(t, a)
	seal(t, want, 2)
	if sealFor(t, b, 15) {
		t.Fatal("sealing was through before it was stopped")
	}
	name := "0000000000000001.seg.sealing"
	writeFile(t, filepath.Join(a, name), readFile(t, filepath.Join(b, name)))
	seal(t, a, 2)
	sameFiles(t, "another history", a, want)
}

// TestUnsealed: a trail says how much there is to seal.
func TestUnsealed(t *testing.T) {
	dir := unsealed(t)
	unsealed := func() int64 {
		n, err := journal.Unsealed(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	all := unsealed()
	first, second := readFile(t, filepath.Join(dir, "0000000000000001.seg")), readFile(t, filepath.Join(dir, "00000000000001bd.seg"))
	if all != int64(len(first)+len(second)) {
		t.Fatal(all)
	}
	if sealFor(t, dir, 30); unsealed() != int64(len(second)) {
		t.Fatal(unsealed())
	}
	if seal(t, dir, 1); unsealed() != 0 {
		t.Fatal(unsealed())
	}
	if _, dir = newWriter(t); unsealed() != 0 {
		t.Fatal(unsealed())
	}
	if _, err := journal.Unsealed(t.TempDir(), nil); err != nil {
		t.Fatal(err)
	}
}

// swappingFS reads back another file than the one that was sealed.
type swappingFS struct {
	durable.FS
	other string
}

func (f *swappingFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if strings.HasSuffix(name, ".sealing") && flag == os.O_RDONLY {
		name = f.other
	}
	return f.FS.OpenFile(name, flag, perm)
}

// TestSealIsCompared: a sealed form takes the place of the original only if all of it is in there, and nothing else,
// however whole it is in itself.
func TestSealIsCompared(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 1)
	flush(t, w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	const name = "0000000000000001.seg"
	trail := func(fill func(w *journal.Writer)) string {
		dir := copyTrail(t, dir)
		w := lockedWriter(t, dir)
		fill(w)
		flush(t, w)
		if err := w.Rotate(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	last := func(fill byte, note string) func(w *journal.Writer) {
		return func(w *journal.Writer) {
			add(t, w, 3)
			if _, err := w.Add(journal.Tx{PageSize: 512, PageCount: 9, Sum: sumOf(5), Time: 9000, Note: note}, patch(9, fill), 1, false); err != nil {
				t.Fatal(err)
			}
		}
	}
	large := func(fill byte) func(w *journal.Writer) {
		return func(w *journal.Writer) {
			if err := w.AddPart(patch(8, fill), 1); err != nil {
				t.Fatal(err)
			}
			last(3, "")(w)
		}
	}
	for what, c := range map[string]struct{ is, other func(w *journal.Writer) }{
		"one less":      {last(3, ""), func(w *journal.Writer) { add(t, w, 3) }},
		"one more":      {func(w *journal.Writer) { add(t, w, 3) }, last(3, "")},
		"another patch": {last(3, ""), last(4, "")},
		"another note":  {last(3, ""), last(3, "no")},
		"another group": {large(1), large(2)},
	} {
		other := trail(c.other)
		seal(t, other, 1)
		dir := trail(c.is)
		before := readFile(t, filepath.Join(dir, name))
		_, err := journal.Seal(t.Context(), dir, &journal.WriterOptions{FS: &swappingFS{durable.OS, filepath.Join(other, name)}})
		if err == nil || !bytes.Equal(readFile(t, filepath.Join(dir, name)), before) {
			t.Errorf("%s: sealed with error %v", what, err)
		}
		seal(t, dir, 1)
	}
}

// TestSealFast: what is sealed in less time is the same trail, whoever takes it up after it was stopped.
func TestSealFast(t *testing.T) {
	raw := unsealed(t)
	want := copyTrail(t, raw)
	seal(t, want, 2)
	for _, began := range []int{0, 5, 14} {
		dir := copyTrail(t, raw)
		if began > 0 && sealFor(t, dir, began) {
			t.Fatal("sealing was through before it was stopped")
		}
		if n, err := journal.Seal(t.Context(), dir, &journal.WriterOptions{SealFast: true}); n != 2 || err != nil {
			t.Fatal(n, err)
		}
		tr := openTrail(t, dir)
		verify(t, tr)
		sameTrail(t, openTrail(t, want), tr)
	}
}
