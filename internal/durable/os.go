package durable

import (
	"io/fs"
	"os"
)

// osFS is the operating system. Its methods are those of package os, which retries EINTR.
type osFS struct{}

// osFile adds Size to os.File; the file's own methods do the rest.
type osFile struct{ *os.File }

var (
	_ FS   = osFS{}
	_ File = osFile{}
)

func (osFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := os.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osFS) Remove(name string) error                   { return os.Remove(name) }
func (osFS) Rename(oldName, newName string) error       { return os.Rename(oldName, newName) }
func (osFS) Mkdir(name string, perm fs.FileMode) error  { return os.Mkdir(name, perm) }
func (osFS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }
func (osFS) Stat(name string) (fs.FileInfo, error)      { return os.Stat(name) }
func (osFS) SyncDir(name string) error                  { return syncDir(name) }

func (osFS) Lock(name string, perm fs.FileMode, exclusive, wait bool) (Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	l := &osLock{f: f}
	if err := l.Acquire(exclusive, wait); err != nil {
		_ = f.Close() // nothing was written; the lock's error is the one to report
		return nil, err
	}
	return l, nil
}

// Size is one fstat without package os's FileInfo.
func (f osFile) Size() (int64, error) { return fileSize(f.File) }

// osLock is an open lock file.
type osLock struct {
	f *os.File
}

func (l *osLock) Acquire(exclusive, wait bool) error {
	if err := lockFile(l.f, exclusive, wait); err != nil {
		return &fs.PathError{Op: "lock", Path: l.f.Name(), Err: err}
	}
	return nil
}

func (l *osLock) Release() error {
	if err := unlockFile(l.f); err != nil {
		return &fs.PathError{Op: "unlock", Path: l.f.Name(), Err: err}
	}
	return nil
}

// Close closes the lock file, which releases the lock.
func (l *osLock) Close() error { return l.f.Close() }
