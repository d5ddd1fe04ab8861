package takeover

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/oflock"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/replica"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// RetireOptions of Retire and Rejoin.
type RetireOptions struct {
	// Settle makes the trail have everything that the database has committed, and leaves nothing of it in a WAL or a
	// journal: it opens the database through package vfs, which this package does not know. See vfs.Settle.
	Settle func(ctx context.Context, path string) error
	// Trail is the directory of the database's trail; default the database's name + "-pagetrail".
	Trail string
	// BusyTimeout bounds the wait for programs that use the database; default 10 s.
	BusyTimeout time.Duration

	hook func(step string) error
}

// Retired is a database that was a primary. Until Release nobody can read or write it.
type Retired struct {
	// Position that it ended with.
	Position journal.Position
	db       *os.File
}

// Release lets programs read the database, and followers follow into it.
func (r *Retired) Release() error {
	if r.db == nil {
		return nil
	}
	err := r.db.Close() // with its locks
	r.db = nil
	return err
}

// Retire makes the primary at path a replica, at the position that it ends with: programs that open it through package
// vfs find that they cannot write. Those that have it open are waited for; one without a transaction in a rollback mode
// is not noticed, and has to be ended before. It is one step: the file R-pos is there or is not. A database that is a
// replica already is left as it is.
func Retire(ctx context.Context, path string, o *RetireOptions) (*Retired, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if replica.Is(path) {
		m, err := replica.Position(path)
		return &Retired{Position: m.Position}, err
	}
	limit := o.BusyTimeout
	if limit <= 0 {
		limit = 10 * time.Second
	}
	for end := time.Now().Add(limit); ; {
		if o.Settle != nil {
			if err := o.Settle(ctx, path); err != nil {
				return nil, err
			}
		}
		r, err := retire(path, o)
		if !errors.Is(err, journal.ErrLocked) || time.Now().After(end) {
			return r, err
		}
		if err := pause.For(ctx, 10*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// retire is one try, which finds the database settled and alone or is a [journal.ErrLocked].
func retire(path string, o *RetireOptions) (_ *Retired, err error) {
	db, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
		}
	}()
	busy := fmt.Errorf("%s: programs use the database: end them first: %w", path, journal.ErrLocked)
	for _, r := range [][2]int64{{sqlitefile.PendingByte, 2}, {sqlitefile.SharedFirst, sqlitefile.SharedSize}} {
		if ok, err := oflock.Try(db, r[0], r[1], oflock.Exclusive); err != nil || !ok {
			return nil, errors.Join(err, busy)
		}
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if info, err := os.Stat(path + suffix); err == nil && info.Size() > 0 {
			return nil, busy // begun since it was settled
		}
	}
	info, err := db.Stat()
	if err != nil {
		return nil, err
	}
	m, err := recorded(path, o.Trail)
	if err != nil {
		return nil, err
	}
	sum, err := checksum(db, info.Size())
	if err != nil {
		return nil, err
	}
	if sum != m.Sum {
		return nil, fmt.Errorf("%s: its trail ends with another state: %w", path, busy)
	}
	if o.hook != nil {
		if err := o.hook("retire"); err != nil {
			return nil, err
		}
	}
	return &Retired{m.Position, db}, replica.Begin(path, m, info.Mode().Perm())
}

// recorded is what a trail ends with.
func recorded(path, dir string) (m replica.Mark, err error) {
	if dir == "" {
		dir = path + trailSuffix
	}
	t, err := journal.Open(dir, nil)
	if err != nil {
		return m, err
	}
	last, err := t.Last()
	id := t.Identity()
	m.Position = journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: last.TXID, Sum: last.Sum}
	m.Time = last.Time
	return m, errors.Join(err, t.Close())
}

// checksum reads a database that has neither WAL nor journal.
func checksum(f *os.File, size int64) (sum diff.Sum, err error) {
	if size == 0 {
		return sum, nil
	}
	h, err := sqlitefile.ReadHeader(f)
	if err != nil {
		return sum, err
	}
	page, lock := make([]byte, h.PageSize), diff.LockPage(h.PageSize)
	for no := uint32(1); no <= h.Pages(size); no++ {
		if no == lock {
			continue
		}
		n, err := f.ReadAt(page, int64(no-1)*int64(h.PageSize))
		if err != nil && err != io.EOF {
			return sum, err
		}
		clear(page[n:])
		sum = sum.Add(diff.PageSum(no, page))
	}
	return sum, nil
}

// Rejoin retires the primary at path when src says that its timeline is over: somebody took over from it. Then it can be
// followed into, with follow.Options.Rewind and Trail, its own. A [journal.ErrForeign] for a source of another database,
// a [journal.ErrLocked] when the timeline is the database's still. A replica is left as it is.
func Rejoin(ctx context.Context, path string, src follow.Source, o *RetireOptions) (journal.Position, error) {
	if replica.Is(path) {
		m, err := replica.Position(path)
		return m.Position, err
	}
	dir := o.Trail
	if dir == "" {
		dir = path + trailSuffix
	}
	t, err := journal.Open(dir, nil)
	if err != nil {
		return journal.Position{}, err
	}
	own, now := t.Identity(), src.Identity()
	if err := t.Close(); err != nil {
		return journal.Position{}, err
	}
	same := own.Timeline == now.Timeline && (own.Parent == nil) == (now.Parent == nil) && (own.Parent == nil || *own.Parent == *now.Parent)
	switch {
	case own.Database != now.Database:
		return journal.Position{}, fmt.Errorf("%s is database %v, and the source is of %v: %w", path, own.Database, now.Database, journal.ErrForeign)
	case same, own.Timeline > now.Timeline:
		return journal.Position{}, fmt.Errorf("%s is the primary of timeline %d, and the source is at %d: nobody has taken over: %w",
			path, own.Timeline, now.Timeline, journal.ErrLocked)
	}
	r, err := Retire(ctx, path, o)
	if err != nil {
		return journal.Position{}, err
	}
	return r.Position, r.Release()
}
