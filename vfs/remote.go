package vfs

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ncruces/go-sqlite3/util/vfsutil"
	sqlitevfs "github.com/ncruces/go-sqlite3/vfs"

	"github.com/pagetrail/pagetrail/journal"
)

// SyncRemote is the value of Options.Sync with which a commit returns when it
// was acknowledged elsewhere.
const SyncRemote = "remote"

// UnacknowledgedError and UnacknowledgedContinue are the values of
// Options.Unacknowledged.
const (
	UnacknowledgedError    = "error"
	UnacknowledgedContinue = "continue"
)

// ErrUnacknowledged is the code of COMMIT's error, for errors.Is, when the
// transaction is committed here, and is not known to be anywhere else. It is an
// I/O error of a number that SQLite does not use: one for which programs repeat
// a transaction, such as BUSY, would have it done twice.
const ErrUnacknowledged = sqlite3.ExtendedErrorCode(sqlite3.IOERR) | 200<<8

// remote is what sync=remote asks of a database; nil: nothing.
type remote struct {
	ack     func(ctx context.Context, database string, at journal.Position) error
	timeout time.Duration
	goOn    bool
}

// parseRemote finds out from options and the DSN's parameters whether commits
// wait.
func parseRemote(param func(string) string, o *Options) (*remote, error) {
	pick := func(name, value string) string {
		if s := param(name); s != "" {
			return s
		}
		return value
	}
	r := &remote{ack: o.Acknowledge, timeout: o.SyncTimeout}
	switch s := pick("sync", o.Sync); s {
	case "", "local":
		return nil, nil
	case SyncRemote:
		if o.Acknowledge == nil {
			return nil, errors.New("pagetrail: sync=remote: nobody is there to acknowledge commits: register a VFS with Options.Acknowledge")
		}
	default:
		return nil, fmt.Errorf("pagetrail: sync=%s: want \"remote\" or \"local\"", s)
	}
	if s := param("sync_timeout"); s != "" {
		d, err := time.ParseDuration(s)
		if err != nil || d <= 0 {
			return nil, fmt.Errorf("pagetrail: sync_timeout=%s: want a time, such as 5s", s)
		}
		r.timeout = d
	}
	if r.timeout <= 0 {
		r.timeout = 10 * time.Second
	}
	switch s := pick("unacknowledged", o.Unacknowledged); s {
	case "", UnacknowledgedError:
	case UnacknowledgedContinue:
		r.goOn = true
	default:
		return nil, fmt.Errorf("pagetrail: unacknowledged=%s: want \"error\" or \"continue\"", s)
	}
	return r, nil
}

// acknowledged waits until the transaction that was just committed is safe
// elsewhere. In WAL mode no lock is held, so that others commit meanwhile and
// are acknowledged together; in rollback modes the database stays locked.
//
// The error becomes COMMIT's, unless SQLite would then roll back what other
// databases of the connection have of the transaction, for it takes any error
// here for one of the commit itself. So the error of one database is handed on
// to the next, and the last tells it. SQLite passes on no more than its code,
// and not even that when a super-journal committed several databases, so the
// log is told in any case.
func (f *mainFile) acknowledged() error {
	failed := f.owed
	f.owed = false
	if at, err := f.await(); err != nil {
		f.vfs.opt.Log.Warn("a transaction is committed here, and was not acknowledged elsewhere",
			"database", f.path, "txid", uint64(at.TXID), "err", err)
		failed = failed || !f.remote.goOn
	}
	if !failed {
		return nil
	}
	more, next := f.unfinished()
	if next != nil {
		next.owed = true
	}
	if more {
		return nil
	}
	return sqlitevfs.SystemError(errors.New("pagetrail: not acknowledged elsewhere"), ErrUnacknowledged)
}

func (f *mainFile) await() (journal.Position, error) {
	at, err := f.position()
	if err != nil {
		return at, err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), f.remote.timeout,
		fmt.Errorf("no answer within %v", f.remote.timeout))
	defer cancel()
	err = f.remote.ack(ctx, f.path, at)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	return at, err
}

// unfinished says whether other databases of the connection are yet to finish
// the commit that is under way, and which of them can say what became of this
// one. A temporary database does not count: what it loses is the connection's own.
func (f *mainFile) unfinished() (more bool, next *mainFile) {
	if f.sqlite == nil {
		return false, nil
	}
	for n := range 128 { // SQLITE_MAX_ATTACHED is 125 at most
		name := f.sqlite.DBName(n)
		if name == "temp" || name == "" || f.sqlite.TxnState(name) != sqlite3.TXN_WRITE {
			continue
		}
		var main *mainFile
		if file := f.sqlite.Filename(name); file.String() != "" {
			main, _ = vfsutil.UnwrapFile[*mainFile](file.DatabaseFile())
		}
		if main == f {
			continue
		}
		more = true
		if main != nil && main.remote != nil && !main.remote.goOn {
			next = main
		}
	}
	return more, next
}
