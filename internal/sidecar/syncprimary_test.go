package sidecar_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/sidecar"
)

// syncs is a file system that notes what is synced.
type syncs struct {
	durable.FS
	names []string
}

func (s *syncs) OpenFile(name string, flag int, mode fs.FileMode) (durable.File, error) {
	f, err := s.FS.OpenFile(name, flag, mode)
	return syncedFile{f, s}, err
}

func (s *syncs) SyncDir(name string) error {
	s.names = append(s.names, filepath.Base(name)+"/")
	return s.FS.SyncDir(name)
}

type syncedFile struct {
	durable.File
	s *syncs
}

func (f syncedFile) Sync() error {
	f.s.names = append(f.s.names, filepath.Base(f.Name()))
	return f.File.Sync()
}

// What a commit may be in is synced: the WAL, the database, the directory, and the segment that grows.
func TestSyncPrimary(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	db, trail := filepath.Join(dir, "a.db"), filepath.Join(dir, "a.db-pagetrail")
	if err := os.MkdirAll(trail, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{db, db + "-wal", db + "-shm", trail + "/0000000000000001.seg", trail + "/000000000000000a.seg", trail + "/000000000000000b.base"} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		db:                            "a.db-wal a.db data/ 000000000000000a.seg",
		"":                            "000000000000000a.seg", // a trail that was put elsewhere
		filepath.Join(dir, "none.db"): "data/ 000000000000000a.seg",
	} {
		s := &syncs{FS: durable.OS}
		if err := sidecar.SyncPrimary(s, path, trail); err != nil || strings.Join(s.names, " ") != want {
			t.Errorf("%q: synced %q (%v), want %q", path, s.names, err, want)
		}
	}
}

// As long as the primary cannot be synced nothing of it is shipped.
func TestSyncPrimaryComesFirst(t *testing.T) {
	w := newWorld(t)
	a := w.open("a.db", "vfs=pagetrail")
	w.exec(a, "PRAGMA journal_mode=DELETE; "+schema)
	wal := filepath.Join(w.dir, "a.db-wal")
	if err := os.Mkdir(wal, 0o700); err != nil { // no file, so it cannot be synced
		t.Fatal(err)
	}
	w.start(nil, sidecar.Source{Path: filepath.Join(w.dir, "a.db")})
	w.until("a try", func(st *sidecar.Status) bool { return st.Totals.Retries > 0 })
	if keys := w.keys(); slices.ContainsFunc(keys, func(key string) bool { return strings.HasSuffix(key, ".seg") }) {
		t.Errorf("shipped %q", keys)
	}
	if err := os.Remove(wal); err != nil {
		t.Fatal(err)
	}
	w.atRest(1)
	w.same("a.db")
}

// keys are those of the store.
func (w *world) keys() (keys []string) {
	w.t.Helper()
	for o, err := range w.store.List(w.t.Context(), "", "") {
		if err != nil {
			w.t.Fatal(err)
		}
		keys = append(keys, o.Key)
	}
	return keys
}
