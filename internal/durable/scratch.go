package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// Scratch makes an empty file in dir for what nobody will look for; "" means os.TempDir(). It has a name for a moment
// only, so that it is gone with the process, however that ends. Where an open file cannot be removed, as on Windows,
// Close removes it. Its Name is for messages.
func Scratch(fsys FS, dir string, perm fs.FileMode) (File, error) {
	if dir == "" {
		dir = os.TempDir()
	}
	name := filepath.Join(dir, fmt.Sprintf("pagetrail-%016x.tmp", rand.Uint64()))
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, perm)
	if err != nil {
		return nil, fmt.Errorf("temporary file: %w", err)
	}
	if err := fsys.Remove(name); err == nil {
		return f, nil
	}
	return &named{File: f, fs: fsys}, nil
}

// named is a scratch file that has kept its name.
type named struct {
	File
	fs FS
}

func (n *named) Close() error {
	err := n.File.Close()
	if e := n.fs.Remove(n.Name()); !errors.Is(e, fs.ErrNotExist) {
		err = errors.Join(err, e)
	}
	return err
}
