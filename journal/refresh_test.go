package journal_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TestRefreshFails: after a Refresh that found damage nothing is answered from what was known before, and when the
// file is whole again the next Refresh finds it so.
func TestRefreshFails(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 2)
	flush(t, w)
	if err := w.Sync(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	add(t, w, 1)
	flush(t, w)
	tr := openTrail(t, dir)
	path := filepath.Join(dir, firstSegment)
	whole := readFile(t, path)
	data := bytes.Clone(whole)
	data[150] ^= 1                          // in the first block, which the block of 3 knows to be durable
	writeFile(t, path, data[:len(data)-10]) // shorter than what was read, so that it is read anew
	for range 2 {
		if err := tr.Refresh(); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatal(err)
		}
		if _, err := tr.Last(); !errors.Is(err, journal.ErrCorrupt) {
			t.Fatal(err)
		}
		for _, err := range tr.Records(t.Context(), 1) {
			if !errors.Is(err, journal.ErrCorrupt) {
				t.Fatal(err)
			}
		}
	}
	writeFile(t, path, whole)
	wantLast(t, tr, 4)
}

// TestReplaced takes a trail away under a reader: gone, then another one in its place, then itself again.
func TestReplaced(t *testing.T) {
	w, dir := newWriter(t)
	add(t, w, 2)
	flush(t, w)
	w.Close()
	tr := openTrail(t, dir)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := tr.Refresh(); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
	lockedWriter(t, dir).Close()
	if err := tr.Refresh(); !errors.Is(err, journal.ErrForeign) {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	wantLast(t, tr, 2)
}

func TestOpenSegment(t *testing.T) {
	_, dir := rotated(t, 2, 3)
	seal(t, dir, 2)
	tr := openTrail(t, dir)
	infos, err := tr.Segments()
	if err != nil || len(infos) != 3 {
		t.Fatal(infos, err)
	}
	for i, info := range infos {
		s, err := tr.OpenSegment(info.First)
		if err != nil || s.Info() != info || info.Sealed != (i < 2) {
			t.Fatalf("%+v, %+v, %v", s.Info(), info, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := tr.OpenSegment(2); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
}

// TestNoTrail: what is no trail is told apart from what was one.
func TestNoTrail(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trail")
	if _, err := journal.Open(dir, nil); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
	if _, err := journal.OpenWriter(dir, nil); !errors.Is(err, journal.ErrNotFound) {
		t.Fatal(err)
	}
	w := lockedWriter(t, dir)
	add(t, w, 1)
	flush(t, w)
	w.Close()
	if err := os.Remove(filepath.Join(dir, "identity")); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true}); !errors.Is(err, journal.ErrCorrupt) {
		t.Fatalf("made a trail over the segments of one that lost its identity: %v", err)
	}
	if err := os.Truncate(filepath.Join(dir, firstSegment), 128); err != nil {
		t.Fatal(err)
	}
	lockedWriter(t, dir).Close() // what a creation that was interrupted leaves is made anew
	if err := os.Remove(filepath.Join(dir, firstSegment)); err != nil {
		t.Fatal(err)
	}
	if _, err := journal.Open(dir, nil); !errors.Is(err, journal.ErrGap) {
		t.Fatal(err)
	}
}

// TestModes: files have the mode asked for, the directory the x bits of its r bits.
func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trail")
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{Create: true, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	rotate(t, w)
	if _, err := journal.Seal(t.Context(), dir, &journal.WriterOptions{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Fatal(fi.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 4 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", e.Name(), fi.Mode(), err)
		}
	}
}

// TestFailedSync: after a sync that failed the writer refuses everything.
func TestFailedSync(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "trail")
	lockedWriter(t, dir).Close()
	fsys := &faultFS{FS: durable.OS}
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{FS: fsys})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	add(t, w, 1)
	flush(t, w)
	fsys.at = fsys.calls + 1
	if err := w.Sync(); !errors.Is(err, errFault) || fsys.fired != "sync" {
		t.Fatal(err, fsys.fired)
	}
	for name, err := range map[string]error{
		"Sync": w.Sync(), "Flush": w.Flush(), "Reset": w.Reset(), "Rotate": w.Rotate(), "CutAfter": w.CutAfter(0), "Confirm": w.Confirm(),
	} {
		if !errors.Is(err, journal.ErrFailed) {
			t.Errorf("%s after a failed sync: %v", name, err)
		}
	}
	w.Unlock()
	if _, err := w.Lock(); !errors.Is(err, journal.ErrFailed) {
		t.Errorf("Lock after a failed sync: %v", err)
	}
}
