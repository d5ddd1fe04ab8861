package crashfs

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// FS is the disk as the trail's file system.
func (d *Disk) FS() durable.FS { return fileSystem{d} }

type fileSystem struct{ d *Disk }

var _ durable.FS = fileSystem{}

func pathError(op Kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: string(op), Path: name, Err: err}
}

// do runs fn as one operation.
func (d *Disk) do(kind Kind, name string, fn func(rel string) error) error {
	rel, err := d.rel(string(kind), name)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.begin(kind, rel, 0, 0)
	if f.Err != nil && !f.Done {
		return pathError(kind, name, f.Err)
	}
	if err := fn(rel); err != nil {
		return pathError(kind, name, err)
	}
	return pathError(kind, name, f.Err)
}

func (s fileSystem) OpenFile(name string, flag int, perm fs.FileMode) (durable.File, error) {
	if rel, real, ok := s.index(name); ok {
		return s.openIndex(rel, real, name, flag, perm)
	}
	n, err := s.d.open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return &file{d: s.d, n: n, name: name, readOnly: flag&(os.O_RDWR|os.O_WRONLY) == 0}, nil
}

// open finds or makes a file.
func (d *Disk) open(name string, flag int, perm fs.FileMode) (n *inode, err error) {
	rel, err := d.rel("open", name)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n = d.names[rel]
	kind := Open
	if n == nil && flag&os.O_CREATE != 0 {
		kind = Create
	}
	f := d.begin(kind, rel, 0, 0)
	if f.Err != nil && !f.Done {
		return nil, pathError(kind, name, f.Err)
	}
	switch {
	case n == nil && kind == Open:
		return nil, pathError(kind, name, fs.ErrNotExist)
	case n != nil && flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0:
		return nil, pathError(kind, name, fs.ErrExist)
	case n == nil:
		if n, err = d.create(rel, perm); err != nil {
			return nil, pathError(kind, name, err)
		}
	case flag&os.O_TRUNC != 0:
		d.truncate(n, 0)
	}
	return n, pathError(kind, name, f.Err)
}

func (s fileSystem) Remove(name string) error {
	if rel, real, ok := s.index(name); ok {
		return s.d.doIndex(Remove, rel, name, func() error { return os.Remove(real) })
	}
	return s.d.do(Remove, name, s.d.remove)
}

func (s fileSystem) Rename(oldName, newName string) error {
	from, err := s.d.rel("rename", oldName)
	if err != nil {
		return err
	}
	return s.d.do(Rename, newName, func(to string) error { return s.d.rename(from, to) })
}

func (s fileSystem) Mkdir(name string, perm fs.FileMode) error {
	return s.d.do(Mkdir, name, func(rel string) error {
		if s.d.names[rel] != nil {
			return fs.ErrExist
		}
		_, err := s.d.create(rel, perm|fs.ModeDir)
		return err
	})
}

func (s fileSystem) ReadDir(name string) (list []fs.DirEntry, err error) {
	err = s.d.do(ReadDir, name, func(rel string) error {
		if n := s.d.names[rel]; n == nil || !n.dir {
			return fs.ErrNotExist
		}
		for path, n := range s.d.names {
			if path != "." && filepath.Dir(path) == rel {
				list = append(list, n.info(path))
			}
		}
		slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return nil
	})
	return list, err
}

func (s fileSystem) Stat(name string) (fi fs.FileInfo, err error) {
	if rel, real, ok := s.index(name); ok {
		err = s.d.doIndex(Stat, rel, name, func() (err error) {
			fi, err = os.Stat(real)
			return err
		})
		return fi, err
	}
	err = s.d.do(Stat, name, func(rel string) error {
		n := s.d.names[rel]
		if n == nil {
			return fs.ErrNotExist
		}
		fi = n.info(rel)
		return nil
	})
	return fi, err
}

func (s fileSystem) SyncDir(name string) error {
	return s.d.do(SyncDir, name, func(rel string) error {
		if n := s.d.names[rel]; n == nil || !n.dir {
			return fs.ErrNotExist
		}
		s.d.syncDir(rel)
		return nil
	})
}

// file is an open file of the trail.
type file struct {
	d        *Disk
	n        *inode
	name     string
	readOnly bool
}

var _ durable.File = (*file)(nil)

func (f *file) do(kind Kind, off int64, n int, fn func(Fault) error) error {
	rel, err := f.d.rel(string(kind), f.name)
	if err != nil {
		return err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	size := int64(len(f.n.data))
	fault := f.d.beginOp(Op{
		Kind: kind, Name: rel, Off: off, Len: n,
		Grows: kind == Write && off+int64(n) > size || kind == Truncate && off > size,
	})
	if fault.Err != nil && !fault.Done && fault.Part == 0 {
		return pathError(kind, f.name, fault.Err)
	}
	if err := fn(fault); err != nil {
		return err
	}
	return pathError(kind, f.name, fault.Err)
}

func (f *file) ReadAt(p []byte, off int64) (n int, err error) {
	err = f.do(Read, off, len(p), func(fault Fault) error {
		if off < int64(len(f.n.data)) {
			n = copy(p, f.n.data[off:])
		}
		switch {
		case fault.Err != nil:
			n = min(n, fault.Part)
		case n < len(p):
			return io.EOF
		}
		return nil
	})
	return n, err
}

func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	if f.readOnly {
		return 0, pathError(Write, f.name, fs.ErrPermission)
	}
	err = f.do(Write, off, len(p), func(fault Fault) error {
		if n = len(p); fault.Err != nil && !fault.Done {
			n = min(n, fault.Part)
		}
		f.d.write(f.n, p[:n], off)
		return nil
	})
	return n, err
}

func (f *file) Truncate(size int64) error {
	if f.readOnly {
		return pathError(Truncate, f.name, fs.ErrPermission)
	}
	return f.do(Truncate, size, 0, func(Fault) error {
		f.d.truncate(f.n, size)
		return nil
	})
}

func (f *file) Sync() error {
	return f.do(Sync, 0, 0, func(Fault) error {
		f.n.sync()
		return nil
	})
}

func (f *file) Size() (size int64, err error) {
	err = f.do(Size, 0, 0, func(Fault) error {
		size = int64(len(f.n.data))
		return nil
	})
	return size, err
}

func (f *file) Close() error { return f.do(Close, 0, 0, func(Fault) error { return nil }) }

func (f *file) Name() string { return f.name }

// flock is the advisory lock of a file of the trail.
type flock struct {
	shared    int
	exclusive bool
}

type heldLock struct {
	d         *Disk
	name      string
	l         *flock
	held      bool
	exclusive bool
}

func (s fileSystem) Lock(name string, perm fs.FileMode, exclusive, wait bool) (durable.Lock, error) {
	n, err := s.d.open(name, os.O_RDWR|os.O_CREATE, perm)
	if err != nil {
		return nil, err
	}
	s.d.mu.Lock()
	l := s.d.flocks[n]
	if l == nil {
		l = &flock{}
		s.d.flocks[n] = l
	}
	s.d.mu.Unlock()
	h := &heldLock{d: s.d, name: name, l: l}
	if err := h.Acquire(exclusive, wait); err != nil {
		return nil, err
	}
	return h, nil
}

func (h *heldLock) Acquire(exclusive, wait bool) error {
	return h.d.do(Lock, h.name, func(string) error {
		for h.l.exclusive || exclusive && h.l.shared > 0 {
			if !wait {
				return durable.ErrLocked
			}
			h.d.freed.Wait()
			if h.d.stopped {
				return ErrStopped
			}
		}
		if h.held, h.exclusive = true, exclusive; exclusive {
			h.l.exclusive = true
		} else {
			h.l.shared++
		}
		return nil
	})
}

func (h *heldLock) Release() error {
	return h.d.do(Unlock, h.name, func(string) error {
		h.release()
		return nil
	})
}

func (h *heldLock) release() {
	if !h.held {
		return
	}
	if h.held = false; h.exclusive {
		h.l.exclusive = false
	} else {
		h.l.shared--
	}
	h.d.freed.Broadcast()
}

// Close gives up the lock in any case, as the system does.
func (h *heldLock) Close() error {
	h.d.mu.Lock()
	defer h.d.mu.Unlock()
	h.release()
	return nil
}
