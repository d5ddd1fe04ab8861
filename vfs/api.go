package vfs

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/internal/capture"
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
	Captured  bool             `json:"captured"`           // false: nothing was written through the VFS yet
	Problem   string           `json:"problem,omitempty"`  // why transactions are refused, or recorded late
	Detached  *Detached        `json:"detached,omitempty"` // commits go on without the trail; nil: they do not
}

// Detached says since when commits go on without the trail, see Options.Full,
// and what it has missed.
type Detached struct {
	Since  time.Time    `json:"since"`  // when the trail could not be written for the first time
	After  journal.TXID `json:"after"`  // the last transaction that it has
	Reason string       `json:"reason"` // why it could not be written
	// Transactions that it missed, as far as connections of the VFS made them.
	// Merged: they will be one catch-up record, since nothing but the database
	// has them; else the WAL still has each of them.
	Transactions uint64 `json:"transactions"`
	Merged       bool   `json:"merged"`
	// First and Last of them were committed at these moments.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
}

func detachedOf(d *capture.Detachment) *Detached {
	if d == nil {
		return nil
	}
	s := &Detached{
		Since: d.Since.Time(), After: d.After, Reason: d.Reason, Transactions: d.Transactions, Merged: d.Merged,
	}
	if d.Transactions > 0 {
		s.First, s.Last = d.First.Time(), d.Last.Time()
	}
	return s
}

// ReadDetached reads off the directory of a trail whether commits go on without
// it; nil when they do not. What a full disk kept from being noted there it
// cannot tell: PRAGMA pagetrail_status in the process that writes can.
func ReadDetached(trail string) (*Detached, error) {
	d, err := capture.ReadDetachment(trail)
	return detachedOf(d), err
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
		Detached: detachedOf(f.db.Detached()),
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
