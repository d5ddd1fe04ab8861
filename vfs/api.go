package vfs

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/journal"
)

// ErrNotCaptured says that a database was not opened through this VFS, or is
// one in memory.
var ErrNotCaptured = errors.New("pagetrail: the database is not captured: open it with ?vfs=pagetrail")

// Status is what PRAGMA pagetrail_status tells, in JSON.
type Status struct {
	Trail     string           `json:"trail"` // directory
	Position  journal.Position `json:"position"`
	Time      time.Time        `json:"time"`      // of the last transaction
	PageSize  int              `json:"page_size"` // bytes
	PageCount uint32           `json:"page_count"`
	Captured  bool             `json:"captured"`          // false: nothing was written through the VFS yet
	Problem   string           `json:"problem,omitempty"` // why transactions are refused, or recorded late
}

// Database gives a connection's view of the trail of one of its databases. It
// is used by the goroutine that uses the connection, and not after its Close.
type Database struct{ f *mainFile }

// Of returns the capture of a database of connection c; schema is "main" or
// the name of an attached database. For database/sql, see [Raw].
func Of(c *sqlite3.Conn, schema string) (Database, error) {
	v, err := c.FileControl(schema, sqlite3.FCNTL_FILE_POINTER)
	if err != nil {
		return Database{}, err
	}
	file, ok := v.(sqlitevfs.File)
	if !ok {
		return Database{}, ErrNotCaptured
	}
	return of(file)
}

func of(file sqlitevfs.File) (Database, error) {
	if f, ok := vfsutil.UnwrapFile[*mainFile](file); ok {
		return Database{f}, nil
	}
	return Database{}, ErrNotCaptured
}

// Raw calls fn with the capture of the main database of a database/sql
// connection. A note given there is for the next transaction of this
// connection, so keep it until then.
func Raw(ctx context.Context, c *sql.Conn, fn func(Database) error) error {
	return c.Raw(func(driverConn any) error {
		r, ok := driverConn.(interface{ Raw() *sqlite3.Conn })
		if !ok {
			return ErrNotCaptured
		}
		db, err := Of(r.Raw(), "main")
		if err != nil {
			return err
		}
		return fn(db)
	})
}

// Position is that of the last committed transaction, the connection's own
// included. Within a transaction it is the one before it.
func (d Database) Position() (journal.Position, error) { return d.f.position() }

// Note attaches text, at most [MaxNote] bytes, to the connection's next
// transaction. A rolled-back transaction leaves it for the one after.
func (d Database) Note(text string) error {
	if len(text) > MaxNote {
		return errNote
	}
	d.f.conn.Note(text)
	return nil
}

// Point names the last committed transaction, durably: a restore point.
func (d Database) Point(name string) (journal.Point, error) {
	if name == "" {
		return journal.Point{}, errPoint
	}
	return d.f.conn.Point(name)
}

// Status tells how the capture is doing.
func (d Database) Status() (Status, error) { return d.f.status() }

func (f *mainFile) status() (Status, error) {
	tx, id, err := f.conn.Position()
	s := Status{
		Trail:    f.db.Dir(),
		Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: tx.Sum},
		PageSize: tx.PageSize, PageCount: tx.PageCount, Captured: f.db.Attached(),
	}
	if tx.TXID != 0 {
		s.Time = tx.Time.Time()
	}
	if err == nil {
		err = f.db.Problem()
	}
	if err != nil {
		s.Problem = err.Error()
	}
	return s, nil
}
