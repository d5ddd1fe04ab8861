package capture

import (
	"errors"
	"fmt"
	"io"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// view is a committed state of the database, as SQLite would read it.
type view struct {
	size   int    // page size, 0 for an empty database
	count  uint32 // pages
	main   io.ReaderAt
	wal    *walSource // nil: all pages are in the database file
	origin journal.Origin
}

// view finds the committed state. With a WAL in use it leaves db.wal at the
// last committed frame.
func (db *DB) view(src files) (view, error) {
	if src.wal != nil {
		hdr, limit, ok, err := db.wal.visibleEnd(src.wal, src.shm, src.end)
		if err != nil {
			return view{}, err
		}
		if ok {
			v, err := db.walView(src, hdr, limit)
			if err != nil || v.count != 0 {
				return v, err
			}
		}
	}
	return fileView(src.main)
}

// walView is the state after the last commit up to frame limit; count 0 when
// there is none.
func (db *DB) walView(src files, hdr sqlitefile.WALHeader, limit uint32) (view, error) {
	s := &db.wal
	s.begin(hdr)
	s.located = false
	v := view{size: hdr.PageSize}
	err := s.commits(src.wal, limit, false, func(f sqlitefile.Frame, n uint32) error {
		v.count = f.Commit
		v.origin = journal.Origin{WAL: true, Salt: hdr.Salt, Frame: n, Checksum: f.Checksum}
		return nil
	})
	v.main, v.wal = src.main, &walSource{s, src.main, src.wal}
	return v, err
}

// fileView is the state of a database file that no WAL goes with.
func fileView(main io.ReaderAt) (view, error) {
	var b [sqlitefile.HeaderSize]byte
	n, err := main.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return view{}, err
	}
	if n == 0 {
		return view{}, nil
	}
	h, err := sqlitefile.ParseHeader(b[:n])
	if err != nil {
		return view{}, err
	}
	size := int64(0)
	if s, ok := main.(interface{ Size() (int64, error) }); ok {
		if size, err = s.Size(); err != nil {
			return view{}, err
		}
	}
	return view{
		size: h.PageSize, count: h.Pages(size), main: main,
		origin: journal.Origin{ChangeCounter: h.ChangeCounter},
	}, nil
}

// page fills buf with page no.
func (v *view) page(no uint32, buf []byte) error {
	if v.wal != nil {
		return v.wal.page(no, buf)
	}
	return readPage(v.main, no, buf)
}

// scanBytes is how much of the database file a scan reads at once.
const scanBytes = 256 << 10

// scan calls fn with every page of v but the lock-byte page, which is not even
// read: on some systems that fails while it is locked.
func (v *view) scan(fn func(no uint32, page []byte) error) error {
	if v.count == 0 {
		return nil
	}
	size, lock, end := int64(v.size), int64(diff.LockPage(v.size)), int64(v.count)+1
	most := min(max(scanBytes/size, 1), end-1)
	buf := make([]byte, most*size)
	for no, n := int64(1), int64(0); no < end; no += n {
		if n = min(most, end-no); no == lock { // it begins a run, as its place is a multiple of scanBytes
			n = 1
			continue
		}
		if err := readZero(v.main, (no-1)*size, buf[:n*size]); err != nil {
			return fmt.Errorf("read pages %d to %d: %w", no, no+n-1, err)
		}
		for i := range n {
			page := buf[i*size : (i+1)*size]
			if v.wal != nil {
				if err := v.wal.newer(uint32(no+i), page); err != nil {
					return fmt.Errorf("read page %d: %w", no+i, err)
				}
			}
			if err := fn(uint32(no+i), page); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *view) sum() (sum diff.Sum, err error) {
	err = v.scan(func(no uint32, page []byte) error {
		sum = sum.Add(diff.PageSum(no, page))
		return nil
	})
	return sum, err
}

// viewSource hands the pages of a state to the builder.
type viewSource struct{ v view }

func (s viewSource) oldPage(int, uint32, []byte) (bool, error) { return false, nil }

func (s viewSource) newPage(_ int, no uint32, buf []byte) ([]byte, error) {
	return buf, s.v.page(no, buf)
}
