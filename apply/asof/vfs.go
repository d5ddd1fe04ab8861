package asof

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// Name is the name under which importing the package registers its VFS, which opens databases as they were. It can only read,
// and takes no locks: what was does not change. A DSN says of which trail, and which moment is meant:
//
//	trail=DIR    the trail; default: the database's name and -pagetrail, whether there is a database of that name or not
//	txid=N       after transaction N
//	at=TIME      after the last transaction at or before TIME, as RFC 3339 has it: 2026-11-26T14:05:00Z
//	point=NAME   at the restore point NAME
//
// One of the last three has to be there. Connections to the same moment of a trail share a View. A View of something else, as
// an archive, is opened by package readervfs of the driver, which takes any io.ReaderAt.
const Name = "pagetrail-asof"

func init() { sqlitevfs.Register(Name, asofVFS{}) }

// asofVFS opens Views as databases. See https://sqlite.org/c3ref/vfs.html.
type asofVFS struct{}

var _ sqlitevfs.VFSFilename = asofVFS{}

// Open is for temporary files, which are the operating system's.
func (asofVFS) Open(name string, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	return sqlitevfs.Find("").Open(name, flags)
}

func (v asofVFS) OpenFilename(name *sqlitevfs.Filename, flags sqlitevfs.OpenFlag) (sqlitevfs.File, sqlitevfs.OpenFlag, error) {
	if name == nil || flags&sqlitevfs.OPEN_DELETEONCLOSE != 0 {
		return v.Open(name.String(), flags)
	}
	if flags&sqlitevfs.OPEN_MAIN_DB == 0 {
		return nil, flags, sqlite3.CANTOPEN
	}
	s, err := acquire(name.String(), name.URIParameters())
	if err != nil {
		return nil, flags, sqlitevfs.SystemError(fmt.Errorf("pagetrail: %s as of a moment: %w", name, err), sqlite3.CANTOPEN)
	}
	return file{s}, flags&^(sqlitevfs.OPEN_READWRITE|sqlitevfs.OPEN_CREATE) | sqlitevfs.OPEN_READONLY, nil
}

func (asofVFS) Delete(string, bool) error { return sqlite3.IOERR_DELETE }

func (asofVFS) Access(string, sqlitevfs.AccessFlag) (bool, error) { return false, nil }

func (asofVFS) FullPathname(name string) (string, error) {
	return sqlitevfs.Find("").FullPathname(name)
}

// shared is a View that connections share.
type shared struct {
	*View
	key   string
	trail *journal.Trail
	users int // under open.mu
}

// open has the Views that are in use.
var open struct {
	mu    sync.Mutex
	views map[string]*shared // under mu
}

// acquire opens the View that a DSN names, unless somebody else has.
func acquire(path string, params url.Values) (*shared, error) {
	target, err := targetOf(params)
	if err != nil {
		return nil, err
	}
	dir := params.Get("trail")
	if dir == "" {
		dir = path + "-pagetrail"
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	key := dir + "\x00" + target.String()
	open.mu.Lock()
	defer open.mu.Unlock()
	s := open.views[key]
	if s == nil {
		if s, err = openShared(dir, target); err != nil {
			return nil, err
		}
		if open.views == nil {
			open.views = make(map[string]*shared)
		}
		s.key, open.views[key] = key, s
	}
	s.users++
	return s, nil
}

func openShared(dir string, target apply.Target) (*shared, error) {
	trail, err := journal.Open(dir, nil)
	if err != nil {
		return nil, err
	}
	view, err := Open(context.Background(), trail, target, nil)
	if err != nil {
		return nil, errors.Join(err, trail.Close())
	}
	return &shared{View: view, trail: trail}, nil
}

// release gives a View up; the last to do so closes it.
func (s *shared) release() error {
	open.mu.Lock()
	defer open.mu.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	delete(open.views, s.key)
	return errors.Join(s.View.Close(), s.trail.Close())
}

// targetOf is the moment that a DSN names.
func targetOf(params url.Values) (target apply.Target, err error) {
	given := 0
	for _, name := range []string{"txid", "at", "point"} {
		s := params.Get(name)
		if s == "" {
			continue
		}
		given++
		switch name {
		case "txid":
			id, err := strconv.ParseUint(s, 10, 63)
			if err != nil {
				return target, fmt.Errorf("txid=%s is not a transaction number", s)
			}
			target = apply.AtTXID(journal.TXID(id))
		case "at":
			at, err := time.Parse(time.RFC3339Nano, s)
			if err != nil {
				return target, fmt.Errorf("at=%s is not a time such as 2026-11-26T14:05:00Z", s)
			}
			target = apply.AtTime(journal.TimeOf(at))
		case "point":
			target = apply.AtPoint(s)
		}
	}
	if given != 1 {
		return target, errors.New("say which moment, by one of txid=, at= and point=")
	}
	return target, nil
}

// file is a database that cannot be changed, by anyone: SQLite asks for no locks and looks for no journals.
// See https://sqlite.org/c3ref/c_iocap_atomic.html.
type file struct{ *shared }

func (f file) Close() error { return f.release() }

func (f file) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.View.ReadAt(b, off)
	if _, damaged := errors.AsType[*journal.Error](err); damaged {
		err = sqlitevfs.SystemError(err, sqlite3.IOERR_READ)
	}
	return n, err
}

func (file) DeviceCharacteristics() sqlitevfs.DeviceCharacteristic {
	return sqlitevfs.IOCAP_IMMUTABLE | sqlitevfs.IOCAP_SUBPAGE_READ
}

func (file) SectorSize() int                    { return 0 }
func (file) WriteAt([]byte, int64) (int, error) { return 0, sqlite3.IOERR_WRITE }
func (file) Truncate(int64) error               { return sqlite3.IOERR_TRUNCATE }
func (file) Sync(sqlitevfs.SyncFlag) error      { return sqlite3.IOERR_FSYNC }
func (file) Lock(sqlitevfs.LockLevel) error     { return sqlite3.IOERR_LOCK }
func (file) Unlock(sqlitevfs.LockLevel) error   { return sqlite3.IOERR_UNLOCK }
func (file) CheckReservedLock() (bool, error)   { return false, sqlite3.IOERR_CHECKRESERVEDLOCK }
