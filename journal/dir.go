package journal

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// listing is what a trail's directory holds, ascending.
type listing struct {
	segments []TXID // first TXIDs
	bases    []TXID
	other    []string
}

func list(fsys durable.FS, dir string) (*listing, error) {
	entries, err := fsys.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, noTrail(dir)
	}
	if err != nil {
		return nil, err
	}
	l := new(listing)
	for _, e := range entries {
		if id, ok := parseName(e.Name(), segmentSuffix); ok && id > 0 {
			l.segments = append(l.segments, id)
		} else if id, ok := parseName(e.Name(), baseSuffix); ok {
			l.bases = append(l.bases, id)
		} else {
			l.other = append(l.other, e.Name())
		}
	}
	slices.Sort(l.segments) // a simulated disk may list in another order
	slices.Sort(l.bases)
	return l, nil
}

// segmentOf is the index of the segment that must hold id, -1 when id is before all.
func (l *listing) segmentOf(id TXID) int {
	i, found := slices.BinarySearch(l.segments, id)
	if found {
		return i
	}
	return i - 1
}

func noTrail(dir string) error {
	return &Error{
		Path: dir, Offset: -1, Err: because(ErrNotFound, "no trail"),
		Hint: "open the database once through the pagetrail VFS to begin one",
	}
}

// openedFile is a file with its header read.
type openedFile struct {
	f    durable.File
	path string
	size int64
	hdr  fileHeader

	footer   *footer // of a sealed segment, once it was read and is to be kept
	footerAt int64
}

// openHeader opens a segment or base for reading and checks that it belongs to the trail. A nil
// identity accepts any.
func openHeader(fsys durable.FS, dir, name string, flag int, magic [8]byte, of *Identity, first TXID) (*openedFile, error) {
	path := filepath.Join(dir, name)
	f, err := fsys.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	o := &openedFile{f: f, path: f.Name()} // an archive's objects lie elsewhere
	if err := o.load(magic, of, first); err != nil {
		_ = f.Close() // opened to read; the error found is the one to report
		return nil, located(err, o.path, 0, first)
	}
	return o, nil
}

func (o *openedFile) load(magic [8]byte, of *Identity, first TXID) error {
	var err error
	if o.size, err = o.f.Size(); err != nil {
		return err
	}
	buf := make([]byte, fileHeaderSize)
	n, err := o.f.ReadAt(buf, 0)
	if n < len(buf) && !isEOF(err) {
		return err
	}
	if err := o.hdr.parse(buf[:n], magic); err != nil {
		return err
	}
	if o.hdr.first != first {
		return because(ErrCorrupt, "the header says %d, the name %d", uint64(o.hdr.first), uint64(first))
	}
	if of != nil && (o.hdr.database != of.Database || o.hdr.timeline > of.Timeline) {
		return because(ErrForeign, "database %v timeline %d, the trail is of %v timeline %d",
			o.hdr.database, o.hdr.timeline, of.Database, of.Timeline)
	}
	return nil
}
