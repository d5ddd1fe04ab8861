package journal

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Continue makes the trail of a database that was restored from somewhere else, an archive say, at a position: it has
// no transaction yet, and the first will be the one after tx, whose state the database holds. It is of the timeline
// after that of at, which is its parent. There must be no trail in dir. Of o, FS and Mode count. The result is durable
// when it returns.
func Continue(dir string, at Position, tx *Tx, o *WriterOptions) (Identity, error) {
	opt := o.filled()
	if at.TXID != tx.TXID || tx.TXID >= MaxTXID || at.Timeline == 1<<32-1 || tx.TXID > 0 && !validPageSize(uint32(tx.PageSize)) {
		return Identity{}, because(ErrRange, "a trail that continues transaction %d of timeline %d", uint64(at.TXID), at.Timeline)
	}
	id := Identity{Format: formatVersion, Database: at.Database, Timeline: at.Timeline + 1, Parent: &at}
	if err := opt.FS.Mkdir(dir, dirMode(opt.Mode)); err != nil && !errors.Is(err, fs.ErrExist) {
		return id, err
	}
	if err := opt.FS.SyncDir(filepath.Dir(dir)); err != nil {
		return id, err
	}
	lock, err := opt.FS.Lock(filepath.Join(dir, lockName), opt.Mode, true, true)
	if err != nil {
		return id, err
	}
	return id, errors.Join(continueLocked(&opt, dir, &id, tx), lock.Close())
}

func continueLocked(o *WriterOptions, dir string, id *Identity, tx *Tx) error {
	names, err := list(o.FS, dir)
	if err != nil {
		return err
	}
	st := stateAfter(tx)
	st.sum = id.Parent.Sum
	_, err = readIdentity(o.FS, dir)
	if !errors.Is(err, ErrNotFound) || len(names.bases) > 0 || len(names.segments) > 1 || len(names.segments) == 1 && names.segments[0] != st.txid+1 {
		return &Error{Path: dir, Offset: -1, Err: because(ErrExists, "a trail"), Hint: "move it away, or let the database stay with it"}
	}
	if err := writeTail(o, dir, id, st); err != nil {
		return err
	}
	data, err := id.Encode()
	if err != nil {
		return err
	}
	return durable.WriteFile(o.FS, filepath.Join(dir, identityName), data, o.Mode)
}
