package journal

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/diff"
)

// FuzzTrail opens a directory whose tail and whose segment before it are arbitrary, reads it, and lets a writer
// repair it and go on.
func FuzzTrail(f *testing.F) {
	seed := seedTrail(f)
	identity, err := os.ReadFile(filepath.Join(seed, identityName))
	if err != nil {
		f.Fatal(err)
	}
	var files [3][]byte
	for i, first := range []TXID{1, 4, 7} {
		if files[i], err = os.ReadFile(filepath.Join(seed, segmentName(first))); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(files[0], files[1])
	f.Add(files[1], files[2])
	f.Add(files[2], []byte{})
	f.Fuzz(func(t *testing.T, one, two []byte) {
		dir := t.TempDir()
		write := func(data []byte) {
			data = bytes.Clone(data)
			setChecksums(data, segmentMagic)
			if len(data) >= 48 {
				name := filepath.Join(dir, segmentName(TXID(le.Uint64(data[40:]))))
				if err := os.WriteFile(name, data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := os.WriteFile(filepath.Join(dir, identityName), identity, 0o600); err != nil {
			t.Fatal(err)
		}
		write(one)
		write(two)
		bounded(t, func() { useTrail(t, dir) })
	})
}

// FuzzCut lists and reads a cut whose identity and segment are arbitrary, and has the trail cut again. The trail does
// not suffer, and what is listed can be opened.
func FuzzCut(f *testing.F) {
	seed := seedTrail(f)
	w, err := OpenWriter(seed, nil)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := w.Lock(); err != nil {
		f.Fatal(err)
	}
	first, common := w.TailFirst(), w.TailFirst()
	if err := errors.Join(w.CutAfter(common), w.Close()); err != nil {
		f.Fatal(err)
	}
	cuts, err := filepath.Glob(filepath.Join(seed, cutPrefix+"*"))
	if err != nil || len(cuts) != 1 {
		f.Fatal(cuts, err)
	}
	var files [2][]byte
	for i, name := range []string{identityName, segmentName(first)} {
		if files[i], err = os.ReadFile(filepath.Join(cuts[0], name)); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(files[0], files[1])
	f.Add(bytes.Replace(files[0], []byte(`"common"`), []byte(`"parent"`), 1), files[1])
	f.Add(files[0], files[1][:len(files[1])-40])
	f.Fuzz(func(t *testing.T, identity, segment []byte) {
		dir := filepath.Join(t.TempDir(), "trail")
		if err := os.CopyFS(dir, os.DirFS(seed)); err != nil {
			t.Fatal(err)
		}
		cut := filepath.Join(dir, filepath.Base(cuts[0]))
		segment = bytes.Clone(segment)
		setChecksums(segment, segmentMagic)
		for name, data := range map[string][]byte{identityName: identity, segmentName(first): segment} {
			if err := os.WriteFile(filepath.Join(cut, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		bounded(t, func() { useCut(t, dir, first-1) })
	})
}

// useCut cuts the trail, which has a cut already, after a transaction.
func useCut(t *testing.T, dir string, after TXID) {
	tr, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	read := func(atMost int) {
		cuts, err := tr.Cuts()
		if err != nil || len(cuts) > atMost {
			t.Fatal(cuts, err)
		}
		for _, c := range cuts {
			cut, err := Open(c.Dir, &ReadOptions{Damaged: true})
			if err != nil && c.Err == nil {
				t.Fatalf("listed and not opened: %v", err)
			}
			if err == nil {
				readAll(t, cut)
				cut.Close()
			}
		}
	}
	read(1)
	w, err := OpenWriter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	if err := w.CutAfter(after); err != nil {
		t.Fatal(err)
	}
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	read(2)
}

func useTrail(t *testing.T, dir string) {
	if tr, err := Open(dir, &ReadOptions{Damaged: true}); err == nil {
		readAll(t, tr)
		if err := tr.Refresh(); err != nil {
			t.Fatal(err) // nothing changed
		}
		readAll(t, tr)
		tr.Close()
	}
	tr, err := Open(dir, nil)
	if err != nil {
		return
	}
	defer tr.Close()
	readAll(t, tr)
	w, err := OpenWriter(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Lock(); err != nil {
		return
	}
	if w.Prepared() {
		if err := w.Drop(); err != nil {
			t.Fatal(err)
		}
	}
	if w.Last().TXID >= MaxTXID {
		return
	}
	tx, err := w.Add(Tx{PageSize: 512, PageCount: 1}, diff.Body{}, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := tr.Refresh(); err != nil {
		t.Fatal(err)
	}
	if last, err := tr.Last(); err != nil || last != tx {
		t.Fatalf("appended %+v, read %+v (%v)", tx, last, err)
	}
}

// readAll asks everything that can be asked of a trail.
func readAll(t *testing.T, tr *Trail) {
	for _, err := range tr.Records(t.Context(), 1) {
		if err != nil {
			break
		}
	}
	_, _ = tr.Window(t.Context())
	_, _ = tr.Points()
	_, _ = tr.Segments()
	_, _, _ = tr.FindTime(t.Context(), 5)
	_, _ = tr.Verify(t.Context(), nil)
}
