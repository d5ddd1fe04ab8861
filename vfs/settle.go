package vfs

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
)

// Settle makes the trail of the database at path have everything that was committed, whatever a crash or a program
// without the VFS left to be recorded, and lets SQLite put WAL and journal away, if nobody else has the database open.
// It is what a primary does last, see package apply/follow/takeover. Nothing is committed.
func Settle(ctx context.Context, path string) error { return SettleWith(ctx, path, nil) }

// SettleWith is Settle with options, of which VFS, Trail and Quota count, of a database in WAL mode.
func SettleWith(ctx context.Context, path string, o *WatchOptions) (err error) {
	w, err := NewWatcher(path, o)
	if errors.Is(err, ErrNotWAL) {
		return settleRollback(ctx, path)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for {
		wait, err := w.Step()
		if err == nil || !Busy(err) {
			return err
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

// settleRollback takes the lock of a writer, under which trail and database are compared.
func settleRollback(ctx context.Context, path string) error {
	return withDatabase(ctx, path, "", lockWait, func(c *sqlite3.Conn, _ Database) error {
		return c.Exec("BEGIN IMMEDIATE; ROLLBACK; PRAGMA pagetrail_txid")
	})
}

// NamePoint names the last committed transaction of the database at path, which no connection of this process has to have
// open: a restore point, for scripts. What was committed without the VFS it has recorded first.
func NamePoint(ctx context.Context, path, name string) (p journal.Point, err error) {
	point := func(c *sqlite3.Conn, db Database) (err error) {
		if err = c.Exec("PRAGMA schema_version"); err == nil { // whoever has read knows the WAL
			p, err = db.Point(name)
		}
		return err
	}
	if err := withDatabase(ctx, path, "", lockWait, point); err == nil || name == "" || Busy(err) {
		return p, err
	}
	if err := Settle(ctx, path); err != nil {
		return p, err
	}
	return p, withDatabase(ctx, path, "", lockWait, point)
}

// lockWait is how long whoever does one thing waits for the transactions of others.
const lockWait = 10 * time.Second

// withDatabase calls fn with a connection of its own to the database at path.
func withDatabase(ctx context.Context, path, trail string, wait time.Duration, fn func(*sqlite3.Conn, Database) error) (err error) {
	q := url.Values{"mode": {"rw"}, "vfs": {Name}}
	if trail != "" {
		q.Set("trail", trail)
	}
	c, err := sqlite3.OpenContext(ctx, fileURL(path, q))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.BusyTimeout(wait); err != nil {
		return err
	}
	db, err := Of(c, "main")
	if err != nil {
		return err
	}
	if err = fn(c, db); err == nil {
		return nil
	}
	if why := db.f.db.Refusal(); why != nil && !errors.Is(err, why) { // SQLite says no more than "disk I/O error"
		err = fmt.Errorf("%w: %w", err, why)
	}
	return err
}
