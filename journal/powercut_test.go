package journal_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// unsyncedFS remembers what was done to segments since their last sync, so that a power cut can be played.
type unsyncedFS struct {
	durable.FS
	files map[string]*unsynced // by name
}

// unsynced is a file as the disk surely has it, and what the disk may have of what came later.
type unsynced struct {
	disk   []byte
	writes []diskWrite
}

// diskWrite is a write, or, without data, a change of the size to off.
type diskWrite struct {
	off  int64
	data []byte
}

type unsyncedFile struct {
	durable.File
	u *unsynced
}

func (f *unsyncedFS) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil || flag&os.O_RDWR == 0 || filepath.Ext(name) != ".seg" {
		return file, err
	}
	if f.files[name] == nil { // it came into being by a rename of what was synced
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f.files[name] = &unsynced{disk: data}
	}
	return &unsyncedFile{file, f.files[name]}, nil
}

func (f *unsyncedFile) WriteAt(b []byte, off int64) (int, error) {
	f.u.writes = append(f.u.writes, diskWrite{off, bytes.Clone(b)})
	return f.File.WriteAt(b, off)
}

func (f *unsyncedFile) Truncate(size int64) error {
	f.u.writes = append(f.u.writes, diskWrite{off: size})
	return f.File.Truncate(size)
}

func (f *unsyncedFile) Sync() error {
	err := f.File.Sync()
	if err == nil {
		f.u.disk, err = os.ReadFile(f.Name())
		f.u.writes = nil
	}
	return err
}

// afterPowerCut is what the disk may hold: of each write each sector of 512 bytes arrived or not, and the size is
// any that the file had since.
func (u *unsynced) afterPowerCut(r *rand.Rand) []byte {
	out := bytes.Clone(u.disk)
	keep := r.IntN(4) // 0: nothing arrived; 3: everything
	sizes := []int64{int64(len(out))}
	grow := func(n int64) {
		for int64(len(out)) < n {
			out = append(out, make([]byte, n-int64(len(out)))...)
		}
	}
	size := int64(len(out))
	for _, w := range u.writes {
		if len(w.data) == 0 {
			size = w.off
			sizes = append(sizes, size)
			continue
		}
		for at := w.off; at < w.off+int64(len(w.data)); {
			end := min(at/512*512+512, w.off+int64(len(w.data)))
			if r.IntN(3) < keep {
				grow(end)
				copy(out[at:end], w.data[at-w.off:end-w.off])
			}
			at = end
		}
		size = max(size, w.off+int64(len(w.data)))
		sizes = append(sizes, size)
	}
	size = sizes[r.IntN(len(sizes))]
	grow(size)
	return out[:size]
}

// TestPowerCut cuts the power at random moments: what was synced is there afterwards, what is there is a prefix of
// what was written, and the writer goes on. It is never called corruption, whatever the order in which writes
// reached the disk.
func TestPowerCut(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for seed := range uint64(rounds) {
		powerCut(t, rand.New(rand.NewPCG(seed, 1)))
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func powerCut(t *testing.T, r *rand.Rand) {
	dir := filepath.Join(t.TempDir(), "trail")
	fsys := &unsyncedFS{FS: durable.OS, files: map[string]*unsynced{}}
	w, err := journal.OpenWriter(dir, &journal.WriterOptions{FS: fsys, Create: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Lock(); err != nil {
		t.Fatal(err)
	}
	synced := journal.TXID(0)
	for range 3 + r.IntN(20) {
		switch r.IntN(8) {
		case 0:
			if err := w.Sync(); err != nil {
				t.Fatal(err)
			}
			synced = w.Last().TXID
		case 1:
			prepare(t, w)
			if r.IntN(2) == 0 {
				if err := w.Confirm(); err != nil {
					t.Fatal(err)
				}
			} else if err := w.Drop(); err != nil {
				t.Fatal(err)
			}
		default:
			add(t, w, 1+r.IntN(12))
			flush(t, w)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, firstSegment)
	writeFile(t, path, fsys.files[path].afterPowerCut(r))
	tr, err := journal.Open(dir, nil)
	if err != nil {
		t.Errorf("after the power cut: %v", err)
		return
	}
	defer tr.Close()
	last, _ := tr.Last()
	if last.TXID < synced {
		t.Errorf("%d was synced, %d is the last", synced, last.TXID)
	}
	wantRecords(t, tr, 1, last.TXID)
	again := lockedWriter(t, dir)
	defer again.Close()
	if again.Prepared() {
		if err := again.Drop(); err != nil {
			t.Fatal(err)
		}
	}
	add(t, again, 3)
	flush(t, again)
	if err := tr.Refresh(); err != nil {
		t.Error(err)
		return
	}
	wantRecords(t, tr, 1, last.TXID+3)
}
