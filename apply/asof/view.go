package asof

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// defaultCacheBytes is the budget of a view unless told otherwise. It holds the patches of some 100,000 small transactions.
const defaultCacheBytes = 64 << 20

// defaultWholeBytes takes some tens of milliseconds to restore.
const defaultWholeBytes = 8 << 20

// Options for Open; nil means defaults.
type Options struct {
	// CacheBytes is the budget for what is kept in memory, in bytes; default 64 MiB.
	CacheBytes int
	// WholeBytes is how much of the trail may be read at once to restore the database as a whole, which is checked as nothing
	// else is; default 8 MiB. If it is negative that is done only where it must be, and not either when reading page by page
	// has taken as much as restoring would.
	WholeBytes int64
	// FS and TempDir are where the database is restored to when it is as a whole; default durable.OS and os.TempDir().
	FS      durable.FS
	TempDir string
	// Progress, if set, is told how far that is; see apply.Options.
	Progress func(apply.Progress)
}

// View is a database as it was at a moment. Safe for concurrent use.
type View struct {
	trail *journal.Trail
	opt   Options
	plan  apply.Plan
	start journal.TXID
	zero  []byte // a page

	mu       sync.Mutex
	base     *journal.BaseReader // nil: none; the rest is under mu
	segments []*segment
	units    []unit
	cache    cache
	dec      diff.Decoder
	whole    *apply.State // not nil: restored as a whole
	work     int64        // bytes of blocks, patches and pages that were decoded
	enough   int64        // of that: restoring as a whole takes no more
	stats    Stats
}

// Stats says what a View has done so far.
type Stats struct {
	Whole   bool   // it was restored as a whole
	Blocks  uint64 // of the base that were read
	Units   uint64 // stretches of records that were read
	Patches uint64 // that were applied
}

// Open makes a View of target. The trail must stay open as long as the View is; what is appended to it meanwhile does not
// disturb, but what is removed from it is missed. Of an archive's Trail less is fetched with archive.Options.Scattered. The
// error is a *apply.RangeError when the trail cannot restore target, a *journal.Error when it is damaged.
func Open(ctx context.Context, trail *journal.Trail, target apply.Target, o *Options) (*View, error) {
	v := &View{trail: trail}
	if o != nil {
		v.opt = *o
	}
	if v.cache.limit = v.opt.CacheBytes; v.cache.limit <= 0 {
		v.cache.limit = defaultCacheBytes
	}
	if v.opt.WholeBytes == 0 {
		v.opt.WholeBytes = defaultWholeBytes
	}
	plan, err := apply.Resolve(ctx, trail, target)
	if err != nil {
		return nil, err
	}
	v.plan, v.start, v.zero = plan, plan.Start(), make([]byte, plan.Tx.PageSize)
	v.enough = int64(plan.Tx.PageCount)*int64(plan.Tx.PageSize) + plan.PatchBytes
	err = errWhole
	if plan.Bytes > v.opt.WholeBytes {
		err = v.open(ctx)
	}
	if errors.Is(err, errWhole) {
		err = v.restore(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, v.Close())
	}
	return v, nil
}

// open prepares for reading page by page.
func (v *View) open(ctx context.Context) (err error) {
	if b := v.plan.Base; b != nil {
		if b.PageSize != v.plan.Tx.PageSize {
			return errWhole
		}
		if v.base, err = v.trail.OpenBase(b.TXID); err != nil {
			return err
		}
	}
	return v.openUnits(ctx)
}

// restore restores the database as a whole.
func (v *View) restore(ctx context.Context) error {
	s, _, err := apply.Restore(ctx, v.trail, apply.AtTXID(v.plan.Tx.TXID), &apply.Options{
		FS: v.opt.FS, TempDir: v.opt.TempDir, Progress: v.opt.Progress,
	})
	if err != nil {
		return err
	}
	v.whole, v.stats.Whole = s, true
	v.units, v.cache = nil, cache{limit: v.cache.limit}
	return v.closeFiles()
}

// Tx is the transaction whose state it is; TXID 0 is the empty database.
func (v *View) Tx() journal.Tx { return v.plan.Tx }

// PageSize is that of the database, in bytes; 0 if it is empty.
func (v *View) PageSize() int { return v.plan.Tx.PageSize }

// PageCount is the size of the database in pages, the lock-byte page included.
func (v *View) PageCount() uint32 { return v.plan.Tx.PageCount }

// Size of the database file in bytes; the error is always nil.
func (v *View) Size() (int64, error) {
	return int64(v.plan.Tx.PageCount) * int64(v.plan.Tx.PageSize), nil
}

// Stats says what was done so far.
func (v *View) Stats() Stats {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.stats
}

// ReadPage copies page no into b, which is of page size. The lock-byte page reads as zero. The error is that of reading the
// trail: a *journal.Error when it is damaged.
func (v *View) ReadPage(ctx context.Context, no uint32, b []byte) error {
	if no == 0 || no > v.plan.Tx.PageCount || len(b) != v.plan.Tx.PageSize {
		return fmt.Errorf("read page %d into %d bytes: the database has %d pages of %d bytes", no, len(b), v.plan.Tx.PageCount, v.plan.Tx.PageSize)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.whole == nil && v.work > v.enough && v.opt.WholeBytes > 0 {
		// Whoever went on so, as by reading all of a table, would pay many times what restoring costs. Now it is twice at most.
		v.enough = math.MaxInt64
		_ = v.restore(ctx) // there may be no room for it
	}
	if v.whole == nil {
		err := v.readPage(ctx, no, b)
		if !errors.Is(err, errWhole) {
			return err
		}
		if err := v.restore(ctx); err != nil {
			return err
		}
	}
	return v.whole.ReadPage(no, b)
}

func (v *View) readPage(ctx context.Context, no uint32, b []byte) error {
	if no == diff.LockPage(len(b)) {
		clear(b)
		return nil
	}
	k := key{kind: kindPage, page: no}
	if p, ok := v.cache.get(k); ok {
		copy(b, p.([]byte))
		return nil
	}
	p, err := v.page(ctx, no)
	if err != nil {
		return err
	}
	copy(b, p)
	v.cache.put(k, p, len(p))
	return nil
}

// ReadAt reads as from the database file; it is an io.ReaderAt.
func (v *View) ReadAt(b []byte, off int64) (int, error) {
	return v.ReadAtContext(context.Background(), b, off)
}

// ReadAtContext is ReadAt that can be told to stop.
func (v *View) ReadAtContext(ctx context.Context, b []byte, off int64) (n int, err error) {
	size := int64(v.plan.Tx.PageSize)
	end := int64(v.plan.Tx.PageCount) * size
	if off < 0 {
		return 0, fmt.Errorf("read at %d", off)
	}
	page := make([]byte, size)
	for n < len(b) {
		at := off + int64(n)
		if at >= end {
			return n, io.EOF
		}
		to := page
		whole := at%size == 0 && int64(len(b)-n) >= size
		if whole {
			to = b[n : n+int(size)]
		}
		if err := v.ReadPage(ctx, uint32(at/size)+1, to); err != nil {
			return n, err
		}
		if whole {
			n += int(size)
		} else {
			n += copy(b[n:], page[at%size:])
		}
	}
	return n, nil
}

// Verify reads all pages and compares their checksum with the one that the trail states. The error is an
// *apply.MismatchError when it is another.
func (v *View) Verify(ctx context.Context) error {
	tx := v.plan.Tx
	var sum diff.Sum
	b := make([]byte, tx.PageSize)
	for no := uint32(1); no <= tx.PageCount; no++ {
		if no == diff.LockPage(tx.PageSize) {
			continue
		}
		if err := v.ReadPage(ctx, no, b); err != nil {
			return err
		}
		sum = sum.Add(diff.PageSum(no, b))
	}
	if tx.TXID == 0 {
		return nil
	}
	return apply.CompareSum(&tx, sum)
}

// Close gives up the View, but not the trail.
func (v *View) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	err := v.closeFiles()
	if v.whole != nil {
		err = errors.Join(err, v.whole.Close())
	}
	return err
}

func (v *View) closeFiles() (err error) {
	for _, seg := range v.segments {
		if seg.r != nil {
			err = errors.Join(err, seg.r.Close())
		}
	}
	v.segments = nil
	if v.base != nil {
		err = errors.Join(err, v.base.Close())
		v.base = nil
	}
	return err
}
