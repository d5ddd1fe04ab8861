package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// ahead is how many batches are fetched before they are asked for, when they are read one after the other.
const ahead = 4

// files presents the objects of an archive as the directory of a trail, for reading. What is a directory or a file
// elsewhere costs a request here, so it remembers: objects do not change, and names that were seen stay.
type files struct {
	head     Head
	identity []byte
	cache    cache
	fetching sync.WaitGroup // of those fetched ahead

	mu    sync.Mutex
	sizes map[string]int64 // of known objects by file name; under mu
	names []string         // of batches, sorted; under mu
	last  string           // the batch opened last; under mu
}

var _ durable.FS = (*files)(nil)

// identityName is the file that package journal wants to see.
const identityName = "identity"

// list fills in what there is now.
func (f *files) list(ctx context.Context, s objstore.Bucket) error {
	f.sizes = make(map[string]int64)
	for o, err := range s.List(ctx, timelineKey(f.head.Timeline), "") {
		if err != nil {
			return err
		}
		if name, ok := nameOf(f.head.Timeline, o.Key); ok {
			f.know(name, o.Size)
		}
	}
	return nil
}

// know remembers an object. The caller holds mu, or is the only one.
func (f *files) know(name string, size int64) {
	if _, ok := f.sizes[name]; !ok && strings.HasSuffix(name, segmentSuffix) {
		i, _ := slices.BinarySearch(f.names, name)
		f.names = slices.Insert(f.names, i, name)
	}
	f.sizes[name] = size
}

// OpenFile opens an object, also one that was not there when the archive was listed.
func (f *files) OpenFile(path string, _ int, _ fs.FileMode) (durable.File, error) {
	name := filepath.Base(path)
	if name == identityName {
		return &file{path: path, size: int64(len(f.identity)), r: strings.NewReader(string(f.identity))}, nil
	}
	key, ok := keyOf(f.head.Timeline, name)
	if !ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	_, size, err := f.cache.get(key, 0)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.know(name, size)
	f.mu.Unlock()
	f.readAhead(name)
	return &file{path: path, size: size, r: &object{&f.cache, key, size}}, nil
}

// readAhead fetches the batches after name when the one opened before it was its predecessor.
func (f *files) readAhead(name string) {
	f.mu.Lock()
	i, ok := slices.BinarySearch(f.names, name)
	inTurn := ok && i > 0 && f.names[i-1] == f.last
	if ok {
		f.last = name
	}
	var next []string
	if inTurn {
		next = slices.Clone(f.names[i+1 : min(i+1+ahead, len(f.names))])
	}
	f.mu.Unlock()
	for _, n := range next {
		if key, ok := keyOf(f.head.Timeline, n); ok && !f.cache.has(key, 0) {
			f.fetching.Go(func() {
				_, _, _ = f.cache.get(key, 0) // whoever needs it gets the error then
			})
		}
	}
}

// Stat knows what the list said. A batch that was deleted since is found out when it is read.
func (f *files) Stat(path string) (fs.FileInfo, error) {
	name := filepath.Base(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	size, ok := f.sizes[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return entry{name, size}, nil
}

// ReadDir lists what is known.
func (f *files) ReadDir(string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []fs.DirEntry{fs.FileInfoToDirEntry(entry{identityName, int64(len(f.identity))})}
	for name, size := range f.sizes {
		out = append(out, fs.FileInfoToDirEntry(entry{name, size}))
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out, nil
}

// What would change the archive is refused.

func refuse(op, path string) error {
	return &fs.PathError{Op: op, Path: path, Err: fs.ErrPermission}
}

func (f *files) Remove(name string) error               { return refuse("remove", name) }
func (f *files) Rename(name, _ string) error            { return refuse("rename", name) }
func (f *files) Mkdir(name string, _ fs.FileMode) error { return refuse("mkdir", name) }
func (f *files) SyncDir(name string) error              { return refuse("sync", name) }

func (f *files) Lock(name string, _ fs.FileMode, _, _ bool) (durable.Lock, error) {
	return nil, refuse("lock", name)
}

// entry is an object as a directory shows it.
type entry struct {
	name string
	size int64
}

func (e entry) Name() string       { return e.name }
func (e entry) Size() int64        { return e.size }
func (e entry) Mode() fs.FileMode  { return 0o444 }
func (e entry) ModTime() time.Time { return time.Time{} }
func (e entry) IsDir() bool        { return false }
func (e entry) Sys() any           { return nil }

// file is an object that is open.
type file struct {
	path string
	size int64
	r    io.ReaderAt
}

func (f *file) ReadAt(p []byte, off int64) (int, error) { return f.r.ReadAt(p, off) }
func (f *file) Size() (int64, error)                    { return f.size, nil }
func (f *file) Name() string                            { return f.path }
func (f *file) Close() error                            { return nil }
func (f *file) WriteAt([]byte, int64) (int, error)      { return 0, refuse("write", f.path) }
func (f *file) Truncate(int64) error                    { return refuse("truncate", f.path) }
func (f *file) Sync() error                             { return refuse("sync", f.path) }

// object reads an object through the cache.
type object struct {
	cache *cache
	key   string
	size  int64
}

func (o *object) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		if at >= o.size {
			return n, io.EOF
		}
		data, size, err := o.cache.get(o.key, at/blockBytes)
		if err != nil {
			return n, err
		}
		if size != o.size {
			return n, &objstore.Error{
				Op: objstore.OpGet, Store: "archive", Key: o.key,
				Err: fmt.Errorf("%d bytes became %d while it was read: %w", o.size, size, journal.ErrCorrupt),
			}
		}
		n += copy(p[n:], data[at%blockBytes:])
	}
	return n, nil
}
