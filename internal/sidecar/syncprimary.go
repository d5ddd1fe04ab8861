package sidecar

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// SyncPrimary makes what a database has committed durable: its WAL, the database, the names beside it (in rollback
// modes a commit is the journal's deletion), and the trail's tail. No lock of a program is lost by closing the files:
// those of other processes are theirs, and those of SQLite in this one belong to its own descriptors.
func SyncPrimary(fsys durable.FS, path, trail string) error {
	if path != "" {
		for _, name := range []string{path + "-wal", path} {
			if err := syncFile(fsys, name); err != nil {
				return err
			}
		}
		if err := fsys.SyncDir(filepath.Dir(path)); err != nil {
			return err
		}
	}
	entries, err := fsys.ReadDir(trail)
	if err != nil {
		return err
	}
	last := ""
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".seg" {
			last = max(last, e.Name())
		}
	}
	if last == "" {
		return nil
	}
	return syncFile(fsys, filepath.Join(trail, last))
}

// syncFile syncs a file; one that is not there has nothing to lose.
func syncFile(fsys durable.FS, name string) error {
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
