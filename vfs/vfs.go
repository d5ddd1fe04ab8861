package vfs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/internal/capture"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/replica"
)

// Name is the name under which importing the package registers the VFS over
// the operating system's.
const Name = "pagetrail"

func init() {
	if err := Register(Name, nil); err != nil {
		panic(err)
	}
	sqlite3.AutoExtension(connect)
}

// Register makes a capturing VFS known to SQLite as name. Databases opened
// with ?vfs=name are captured. Registering a name again replaces it for
// connections opened from then on.
func Register(name string, o *Options) error {
	if name == "" || name == "os" {
		return errors.New("pagetrail: the name of a VFS must not be empty or \"os\"")
	}
	opt := o.withDefaults()
	base := sqlitevfs.Find(opt.Base)
	if base == nil {
		return errors.New("pagetrail: no VFS is registered as " + opt.Base)
	}
	if name == opt.Base {
		return errors.New("pagetrail: the VFS " + name + " cannot be its own base")
	}
	v := &captureVFS{name: name, base: base, opt: opt, files: opt.FS}
	if v.files == nil && (opt.Base == "" || opt.Base == "os") {
		v.files = durable.OS
	}
	sqlitevfs.Register(name, v)
	return nil
}

// captureVFS is the front end of the capture engine for SQLite in Go.
// See https://sqlite.org/c3ref/vfs.html.
type captureVFS struct {
	name  string
	base  sqlitevfs.VFS
	opt   Options
	files durable.FS // where base has its files, by path; nil: not to be had
}

var _ sqlitevfs.VFSFilename = (*captureVFS)(nil)

// Open is for files without a name; SQLite calls OpenFilename.
func (v *captureVFS) Open(name string, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	return vfsutil.WrapOpen(v.base, name, flags)
}

func (v *captureVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	const transient = sqlitevfs.OPEN_MEMORY | sqlitevfs.OPEN_DELETEONCLOSE
	if name == nil || flags&transient != 0 {
		return vfsutil.WrapOpenFilename(v.base, name, flags)
	}
	switch {
	case flags&sqlitevfs.OPEN_MAIN_DB != 0:
		return v.openMain(name, flags)
	case flags&sqlitevfs.OPEN_WAL != 0:
		return v.openWAL(name, flags)
	case flags&sqlitevfs.OPEN_MAIN_JOURNAL != 0:
		f, flags, err := v.openBeside(name, flags)
		if err != nil {
			return nil, flags, err
		}
		return f, flags, nil
	case flags&sqlitevfs.OPEN_SUPER_JOURNAL != 0:
		return v.openSuper(name, flags)
	}
	return vfsutil.WrapOpenFilename(v.base, name, flags)
}

// openSuper opens the super-journal of a transaction over several files. As
// long as it is there each of their journals can be rolled back, and without it
// none is, so its name has to survive a power cut before the first page is
// written: the directory is synced with the first sync of the file, in the
// operating system's VFS's stead (see openBeside).
func (v *captureVFS) openSuper(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	f, out, err := vfsutil.WrapOpenFilename(v.base, name, flags)
	if err != nil || v.files == nil || flags&sqlitevfs.OPEN_CREATE == 0 {
		return f, out, err
	}
	return &besideFile{wrapped: wrapped{f}, files: v.files, dir: filepath.Dir(name.String())}, out, nil
}

func (v *captureVFS) openMain(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	params, err := parseParams(name, v.opt)
	if err != nil {
		return nil, flags, sqlitevfs.SystemError(err, sqlite3.CANTOPEN)
	}
	file, out, err := vfsutil.WrapOpenFilename(v.base, name, flags)
	if err != nil {
		return nil, out, err
	}
	path := name.String()
	if v.opt.FS == nil && v.files != nil && replica.Is(path) {
		return &replicaFile{wrapped{file}, path}, out&^(sqlitevfs.OPEN_READWRITE|sqlitevfs.OPEN_CREATE) | sqlitevfs.OPEN_READONLY, nil
	}
	db, err := capture.Acquire(path, capture.Options{
		Dir: params.trail, SealBytes: v.opt.SealBytes, GroupBytes: v.opt.GroupBytes, ByPath: v.files != nil && !params.inline,
		Progress: v.opt.progressOf(path), Log: v.opt.Log, FS: v.opt.FS,
		Full: params.full, Quota: params.quota, SealFast: name.URIParameter(roleParam) == roleWatcher,
	})
	if err != nil {
		file.Close()
		return nil, out, sqlError(err, sqlite3.CANTOPEN)
	}
	f := &mainFile{wrapped: wrapped{file}, db: db, conn: db.NewConn(file), vfs: v, path: path, remote: params.remote}
	if params.checkpoint == checkpointBackground && out&sqlitevfs.OPEN_READONLY == 0 {
		f.checkpointer = acquireCheckpointer(v.name, path, name.URIParameters(), v.opt.Log)
	}
	return f, out, nil
}

func (v *captureVFS) openWAL(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	main, ok := vfsutil.UnwrapFile[*mainFile](name.DatabaseFile())
	if !ok {
		return vfsutil.WrapOpenFilename(v.base, name, flags)
	}
	if v.files != nil {
		createLike(v.files, main.path+"-shm", main.path)
	}
	f, flags, err := v.openBeside(name, flags)
	if err != nil {
		return nil, flags, err
	}
	main.conn.OpenWAL(f)
	main.wal = &walFile{besideFile: f, main: main, frames: frameWriter{f: f.File}}
	if v.files != nil {
		main.wal.frames.overtaken = main.conn.Overtaken
	}
	return main.wal, flags, nil
}

// openBeside opens a journal or a WAL. The operating system's VFS creates them
// with mode 0644 whatever the database's, and then syncs the new file instead
// of its directory: so the file is created here, with the database's mode, and
// the directory synced with the first sync of the file.
func (v *captureVFS) openBeside(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (*besideFile, sqlitevfs.OpenFlag, error) {
	ask, created := flags, false
	if v.files != nil && flags&sqlitevfs.OPEN_CREATE != 0 {
		ok, made := createLike(v.files, name.String(), name.Database())
		if created = made; ok {
			ask &^= sqlitevfs.OPEN_CREATE | sqlitevfs.OPEN_EXCLUSIVE
		}
	}
	f, out, err := vfsutil.WrapOpenFilename(v.base, name, ask)
	if err != nil {
		return nil, out, err
	}
	b := &besideFile{wrapped: wrapped{f}}
	if created {
		b.files, b.dir = v.files, filepath.Dir(name.String())
	}
	return b, out | flags&sqlitevfs.OPEN_CREATE, nil
}

// createLike makes sure that the file name is there, new with the mode of the
// file model. ok: it is there; made: it was created.
func createLike(files durable.FS, name, model string) (ok, made bool) {
	fi, err := files.Stat(model)
	if err != nil {
		return false, false
	}
	f, err := files.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, fi.Mode().Perm())
	if errors.Is(err, fs.ErrExist) {
		return true, false
	}
	if err != nil {
		return false, false // the VFS beneath reports it
	}
	return f.Close() == nil, true
}

func (v *captureVFS) Delete(name string, syncDir bool) error {
	db, wal := strings.CutSuffix(name, "-wal")
	if wal {
		if err := capture.DeletingWAL(db); err != nil {
			return sqlError(err, sqlite3.IOERR)
		}
	}
	err := v.base.Delete(name, syncDir)
	if wal && err == nil {
		capture.WALDeleted(db)
	}
	return err
}

func (v *captureVFS) Access(name string, flags sqlitevfs.AccessFlag) (bool, error) {
	return v.base.Access(name, flags)
}

func (v *captureVFS) FullPathname(name string) (string, error) { return v.base.FullPathname(name) }

// sqlError gives err the SQLite result code that fits it, else code.
func sqlError(err error, code sqlite3.ErrorCode) error {
	if err == nil {
		return nil
	}
	for e, c := range errorCodes {
		if errors.Is(err, e) {
			return sqlitevfs.SystemError(err, c)
		}
	}
	var own sqlite3.ErrorCode
	if errors.As(err, &own) {
		return err
	}
	return sqlitevfs.SystemError(err, code)
}

// trailOf resolves the DSN parameter trail against the database's directory.
func trailOf(path, trail string) string {
	switch {
	case trail == "":
		return ""
	case filepath.IsAbs(trail):
		return filepath.Clean(trail)
	case strings.HasPrefix(trail, "~"):
		return trail
	}
	return filepath.Join(filepath.Dir(path), trail)
}
