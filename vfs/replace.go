package vfs

import (
	"cmp"
	"context"
	"net/url"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/journal"
)

// ReplaceOptions of Replace. Nil and the zero value work.
type ReplaceOptions struct {
	Trail string        // as trail= in the DSN; default: beside the database
	Note  string        // of the transaction, at most [MaxNote] bytes
	Wait  time.Duration // for transactions of others to end; default 10 s
}

// Replace makes what the database file from has, which nobody may have open, the content of the database at path: in one
// transaction, which is captured as any other. It returns the position after it, which is before or after what programs
// commit meanwhile, never in the middle; they need not close the database. SQLite counts the change in the header, so that
// page 1 differs from that of from in some bytes, and no other page does.
//
// If others do not give up their locks in time, [Busy] says that the error is that. With pages of another size than
// from has, SQLite cannot do it in WAL mode. After an error nothing has changed.
func Replace(ctx context.Context, path, from string, o *ReplaceOptions) (at journal.Position, err error) {
	opt := ReplaceOptions{Wait: lockWait}
	if o != nil {
		opt.Trail, opt.Note = o.Trail, o.Note
		opt.Wait = cmp.Or(o.Wait, opt.Wait)
	}
	err = withDatabase(ctx, path, opt.Trail, opt.Wait, func(c *sqlite3.Conn, db Database) error {
		if err := db.Note(opt.Note); err != nil {
			return err
		}
		// Nobody writes to from, and beside a file in WAL mode SQLite would make others.
		if err := c.Restore("main", fileURL(from, url.Values{"mode": {"ro"}, "immutable": {"1"}})); err != nil {
			return err
		}
		at, err = db.Position()
		return err
	})
	return at, err
}
