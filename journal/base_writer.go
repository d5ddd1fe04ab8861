package journal

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// BaseWriter writes <TXID>.base: temporary file, synced, renamed at Commit. With adopt, the writer's next Add
// must be the Base record with that TXID. Memory stays at one block. Not safe for concurrent use.
type BaseWriter struct {
	w      *Writer
	lock   durable.Lock
	f      *sealedFile
	hdr    fileHeader
	want   *diff.Sum // what the sum must be, unless adopt
	sum    diff.Sum
	page   uint32 // the next page expected
	blocks []baseBlock
	buf    []byte // pages of the next block
	first  uint32 // the first of them
	err    error  // of an earlier call; Abort is all that is left
	done   bool
}

// CreateBase starts the base for TXID Last+1 (adopt=true: the following Base record) or for Last itself
// (adopt=false, where pageSize and pageCount must be Last's, and the sum is checked at Commit). at is its time;
// with adopt=false that of Last is taken. The writer lock is needed while CreateBase and Commit run, and with
// adopt until the record is flushed; with adopt=false it may be given up while pages are written, as long as
// the pages given are those of that moment. ErrLocked when another base is being written.
func (w *Writer) CreateBase(pageSize int, pageCount uint32, at Time, adopt bool) (*BaseWriter, error) {
	if err := w.ready(); err != nil {
		return nil, err
	}
	id, want := w.last.TXID, w.last.Sum
	hdr := fileHeader{magic: baseMagic, database: w.identity.Database, timeline: w.identity.Timeline}
	if adopt {
		id = w.pend.txid + 1
	} else if at = w.last.Time; w.prepared || w.cur.records+uint32(len(w.chunks)) > 0 || pageSize != w.last.PageSize || pageCount != w.last.PageCount {
		return nil, because(ErrDiverged, "base of %d pages of %d bytes for transaction %d, which has %d of %d, or is not flushed and committed",
			pageCount, pageSize, uint64(id), w.last.PageCount, w.last.PageSize)
	}
	if pageSize < 0 || pageSize > maxPageSize || !validPageSize(uint32(pageSize)) || pageCount > maxPageCount {
		return nil, because(ErrRange, "base of %d pages of %d bytes", pageCount, pageSize)
	}
	hdr.first, hdr.before = id, state{txid: id, time: at, pageSize: uint32(pageSize), pageCount: pageCount}
	b := &BaseWriter{w: w, hdr: hdr, page: 1}
	if !adopt {
		b.want = &want
	}
	if err := b.open(); err != nil {
		return nil, err
	}
	return b, nil
}

// open takes the lock, removes what a crash left of an earlier base, and begins the temporary file.
func (b *BaseWriter) open() error {
	fsys, dir := b.w.o.FS, b.w.dir
	if _, err := fsys.Stat(filepath.Join(dir, baseName(b.hdr.first))); err == nil && b.want != nil {
		return &Error{Path: filepath.Join(dir, baseName(b.hdr.first)), Offset: -1, TXID: b.hdr.first, Err: because(ErrExists, "base")}
	}
	lock, err := fsys.Lock(filepath.Join(dir, baseLockName), b.w.o.Mode, true, false)
	if err != nil {
		return err
	}
	names, err := list(fsys, dir)
	if err == nil {
		for _, name := range names.other {
			if strings.HasSuffix(name, basingSuffix) {
				err = errors.Join(err, fsys.Remove(filepath.Join(dir, name)))
			}
		}
	}
	if err == nil {
		b.f, err = createSealed(fsys, filepath.Join(dir, strings.TrimSuffix(baseName(b.hdr.first), baseSuffix)+basingSuffix), b.w.o.Mode)
	}
	if err != nil {
		return errors.Join(err, lock.Close())
	}
	b.lock = lock
	return nil
}

// WritePages takes whole pages from page number first on, each call going on where the last ended; the
// lock-byte page is left out: a call ends before it, and the next begins after it. pages is copied.
func (b *BaseWriter) WritePages(first uint32, pages []byte) error {
	if b.err != nil {
		return b.err
	}
	if b.done {
		return fs.ErrClosed
	}
	ps := int(b.hdr.before.pageSize)
	lock := diff.LockPage(ps)
	n := uint64(len(pages) / ps)
	if b.page == lock {
		b.page++
	}
	end := uint64(first) + n // exclusive
	if len(pages)%ps != 0 || first != b.page || end > uint64(b.hdr.before.pageCount)+1 || first < lock && end > uint64(lock) {
		return because(ErrRange, "pages %d to %d (%d bytes) of %d, want them from page %d on without the lock-byte page %d",
			first, end-1, len(pages), b.hdr.before.pageCount, b.page, lock)
	}
	for ; len(pages) > 0; pages = pages[ps:] {
		if len(b.buf) == 0 {
			b.first = b.page
		}
		b.sum = b.sum.Add(diff.PageSum(b.page, pages[:ps]))
		b.buf = append(b.buf, pages[:ps]...)
		b.page++
		if len(b.buf) == basePages(ps)*ps || b.page == lock {
			if b.err = b.flush(); b.err != nil {
				return b.err
			}
		}
	}
	return nil
}

func (b *BaseWriter) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	pages := uint32(len(b.buf)) / b.hdr.before.pageSize
	b.blocks = append(b.blocks, baseBlock{off: b.f.off, first: b.first, pages: pages})
	hdr := blockHeader{kind: blockPages, first: uint64(b.first), records: pages}
	err := b.f.content(&hdr, b.buf)
	b.buf = b.buf[:0]
	return err
}

// Sum is the sum of the pages written so far.
func (b *BaseWriter) Sum() diff.Sum { return b.sum }

// Commit makes the base durable under its name. All pages must have been written, and without adopt their
// sum must be the transaction's, else ErrDiverged. On error nothing is left behind.
func (b *BaseWriter) Commit() (BaseInfo, error) {
	if b.done {
		return BaseInfo{}, fs.ErrClosed
	}
	if b.err == nil {
		b.err = b.finish()
	}
	if b.err != nil {
		err := b.err
		b.Abort()
		return BaseInfo{}, err
	}
	fsys, dir := b.w.o.FS, b.w.dir
	name := baseName(b.hdr.first)
	err := fsys.Rename(b.f.path, filepath.Join(dir, name))
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		b.Abort()
		return BaseInfo{}, err
	}
	if b.want == nil {
		b.w.staleBase = b.hdr.first
	}
	b.done = true
	return infoOfBase(name, &b.hdr, b.f.off), b.lock.Close()
}

// finish writes what comes after the pages, then the header, and closes the file.
func (b *BaseWriter) finish() error {
	hdr := &b.hdr.before
	if b.page == diff.LockPage(int(hdr.pageSize)) {
		b.page++
	}
	if uint64(b.page) < uint64(hdr.pageCount)+1 {
		return because(ErrRange, "base of %d pages ended before page %d", hdr.pageCount, b.page)
	}
	if b.want != nil && b.sum != *b.want {
		return &Error{
			Path: b.f.path, Offset: -1, TXID: b.hdr.first,
			Err:  because(ErrDiverged, "the pages have sum %v, the transaction %v", b.sum, *b.want),
			Hint: "the database is not what the trail says: run pagetrail verify",
		}
	}
	if err := b.flush(); err != nil {
		return err
	}
	hdr.sum = b.sum
	head := make([]byte, fileHeaderSize)
	b.hdr.put(head)
	footer := appendBaseFooter(nil, sha256.Sum256(head), b.blocks, b.f.off)
	if err := b.f.footer(uint64(b.hdr.first), footer); err != nil {
		return err
	}
	return b.f.finish(head)
}

// Abort removes what was written. After Commit it does nothing.
func (b *BaseWriter) Abort() {
	if b.done {
		return
	}
	b.done = true
	b.f.abort()
	_ = b.lock.Close() // nothing depends on it
}

func infoOfBase(name string, hdr *fileHeader, size int64) BaseInfo {
	return BaseInfo{
		Name: name, TXID: hdr.first, Time: hdr.before.time, PageSize: int(hdr.before.pageSize),
		PageCount: hdr.before.pageCount, Sum: hdr.before.sum, Size: size,
	}
}
