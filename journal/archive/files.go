package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
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

// aheadPieces is how many pieces of an object are fetched with one request, when they are read one after the other.
const aheadPieces = 20

// files presents the objects of an archive as the directory of a trail, for reading. What is a directory or a file
// elsewhere costs a request here, so it remembers: objects do not change, and names that were seen stay.
type files struct {
	name     string // of the archive, for messages
	head     Head
	identity []byte
	cache    cache
	recent   map[journal.TXID]*Segment // what the head says of batches

	mu    sync.Mutex
	known map[string]known // objects by the name of the file that they stand for; under mu
	names []string         // of segments, sorted; under mu
	last  string           // the segment opened last; under mu
	turns int              // how many before it were opened in turn; under mu
	until journal.TXID     // no segment that begins later is fetched ahead; 0: no limit; under mu

	opening bool   // what was not listed is not there; until the trail is open
	fence   string // the file that would come next, when there is a fence and the head does not say so yet; until the trail is open
}

// known is an object that is part of the history.
type known struct {
	key  string
	size int64
}

var _ durable.FS = (*files)(nil)

// identityName is the file that package journal wants to see.
const identityName = "identity"

// list fills in what there is now: what the head names, and of each timeline what is not in that.
func (f *files) list(ctx context.Context, s objstore.Bucket) error {
	f.known = make(map[string]known)
	f.recent = make(map[journal.TXID]*Segment)
	if f.head.Recent != nil {
		for s := range f.head.Recent.each {
			f.recent[s.First] = s
		}
	}
	listed := make(map[string]*Segment)
	for i := range f.head.Segments {
		seg := &f.head.Segments[i]
		listed[seg.Key()] = seg
	}
	for _, part := range f.head.chain() {
		prefix, after := timelineKey(part.timeline), ""
		switch first := f.head.uncovered(part); {
		case first >= part.until:
			after = prefix + level0 + "~" // nothing of level 0 is wanted
		case first > 1:
			after = batchKey(part.timeline, first-1)
		}
		for o, err := range s.List(ctx, prefix, after) {
			if err != nil {
				return err
			}
			name, ok := parseKey(o.Key)
			switch seg := listed[o.Key]; {
			case !ok:
			case seg != nil:
				f.know(fileName(seg.First), o.Key, o.Size)
			case name.level == -1 && part.base(name.first) && name.first >= f.head.Floor,
				name.level == 0 && part.batch(name.first) && f.head.live(name.first):
				f.know(path.Base(o.Key), o.Key, o.Size)
			}
		}
	}
	return f.passFence()
}

// passFence forgets the last object that was listed, when it is a fence: somebody is about to take over, and what
// there is up to there is the history until then.
func (f *files) passFence() error {
	n := len(f.names)
	if n == 0 {
		return nil
	}
	name := f.names[n-1]
	if last := f.known[name]; last.size < minSegment {
		data, _, err := f.cache.get(last.key, 0)
		if err != nil && !errors.Is(err, objstore.ErrNotFound) {
			return err
		}
		if _, ok := parseFence(data); ok {
			f.names, f.fence = f.names[:n-1], name
			delete(f.known, name)
		}
	}
	return nil
}

// first is the transaction that the history begins with, as far as it is there.
func (f *files) first() journal.TXID {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.names) == 0 {
		return 0
	}
	id, _ := parse(f.names[0], segmentSuffix)
	return id
}

// lastKey is the key of the last object of the history; empty when there is none.
func (f *files) lastKey() string {
	if len(f.names) == 0 {
		return ""
	}
	return f.known[f.names[len(f.names)-1]].key
}

// catalog is what the head says of the segment that begins with a transaction.
func (f *files) catalog(first journal.TXID) (journal.Listed, bool) {
	s := f.head.superseded(first)
	if s == nil {
		s = f.recent[first]
	}
	if s == nil || s.First != first {
		return journal.Listed{}, false
	}
	f.mu.Lock()
	k, ok := f.known[fileName(first)]
	f.mu.Unlock()
	if !ok || k.size != s.Size || k.key != s.Key() { // it is gone, or another: let it be found out
		return journal.Listed{}, false
	}
	info := journal.SegmentInfo{
		Name: fileName(first), First: s.First, Last: s.Last, FirstTime: s.FirstTime, LastTime: s.LastTime,
		Sealed: true, Size: s.Size, RawBytes: s.Raw, Folded: s.Folded,
	}
	return journal.Listed{Info: info, Points: s.Points, Bases: s.Bases}, true
}

// know remembers an object. The caller holds mu, or is the only one.
func (f *files) know(name, key string, size int64) {
	if _, ok := f.known[name]; !ok && strings.HasSuffix(name, segmentSuffix) {
		i, _ := slices.BinarySearch(f.names, name)
		f.names = slices.Insert(f.names, i, name)
	}
	f.known[name] = known{key, size}
}

// keyOf is the key of the object that a file stands for: one that is known, or one that the current timeline would
// have; false for a name that archives do not have.
func (f *files) keyOf(name string) (string, bool) {
	f.mu.Lock()
	k, ok := f.known[name]
	f.mu.Unlock()
	if ok {
		return k.key, true
	}
	if id, ok := parse(name, segmentSuffix); ok && id > f.head.end() && id >= f.head.current().First {
		return batchKey(f.head.Timeline, id), true
	}
	if id, ok := parse(name, baseSuffix); ok {
		return baseKey(f.head.Timeline, id), true
	}
	return "", false
}

// holding is the name of the segment that must hold a transaction, and where it begins; empty when it is before all.
func (f *files) holding(id journal.TXID) (string, journal.TXID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, found := slices.BinarySearch(f.names, fileName(id))
	if !found {
		i--
	}
	if i < 0 {
		return "", 0
	}
	first, _ := parse(f.names[i], segmentSuffix)
	return f.names[i], first
}

// OpenFile opens an object, also one that was not there when the archive was listed.
func (f *files) OpenFile(path string, _ int, _ fs.FileMode) (durable.File, error) {
	name := filepath.Base(path)
	if name == identityName {
		return &file{path: path, size: int64(len(f.identity)), r: strings.NewReader(string(f.identity))}, nil
	}
	key, ok := f.keyOf(name)
	if !ok || name == f.fence || f.opening && !f.has(name) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	data, size, err := f.cache.get(key, 0)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return nil, err
	}
	if fence, ok := parseFence(data); ok {
		return nil, &journal.Error{
			Path: f.name + "/" + key, Offset: -1, Hint: "open the archive anew",
			Err: fmt.Errorf("%w %d: %w", ErrTimeline, fence.Timeline, journal.ErrDiverged),
		}
	}
	f.mu.Lock()
	f.know(name, key, size)
	f.mu.Unlock()
	f.readAhead(name)
	return &file{path: f.name + "/" + key, size: size, r: &object{&f.cache, key, size}}, nil
}

// has says that an object is known.
func (f *files) has(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.known[name]
	return ok
}

// reading is told up to which transaction is being read; 0: nobody says.
func (f *files) reading(to journal.TXID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.until = to
}

// readAhead fetches the batches after name when those opened before it were its predecessors: the more of these, the
// more batches, but none that is not going to be read.
func (f *files) readAhead(name string) {
	f.mu.Lock()
	i, ok := slices.BinarySearch(f.names, name)
	if inTurn := ok && i > 0 && f.names[i-1] == f.last; inTurn {
		f.turns++
	} else if ok && name != f.last {
		f.turns = 0
	}
	if ok {
		f.last = name
	}
	var next []string
	if ok && f.turns > 0 {
		n := min(1<<min(f.turns-1, 8), ahead)
		for _, n := range f.names[i+1 : min(i+1+n, len(f.names))] {
			if first, _ := parse(n, segmentSuffix); f.until > 0 && first > f.until {
				break
			}
			next = append(next, f.known[n].key)
		}
	}
	f.mu.Unlock()
	for _, key := range next {
		f.cache.fetchAhead(key, 0)
	}
}

// Stat knows what the list said. A batch that was deleted since is found out when it is read.
func (f *files) Stat(path string) (fs.FileInfo, error) {
	name := filepath.Base(path)
	f.mu.Lock()
	defer f.mu.Unlock()
	k, ok := f.known[name]
	if !ok {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
	}
	return entry{name, k.size}, nil
}

// ReadDir lists what is known.
func (f *files) ReadDir(string) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := []fs.DirEntry{fs.FileInfoToDirEntry(entry{identityName, int64(len(f.identity))})}
	for name, k := range f.known {
		out = append(out, fs.FileInfoToDirEntry(entry{name, k.size}))
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
	n, piece := 0, o.cache.piece(o.key)
	for n < len(p) {
		at := off + int64(n)
		if at >= o.size {
			return n, io.EOF
		}
		o.cache.ahead(o.key, at/piece, o.size)
		m, size, err := o.cache.copy(p[n:], o.key, at/piece, at%piece)
		if err != nil {
			return n, err
		}
		if size != o.size {
			return n, &objstore.Error{
				Op: objstore.OpGet, Store: "archive", Key: o.key,
				Err: fmt.Errorf("%d bytes became %d while it was read: %w", o.size, size, journal.ErrCorrupt),
			}
		}
		n += m
	}
	return n, nil
}
