package vfs

import (
	"context"
	"net/url"
	"path/filepath"

	"github.com/ncruces/go-sqlite3"
)

// Settle makes the trail of the database at path have everything that was committed, whatever a crash or a program
// without the VFS left to be recorded, and lets SQLite put WAL and journal away, if nobody else has the database open.
// It is what a primary does last, see package apply/follow/takeover. Nothing is committed.
func Settle(ctx context.Context, path string) (err error) {
	name := (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: "mode=rw&vfs=" + Name}).String()
	c, err := sqlite3.OpenContext(ctx, name)
	if err != nil {
		return err
	}
	defer func() {
		if e := c.Close(); err == nil {
			err = e
		}
	}()
	if err := c.Exec("PRAGMA busy_timeout=10000; BEGIN IMMEDIATE"); err != nil {
		return err
	}
	return c.Exec("ROLLBACK; PRAGMA pagetrail_txid")
}
