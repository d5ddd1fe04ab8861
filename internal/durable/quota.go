package durable

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// QuotaError says that a directory has reached the limit that was set for it. It is the system's "no space left".
type QuotaError struct {
	Limit int64 // bytes
}

func (e *QuotaError) Error() string {
	return fmt.Sprintf("the quota of %d bytes is reached", e.Limit)
}

// Unwrap has errors.Is take it for a full disk.
func (e *QuotaError) Unwrap() error { return syscall.ENOSPC }

// Quota is fsys, but for files in dir that must not make what the directory holds, subdirectories not counted, grow beyond
// limit bytes: such a write fails with a *QuotaError in a *fs.PathError, as on a full disk, and has written nothing. What
// others add and remove there is noticed about every sixteenth of the limit, and before a write is refused. crowded is
// called then when more than three quarters are used, with how many bytes should stay: a half, or none where a write is
// refused. Safe for concurrent use.
func Quota(fsys FS, dir string, limit int64, crowded func(keep int64)) FS {
	return &quotaFS{FS: fsys, dir: filepath.Clean(dir), limit: limit, crowded: crowded}
}

type quotaFS struct {
	FS
	dir     string
	limit   int64
	crowded func(keep int64)

	mu   sync.Mutex
	used int64 // under mu; about, and not less than what was written through here
	look int64 // under mu; when used is more, the directory is looked at
}

func (q *quotaFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	f, err := q.FS.OpenFile(name, flag, perm)
	if err != nil || filepath.Dir(filepath.Clean(name)) != q.dir || flag&(os.O_RDWR|os.O_WRONLY) == 0 {
		return f, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // it was only opened
		return nil, err
	}
	return &quotaFile{File: f, q: q, size: size}, nil
}

// reserve takes n bytes of what is left.
func (q *quotaFS) reserve(n int64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used+n > q.look || q.used+n > q.limit {
		used, err := q.count()
		if err != nil {
			return err
		}
		q.used, q.look = used, used+n+q.limit/16
		switch {
		case used+n > q.limit:
			q.crowded(0)
		case used+n > q.limit/4*3:
			q.crowded(q.limit / 2)
		}
	}
	if q.used+n > q.limit {
		return &QuotaError{q.limit}
	}
	q.used += n
	return nil
}

// count adds up the sizes of the files that are there.
func (q *quotaFS) count() (sum int64, err error) {
	entries, err := q.ReadDir(q.dir)
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() { // else it is gone
			sum += info.Size()
		}
	}
	return sum, nil
}

// quotaFile knows how far its file reaches.
type quotaFile struct {
	File
	q *quotaFS

	mu   sync.Mutex
	size int64 // under mu
}

// grow makes sure that the file may reach to end.
func (f *quotaFile) grow(end int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if end <= f.size {
		return nil
	}
	if err := f.q.reserve(end - f.size); err != nil {
		return &fs.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	f.size = end
	return nil
}

func (f *quotaFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.grow(off + int64(len(p))); err != nil {
		return 0, err
	}
	return f.File.WriteAt(p, off)
}

func (f *quotaFile) Truncate(size int64) error {
	if err := f.grow(size); err != nil {
		return err
	}
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.size = size
	return nil
}
