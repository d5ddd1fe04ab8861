package crashfs

import (
	"io/fs"
	"os"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// The wal-index is a real file, see the package comment. What the engine does
// with it is told to OnOp and can be failed like everything else, but it is not
// counted: no clone depends on it.

// index says whether name is that of a wal-index: its name below the root, and
// where it really is.
func (s fileSystem) index(name string) (rel, real string, ok bool) {
	rel, err := s.d.rel("open", name)
	if err != nil {
		return "", "", false
	}
	real, ok = s.d.index(rel)
	return rel, real, ok
}

// askIndex asks what is to become of an operation on a wal-index.
func (d *Disk) askIndex(kind Kind, rel string, off int64, n int) Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ask(Op{N: d.ops, Kind: kind, Name: rel, Off: off, Len: n})
}

// doIndex runs fn as an operation on a wal-index.
func (d *Disk) doIndex(kind Kind, rel, name string, fn func() error) error {
	f := d.askIndex(kind, rel, 0, 0)
	if f.Err != nil && !f.Done {
		return pathError(kind, name, f.Err)
	}
	if err := fn(); err != nil {
		return err
	}
	return pathError(kind, name, f.Err)
}

func (s fileSystem) openIndex(rel, real, name string, flag int, perm fs.FileMode) (durable.File, error) {
	kind := Open
	if _, err := os.Stat(real); err != nil && flag&os.O_CREATE != 0 {
		kind = Create
	}
	var f durable.File
	err := s.d.doIndex(kind, rel, name, func() (err error) {
		f, err = durable.OS.OpenFile(real, flag, perm)
		return err
	})
	if err != nil {
		if f != nil {
			f.Close() // opened and reported as failed
		}
		return nil, err
	}
	return &indexFile{f, s.d, rel, name}, nil
}

// indexFile is a wal-index that the engine has open.
type indexFile struct {
	durable.File
	d         *Disk
	rel, name string
}

func (f *indexFile) ReadAt(p []byte, off int64) (int, error) {
	fault := f.d.askIndex(Read, f.rel, off, len(p))
	if fault.Err == nil {
		return f.File.ReadAt(p, off)
	}
	n, _ := f.File.ReadAt(p[:min(fault.Part, len(p))], off)
	return n, pathError(Read, f.name, fault.Err)
}

func (f *indexFile) Size() (size int64, err error) {
	err = f.d.doIndex(Size, f.rel, f.name, func() (err error) {
		size, err = f.File.Size()
		return err
	})
	return size, err
}

// Close closes the file in any case.
func (f *indexFile) Close() error {
	err := f.File.Close()
	if fault := f.d.askIndex(Close, f.rel, 0, 0); fault.Err != nil {
		return pathError(Close, f.name, fault.Err)
	}
	return err
}
