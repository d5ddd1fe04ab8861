package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// TableReader reads the page table of a trail without any lock, for who checks
// it: another process may be writing to it, so what is read counts only if
// State is the same before and after.
type TableReader struct{ t table }

// TableState is what a page table says that it describes. The zero value is
// that of one whose header is not whole.
type TableState struct {
	Whole     bool
	TXID      journal.TXID
	PageSize  int
	PageCount uint32
	Sum       diff.Sum
}

// Describes says that it claims to be that of the state after tx.
func (s TableState) Describes(tx journal.Tx) bool {
	return s.Whole && s.TXID == tx.TXID && s.Sum == tx.Sum && s.PageCount == tx.PageCount && s.PageSize == tx.PageSize
}

// ReadTable opens the page table of the trail dir: fs.ErrNotExist when there is none.
func ReadTable(fsys durable.FS, dir string) (*TableReader, error) {
	r := &TableReader{table{fs: fsys, name: filepath.Join(dir, tableName), chunks: map[uint32]*chunk{}}}
	f, err := fsys.OpenFile(r.t.name, os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	r.t.file = f
	return r, nil
}

// State reads the header again, and forgets the hashes read so far.
func (r *TableReader) State() (TableState, error) {
	if err := r.t.reload(); err != nil {
		return TableState{}, err
	}
	s := &r.t.stamp
	return TableState{r.t.valid, s.TXID, int(s.PageSize), s.PageCount, s.Sum}, nil
}

// Page is the hash of a page, zero beyond the end.
func (r *TableReader) Page(no uint32) (diff.Sum, error) { return r.t.get(no) }

// Total adds up all hashes: the state checksum, unless some are wrong.
func (r *TableReader) Total() (diff.Sum, error) { return r.t.total() }

// Close closes the file.
func (r *TableReader) Close() error { return r.t.close() }

// WriteTable makes the page table anew, for the state after tx: hash is asked
// for every page but the lock-byte page, ascending. The caller holds the
// trail's lock. A crash leaves a table without a header, which nobody believes.
func WriteTable(fsys durable.FS, dir string, perm fs.FileMode, tx journal.Tx, hash func(no uint32) (diff.Sum, error)) (err error) {
	t, err := openTable(fsys, dir, perm)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	loose := t.stamp.Loose
	if err := t.reset(); err != nil {
		return err
	}
	t.stamp = stamp{Loose: loose}
	lock := uint32(0)
	if tx.PageCount > 0 {
		lock = diff.LockPage(tx.PageSize)
	}
	var sum diff.Sum
	for no := uint32(1); no <= tx.PageCount && no != 0; no++ {
		if no == lock {
			continue
		}
		h, err := hash(no)
		if err != nil {
			return err
		}
		sum = sum.Add(h)
		if err := t.set(no, h); err != nil {
			return err
		}
		if len(t.dirty) == chunkPages {
			if err := t.writeDirty(); err != nil {
				return err
			}
		}
	}
	if sum != tx.Sum {
		return fmt.Errorf("the page table of transaction %d: %w", tx.TXID, journal.ErrDiverged)
	}
	return t.flush(tx)
}
