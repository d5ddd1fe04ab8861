package vfs

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// Settle makes the trail of the database at path have everything that was committed, whatever a crash or a program
// without the VFS left to be recorded, and lets SQLite put WAL and journal away, if nobody else has the database open.
// It is what a primary does last, see package apply/follow/takeover. Nothing is committed.
func Settle(ctx context.Context, path string) (err error) {
	w, err := NewWatcher(path, nil)
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
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
	}
}

// settleRollback takes the lock of a writer, under which trail and database are compared.
func settleRollback(ctx context.Context, path string) (err error) {
	c, err := sqlite3.OpenContext(ctx, fileURL(path, url.Values{"mode": {"rw"}, "vfs": {Name}}))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	if err := c.Exec("PRAGMA busy_timeout=10000; BEGIN IMMEDIATE"); err != nil {
		return err
	}
	return c.Exec("ROLLBACK; PRAGMA pagetrail_txid")
}
