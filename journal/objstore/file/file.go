// Package file is an object store in a directory: an object is a file, its key the path below the directory.
//
// # Durability
//
// An object is written to a temporary file beside its place, synced, and renamed; then the directory is synced, and
// those above it that had to be made. So after a power cut an object is there whole or not at all, and one whose Put
// or Create returned is there.
//
// # Two writers
//
// Create looks whether the name is taken and renames, and Swap compares and renames, under an advisory lock on the
// file .lock in the directory. It excludes other processes of the machine; on a network file system it does so only
// where that passes flock on to the server, which [objstore.Probe] cannot find out from one machine.
//
// # What lies around
//
// Names that begin with a dot are not objects: the lock, and temporary files (.*.tmp), which a crash may leave behind
// and which mean nothing: whoever writes an object of 1 MiB or more removes those of its directory that are a day older.
// Directories are not removed when their last object is.
package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Open; nil means defaults.
type Options struct {
	FS   durable.FS  // default durable.OS
	Mode fs.FileMode // of files, default 0600; directories get the x bits of its r bits
}

// Store is a store in a directory. Safe for concurrent use, by other processes too.
type Store struct {
	fs   durable.FS
	dir  string
	mode fs.FileMode
}

var _ objstore.Store = (*Store)(nil)

// lockName is the file that Create and Swap lock. It is beside the object: what is a directory in one store is a store to
// somebody else.
const lockName = ".lock"

// Open is the store in a directory, which the first write makes; its parent must be there.
func Open(dir string, o *Options) *Store {
	s := &Store{fs: durable.OS, dir: filepath.Clean(dir), mode: 0o600}
	if o != nil && o.FS != nil {
		s.fs = o.FS
	}
	if o != nil && o.Mode != 0 {
		s.mode = o.Mode
	}
	return s
}

// OpenURL opens file:///dir. A host is refused: it would be another machine's directory.
func OpenURL(_ context.Context, u *url.URL) (objstore.Store, error) {
	if _, err := objstore.Query(u); err != nil {
		return nil, err
	}
	if u.Host != "" && u.Host != "localhost" || u.Opaque != "" || !filepath.IsAbs(filepath.FromSlash(u.Path)) {
		return nil, fmt.Errorf("store %s: want file:///DIR with an absolute path: %w", u, objstore.ErrKey)
	}
	return Open(filepath.FromSlash(u.Path), nil), nil
}

// Dir is the directory.
func (s *Store) Dir() string { return s.dir }

func (s *Store) fail(op objstore.Op, key string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist) && op == objstore.OpLoad && s.unmounted():
		err = fmt.Errorf("%s is not there: %w", filepath.Dir(s.dir), objstore.ErrNoBucket)
	case errors.Is(err, fs.ErrNotExist):
		err = objstore.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		err = fmt.Errorf("%w: %v", objstore.ErrDenied, err)
	}
	return &objstore.Error{Op: op, Store: "file://" + filepath.ToSlash(s.dir), Key: key, Err: err}
}

// unmounted says that the directory is not there, nor the one that it would be made in: so a disk that is not mounted is
// not taken for one without an archive.
func (s *Store) unmounted() bool {
	_, err := s.fs.Stat(filepath.Dir(s.dir))
	return errors.Is(err, fs.ErrNotExist)
}

// path is the file of a key.
func (s *Store) path(ctx context.Context, op objstore.Op, key string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", s.fail(op, key, err)
	}
	if err := objstore.CheckKey(key); err != nil {
		return "", s.fail(op, key, err)
	}
	return filepath.Join(s.dir, filepath.FromSlash(key)), nil
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	path, err := s.path(ctx, objstore.OpGet, key)
	if err != nil {
		return nil, 0, err
	}
	f, size, err := s.open(path)
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	if n < 0 || n > size-off {
		n = max(size-off, 0)
	}
	return &body{io.NewSectionReader(f, off, n), f}, size, nil
}

// open opens an object. A directory of that name is none.
func (s *Store) open(path string) (durable.File, int64, error) {
	info, err := s.fs.Stat(path)
	if err == nil && info.IsDir() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, 0, err
	}
	f, err := s.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Size()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, size, nil
}

type body struct {
	*io.SectionReader
	f durable.File
}

func (b *body) Close() error { return b.f.Close() }

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, data io.ReaderAt, size int64) error {
	return s.write(ctx, objstore.OpPut, key, data, size)
}

// Create implements objstore.Bucket.
func (s *Store) Create(ctx context.Context, key string, data io.ReaderAt, size int64) error {
	return s.write(ctx, objstore.OpCreate, key, data, size)
}

func (s *Store) write(ctx context.Context, op objstore.Op, key string, data io.ReaderAt, size int64) error {
	path, err := s.path(ctx, op, key)
	if err != nil {
		return err
	}
	if err := s.place(ctx, op, path, data, size); err != nil {
		return s.fail(op, key, err)
	}
	return nil
}

// place writes a temporary file and gives it its name.
func (s *Store) place(ctx context.Context, op objstore.Op, path string, data io.ReaderAt, size int64) error {
	if err := s.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	if op == objstore.OpCreate { // spare the writing, where it is known to be in vain
		if _, err := s.fs.Stat(path); err == nil {
			return objstore.ErrExists
		}
	}
	return s.replace(ctx, path, data, size, func(temp string) error { return s.rename(op, temp, path) })
}

// replace writes a temporary file beside path, lets rename give it its name, and makes that durable.
func (s *Store) replace(ctx context.Context, path string, data io.ReaderAt, size int64, rename func(temp string) error) error {
	var name [8]byte
	_, _ = rand.Read(name[:]) // documented never to fail
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+hex.EncodeToString(name[:])+durable.TempSuffix)
	err := s.writeTemp(ctx, temp, data, size)
	if err == nil {
		if size >= sweepBytes {
			s.sweep(temp)
		}
		err = rename(temp)
	}
	if err != nil {
		_ = s.fs.Remove(temp) // the error found is the one to report
		return err
	}
	return s.fs.SyncDir(filepath.Dir(path))
}

const (
	// sweepBytes: beside writing so much, reading a directory takes no time.
	sweepBytes = 1 << 20
	// tempAge is how much older a temporary file is that nobody writes any more.
	tempAge = 24 * time.Hour
)

// sweep removes what crashes left beside a temporary file. What cannot be removed does no harm.
func (s *Store) sweep(own string) {
	dir := filepath.Dir(own)
	now, err := s.fs.Stat(own)
	if err != nil {
		return
	}
	entries, _ := s.fs.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") || !strings.HasSuffix(e.Name(), durable.TempSuffix) {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().Add(tempAge).Before(now.ModTime()) {
			_ = s.fs.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

func (s *Store) rename(op objstore.Op, temp, path string) (err error) {
	if op == objstore.OpCreate {
		unlock, err := s.lock(path)
		if err != nil {
			return err
		}
		defer unlock()
		if _, err := s.fs.Stat(path); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				err = objstore.ErrExists
			}
			return err
		}
	}
	return s.fs.Rename(temp, path)
}

// writeChunk is how much of an object is in memory at once.
const writeChunk = 128 << 10

func (s *Store) writeTemp(ctx context.Context, temp string, data io.ReaderAt, size int64) error {
	f, err := s.fs.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, s.mode)
	if err != nil {
		return err
	}
	buf := make([]byte, min(size, writeChunk))
	for off := int64(0); off < size && err == nil; off += int64(len(buf)) {
		if err = ctx.Err(); err != nil {
			break
		}
		buf = buf[:min(size-off, int64(len(buf)))]
		if n, e := data.ReadAt(buf, off); n < len(buf) {
			if err = e; err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			break
		}
		_, err = f.WriteAt(buf, off)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// mkdir makes a directory below the store's, and what is missing above it.
func (s *Store) mkdir(dir string) error {
	if info, err := s.fs.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is not a directory: %w", dir, fs.ErrExist)
		}
		return nil
	}
	parent := filepath.Dir(dir)
	if dir != s.dir {
		if err := s.mkdir(parent); err != nil {
			return err
		}
	}
	err := s.fs.Mkdir(dir, s.mode|s.mode&0o444>>2)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is not there: %w", parent, objstore.ErrNoBucket)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.fs.SyncDir(parent)
}

// lock takes the lock of the object at path.
func (s *Store) lock(path string) (unlock func(), err error) {
	l, err := s.fs.Lock(filepath.Join(filepath.Dir(path), lockName), s.mode, true, true)
	if err != nil {
		return nil, err
	}
	return func() { _ = l.Close() }, nil // closing gives the lock up whatever it returns
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) error {
	path, err := s.path(ctx, objstore.OpDelete, key)
	if err != nil {
		return err
	}
	info, err := s.fs.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	if err == nil {
		err = s.fs.Remove(path)
	}
	if err == nil {
		err = s.fs.SyncDir(filepath.Dir(path))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return s.fail(objstore.OpDelete, key, err)
	}
	return nil
}

// Close does nothing: no file stays open.
func (s *Store) Close() error { return nil }

// Head implements objstore.Store. The tag is the hash of the content.
func (s *Store) Head(key string) objstore.Head { return &head{s, key} }

type head struct {
	s   *Store
	key string
}

func (h *head) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	path, err := h.s.path(ctx, objstore.OpLoad, h.key)
	if err != nil {
		return nil, "", err
	}
	data, tag, err := h.read(path)
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	return data, tag, nil
}

func (h *head) read(path string) ([]byte, objstore.Tag, error) {
	f, size, err := h.s.open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if size > objstore.MaxHead {
		return nil, "", objstore.ErrTooLarge
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, size), data); err != nil {
		return nil, "", err
	}
	return data, tagOf(data), nil
}

func tagOf(data []byte) objstore.Tag {
	sum := sha256.Sum256(data)
	return objstore.Tag(hex.EncodeToString(sum[:]))
}

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	path, err := h.s.path(ctx, objstore.OpSwap, h.key)
	if err == nil && len(data) > objstore.MaxHead {
		err = h.s.fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	if err != nil {
		return "", err
	}
	if err := h.swap(ctx, path, old, data); err != nil {
		return "", h.s.fail(objstore.OpSwap, h.key, err)
	}
	return tagOf(data), nil
}

func (h *head) swap(ctx context.Context, path string, old objstore.Tag, data []byte) error {
	if err := h.s.mkdir(filepath.Dir(path)); err != nil {
		return err
	}
	unlock, err := h.s.lock(path)
	if err != nil {
		return err
	}
	defer unlock()
	_, now, err := h.read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if now != old {
		return objstore.ErrConflict
	}
	return h.s.replace(ctx, path, bytes.NewReader(data), int64(len(data)), func(temp string) error { return h.s.fs.Rename(temp, path) })
}

// hidden says that a name is no object's.
func hidden(name string) bool { return strings.HasPrefix(name, ".") }
