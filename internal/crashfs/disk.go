package crashfs

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// SectorSize is the unit that a power cut keeps or loses of a write, in bytes.
const SectorSize = 512

// ErrStopped is the error of every operation after Stop.
var ErrStopped = errors.New("the world has stopped")

// Kind names an operation.
type Kind string

// The operations. Those of SQLite's files and those of package durable have
// the same names where they do the same.
const (
	Open     Kind = "open" // of a file that is there
	Create   Kind = "create"
	Read     Kind = "read"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	Size     Kind = "size"
	Close    Kind = "close"
	Remove   Kind = "remove"
	Rename   Kind = "rename"
	Mkdir    Kind = "mkdir"
	ReadDir  Kind = "readdir"
	Stat     Kind = "stat"
	SyncDir  Kind = "syncdir"
	Lock     Kind = "lock"
	Unlock   Kind = "unlock"
)

// Changes says whether the operation can make a difference to what is found
// after a crash.
func (k Kind) Changes() bool {
	switch k {
	case Create, Write, Truncate, Sync, Remove, Rename, Mkdir, SyncDir:
		return true
	}
	return false
}

// Op is an operation that is about to be done.
type Op struct {
	N    int // operations before it
	Kind Kind
	Name string // below the root; of a rename the new name
	Off  int64  // write, read; the size for a truncate
	Len  int    // write, read
	// Grows says that it takes room: the file is made, or written beyond its
	// end. A full disk refuses these.
	Grows bool
}

// Fault is what is to become of an operation; the zero value lets it be.
type Fault struct {
	Err  error // returned by the operation
	Done bool  // it is done all the same, and reported as failed
	Part int   // of a read or write: so many bytes are read or written before it fails
}

// Disk is a simulated disk. Its methods may be called concurrently.
type Disk struct {
	root  string
	roots []string // all names of the root
	real  string   // directory of real files for the wal-index

	mu        sync.Mutex
	freed     *sync.Cond // a lock was given up
	onOp      func(Op) Fault
	stopped   bool
	ops       int
	seq       int64 // of changes
	inodes    uint64
	names     map[string]*inode // below the root, as any process sees them
	synced    map[string]*inode // as after the last syncs
	pending   []nameChange      // of names, since
	flocks    map[*inode]*flock
	inOrder   func(name string) bool
	databases []*sqliteFile // databases, closed ones too
}

// inode is a file or a directory.
type inode struct {
	no     uint64
	dir    bool
	mode   fs.FileMode
	data   []byte
	mtime  int64
	synced []byte // content at the last sync
	stime  int64  // time of last change then
	log    []change
	locks  lockState
}

// change is a write, or a truncation if data is nil.
type change struct {
	seq  int64
	off  int64
	data []byte
}

// nameChange sets a name, or removes it when it still leads to gone.
type nameChange struct {
	seq       int64
	dir       string
	name      string
	set, gone *inode
	from      string // rename: the name that goes
}

// New makes an empty disk whose files have names below root. No other disk of
// the process may have the same root, since the engine knows databases by
// their paths. real is a directory of the operating system for its wal-indexes,
// for this disk alone.
func New(root, real string) *Disk {
	d := &Disk{
		root: root, roots: []string{root}, real: real, inodes: 1,
		names: map[string]*inode{".": {no: 1, dir: true, mode: fs.ModeDir | 0o755}}, flocks: map[*inode]*flock{},
	}
	d.freed = sync.NewCond(&d.mu)
	d.synced = maps.Clone(d.names)
	return d
}

// Path is the name of a file on the disk.
func (d *Disk) Path(name string) string { return filepath.Join(d.root, name) }

// Alias gives the root one more name. The engine takes a file for another one
// under it, as another process would be another engine: two names for one disk
// are two processes at work on it. To be called before the disk is used.
func (d *Disk) Alias(root string) { d.roots = append(d.roots, root) }

// OnOp has fn called before every operation, one at a time; nil: nobody. fn
// must not use the disk but for the methods that say so.
func (d *Disk) OnOp(fn func(Op) Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onOp = fn
}

// Stop fails all operations from now on, as if the process were gone: what is
// on the disk now stays there. It may be called from within OnOp.
func (d *Disk) Stop() { d.stopped = true }

// InOrder has the changes of some files kept or lost in their order: what is
// lost is all after a moment. nil: none.
func (d *Disk) InOrder(fn func(name string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.inOrder = fn
}

// Ops is the number of operations so far.
func (d *Disk) Ops() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ops
}

// begin counts an operation and asks what is to become of it. The caller holds
// d.mu.
func (d *Disk) begin(kind Kind, name string, off int64, n int) Fault {
	return d.beginOp(Op{Kind: kind, Name: name, Off: off, Len: n, Grows: kind == Create || kind == Mkdir})
}

func (d *Disk) beginOp(op Op) Fault {
	if d.stopped {
		return Fault{Err: ErrStopped}
	}
	op.N = d.ops
	d.ops++
	return d.ask(op)
}

// ask tells an operation. The caller holds d.mu.
func (d *Disk) ask(op Op) Fault {
	if d.stopped {
		return Fault{Err: ErrStopped}
	}
	if d.onOp == nil {
		return Fault{}
	}
	f := d.onOp(op)
	if d.stopped {
		return Fault{Err: ErrStopped}
	}
	return f
}

// rel is the name below the root; names from elsewhere are refused.
func (d *Disk) rel(op, name string) (string, error) {
	for _, root := range d.roots {
		if below, ok := strings.CutPrefix(name, root+"/"); ok && filepath.Clean(below) == below && below[0] != '.' {
			return below, nil
		}
		rel, err := filepath.Rel(root, name)
		if err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return rel, nil
		}
	}
	return "", &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
}

// index says whether name, below the root, is that of a wal-index, and where
// that really is.
func (d *Disk) index(name string) (string, bool) {
	if !strings.HasSuffix(name, "-shm") {
		return "", false
	}
	return filepath.Join(d.real, strings.ReplaceAll(name, "/", "_")), true
}

// now is the time of a change, in nanoseconds.
func (d *Disk) now() int64 { return 1_700_000_000_000_000_000 + d.seq*1000 }

func (d *Disk) nextSeq() int64 {
	d.seq++
	return d.seq
}

// create makes a file or directory of that name, which has none.
func (d *Disk) create(rel string, mode fs.FileMode) (*inode, error) {
	dir := d.names[filepath.Dir(rel)]
	if dir == nil || !dir.dir {
		return nil, fs.ErrNotExist
	}
	d.inodes++
	n := &inode{no: d.inodes, dir: mode.IsDir(), mode: mode}
	seq := d.nextSeq()
	n.mtime, n.stime = d.now(), d.now()
	d.names[rel] = n
	d.pending = append(d.pending, nameChange{seq: seq, dir: filepath.Dir(rel), name: rel, set: n})
	return n, nil
}

func (d *Disk) remove(rel string) error {
	n := d.names[rel]
	if n == nil {
		return fs.ErrNotExist
	}
	if n.dir {
		for name := range d.names {
			if filepath.Dir(name) == rel && name != rel {
				return errors.New("directory not empty")
			}
		}
	}
	delete(d.names, rel)
	d.pending = append(d.pending, nameChange{seq: d.nextSeq(), dir: filepath.Dir(rel), name: rel, gone: n})
	return nil
}

func (d *Disk) rename(from, to string) error {
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	if n.dir {
		return errors.New("crashfs: rename of a directory")
	}
	delete(d.names, from)
	d.names[to] = n
	d.pending = append(d.pending, nameChange{
		seq: d.nextSeq(), dir: filepath.Dir(to), name: to, set: n, from: from, gone: n,
	})
	return nil
}

// syncDir makes the names in a directory survive.
func (d *Disk) syncDir(rel string) {
	rest := d.pending[:0]
	for _, c := range d.pending {
		if c.dir == rel {
			c.apply(d.synced)
		} else {
			rest = append(rest, c)
		}
	}
	clear(d.pending[len(rest):])
	d.pending = rest
}

func (c *nameChange) apply(names map[string]*inode) {
	if c.from != "" && names[c.from] == c.gone {
		delete(names, c.from)
	}
	switch {
	case c.set != nil:
		names[c.name] = c.set
	case names[c.name] == c.gone:
		delete(names, c.name)
	}
}

// write changes a file; p is copied.
func (d *Disk) write(n *inode, p []byte, off int64) {
	c := change{seq: d.nextSeq(), off: off, data: append(make([]byte, 0, len(p)), p...)}
	n.data = c.apply(n.data)
	n.log = append(n.log, c)
	n.mtime = d.now()
}

func (d *Disk) truncate(n *inode, size int64) {
	c := change{seq: d.nextSeq(), off: size}
	n.data = c.apply(n.data)
	n.log = append(n.log, c)
	n.mtime = d.now()
}

// sync makes the content survive.
func (n *inode) sync() {
	for _, c := range n.log {
		n.synced = c.apply(n.synced)
	}
	n.log, n.stime = nil, n.mtime
}

// apply returns the content after the change; it may reuse data.
func (c *change) apply(data []byte) []byte {
	if c.data == nil {
		return resize(data, c.off)
	}
	if end := c.off + int64(len(c.data)); end > int64(len(data)) {
		data = resize(data, end)
	}
	copy(data[c.off:], c.data)
	return data
}

func resize(data []byte, size int64) []byte {
	if n := size - int64(len(data)); n > 0 {
		return append(data, make([]byte, n)...)
	}
	return data[:size]
}

// File returns a copy of a file's content as any process sees it, nil when
// there is none. It is no operation.
func (d *Disk) File(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[filepath.Clean(name)]
	if n == nil {
		return nil
	}
	return append([]byte{}, n.data...)
}

// Put writes a file, durably. It is no operation.
func (d *Disk) Put(name string, data []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	rel := filepath.Clean(name)
	n := d.names[rel]
	if n == nil {
		var err error
		if n, err = d.create(rel, 0o644); err != nil {
			return &fs.PathError{Op: "create", Path: name, Err: err}
		}
	}
	d.truncate(n, 0)
	d.write(n, data, 0)
	n.sync()
	d.syncDir(filepath.Dir(rel))
	return nil
}

// SyncAll makes everything as it is now survive. It is no operation.
func (d *Disk) SyncAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.names {
		n.sync()
	}
	d.synced = maps.Clone(d.names)
	d.pending = nil
}

// Names lists the files, not the directories, in no order. It is no operation.
func (d *Disk) Names() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name, n := range d.names {
		if !n.dir {
			names = append(names, name)
		}
	}
	return names
}

// Discard removes the disk's real files.
func (d *Disk) Discard() error { return os.RemoveAll(d.real) }

// info describes a file.
type info struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime int64
	sys   stat
}

// stat has what tells files of one name apart, under the name it has in
// package syscall.
type stat struct{ Ino uint64 }

func (n *inode) info(name string) *info {
	return &info{filepath.Base(name), int64(len(n.data)), n.mode, n.mtime, stat{n.no}}
}

func (i *info) Name() string               { return i.name }
func (i *info) Size() int64                { return i.size }
func (i *info) Mode() fs.FileMode          { return i.mode }
func (i *info) ModTime() time.Time         { return time.Unix(0, i.mtime) }
func (i *info) IsDir() bool                { return i.mode.IsDir() }
func (i *info) Sys() any                   { return &i.sys }
func (i *info) Type() fs.FileMode          { return i.mode.Type() }
func (i *info) Info() (fs.FileInfo, error) { return i, nil }

// Real is the directory of the real files, which is the caller's to make.
func (d *Disk) Real() string { return d.real }
