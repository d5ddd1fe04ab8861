package apply

import (
	"context"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// cache holds pages of a scratch file, at most so many bytes of them, and
// writes them back when their place is needed. It keeps each page's hash with
// it, so that a transaction on cached pages costs no hash of old content.
//
// Pages lie in entries that a clock hand visits for eviction. During the
// decoding of a group its pages are pinned: they carry the current epoch, and
// the hand passes them by.
type cache struct {
	file     durable.File
	size     int64 // of the file in bytes; what lies beyond reads as zero
	pageSize int
	limit    int // buffers, wherever they are; more only while all are pinned
	made     int // buffers that exist

	byNo    map[uint32]int32
	entries []entry
	free    []int32  // entries without a page
	spare   [][]byte // buffers without an entry
	hand    int
	epoch   uint64
	slab    []byte // from which buffers are cut
	back    writeback
	early   *earlySync // nil: the file is not to be synced
}

type entry struct {
	no    uint32 // 0: free
	used  bool   // since the hand last passed
	dirty bool   // not yet in the file
	pin   uint64 // pinned while equal to the epoch
	sum   diff.Sum
	buf   []byte
}

// slabBytes is how much memory is taken at a time: few large objects are
// cheaper to collect than many pages.
const slabBytes = 256 << 10

// minPages is the least that a cache holds.
const minPages = 16

// reset forgets all pages and begins a file of another page size, empty.
func (c *cache) reset(pageSize, budget int) error {
	if err := c.cut(0); err != nil {
		return err
	}
	c.back.stop()
	limit := max(budget/pageSize, minPages)
	*c = cache{
		file:     c.file,
		pageSize: pageSize,
		limit:    limit,
		byNo:     make(map[uint32]int32),
		epoch:    c.epoch,
		early:    c.early,
		back: writeback{
			batch:  max(min(writebackBytes/pageSize, limit/8), 1),
			flying: make(map[uint32][]byte),
		},
	}
	return nil
}

// cut makes the file no longer than size.
func (c *cache) cut(size int64) error {
	if err := c.drain(); err != nil {
		return err
	}
	if c.size <= size {
		return nil
	}
	c.size = size
	return c.file.Truncate(size)
}

// buffer returns a page buffer of unspecified content, evicting pages when the
// budget is spent.
func (c *cache) buffer() ([]byte, error) {
	for {
		if n := len(c.spare); n > 0 {
			b := c.spare[n-1]
			c.spare = c.spare[:n-1]
			return b, nil
		}
		if c.made < c.limit {
			return c.newBuffer(), nil
		}
		found := c.evict()
		switch {
		case found && len(c.back.queue) < c.back.batch:
		case len(c.back.queue) > 0:
			if err := c.writeBack(); err != nil {
				return nil, err
			}
		case !found && c.back.busy > 0:
			if err := c.land(); err != nil {
				return nil, err
			}
		case !found:
			return c.newBuffer(), nil
		}
	}
}

// newBuffer makes a buffer.
func (c *cache) newBuffer() []byte {
	c.made++
	if len(c.slab) < c.pageSize {
		c.slab = make([]byte, max(slabBytes, c.pageSize))
	}
	b := c.slab[:c.pageSize:c.pageSize]
	c.slab = c.slab[c.pageSize:]
	return b
}

// release gives a buffer back.
func (c *cache) release(b []byte) { c.spare = append(c.spare, b) }

// evict takes the page that the clock hand finds out of the cache: its buffer
// is spare, or queued to be written. It returns false when all are pinned.
func (c *cache) evict() bool {
	for range 2 * len(c.entries) {
		if c.hand >= len(c.entries) {
			c.hand = 0
		}
		i := c.hand
		e := &c.entries[i]
		c.hand++
		switch {
		case e.no == 0 || e.pin == c.epoch:
			continue
		case e.used:
			e.used = false
			continue
		case e.dirty:
			c.back.add(dirtyPage{e.no, e.buf})
		default:
			c.release(e.buf)
		}
		c.drop(int32(i))
		return true
	}
	return false
}

// drop empties an entry; its buffer is no longer the cache's.
func (c *cache) drop(i int32) {
	delete(c.byNo, c.entries[i].no)
	c.entries[i] = entry{}
	c.free = append(c.free, i)
}

// writeBack sends the queued pages off, after waiting for room.
func (c *cache) writeBack() error {
	for c.back.busy >= writebackBatches {
		if err := c.land(); err != nil {
			return err
		}
	}
	c.back.send(c.file, c.pageSize, c.early)
	return nil
}

// land waits for a batch and takes its buffers back.
func (c *cache) land() error {
	b := <-c.back.done
	c.back.landed(b)
	c.size = max(c.size, b.end)
	for _, p := range b.pages {
		c.release(p.buf)
	}
	c.back.unused = b.pages
	return b.err
}

// drain waits until everything evicted is in the file.
func (c *cache) drain() error {
	if len(c.back.queue) > 0 {
		if err := c.writeBack(); err != nil {
			return err
		}
	}
	for c.back.busy > 0 {
		if err := c.land(); err != nil {
			return err
		}
	}
	return nil
}

// readInto reads a page that has no entry; what the file does not have is
// zero.
func (c *cache) readInto(no uint32, b []byte) error {
	if f, ok := c.back.flying[no]; ok {
		copy(b, f)
		return nil
	}
	off := int64(no-1) * int64(c.pageSize)
	if off >= c.size {
		clear(b)
		return nil
	}
	_, err := c.file.ReadAt(b, off)
	return err
}

// get returns the entry of a page, read if need be, and pins it.
func (c *cache) get(no uint32) (int32, error) {
	if i, ok := c.byNo[no]; ok {
		e := &c.entries[i]
		e.used, e.pin = true, c.epoch
		return i, nil
	}
	b, err := c.buffer()
	if err != nil {
		return 0, err
	}
	if err := c.readInto(no, b); err != nil {
		c.release(b)
		return 0, err
	}
	return c.insert(no, b, diff.PageSum(no, b), false), nil
}

// insert makes an entry of a page that has none. The cache owns b from now on.
func (c *cache) insert(no uint32, b []byte, sum diff.Sum, dirty bool) int32 {
	var i int32
	if n := len(c.free); n > 0 {
		i = c.free[n-1]
		c.free = c.free[:n-1]
	} else {
		i = int32(len(c.entries))
		c.entries = append(c.entries, entry{})
	}
	c.entries[i] = entry{no: no, used: true, dirty: dirty, pin: c.epoch, sum: sum, buf: b}
	c.byNo[no] = i
	return i
}

// replace gives an entry new content; the old buffer becomes spare.
func (c *cache) replace(i int32, b []byte, sum diff.Sum) {
	e := &c.entries[i]
	c.release(e.buf)
	e.buf, e.sum, e.dirty, e.used = b, sum, true, true
}

// sum returns the hash of a page without giving it a place in the cache.
func (c *cache) sum(no uint32, scratch []byte) (diff.Sum, error) {
	if i, ok := c.byNo[no]; ok {
		return c.entries[i].sum, nil
	}
	if err := c.readInto(no, scratch); err != nil {
		return diff.Sum{}, err
	}
	return diff.PageSum(no, scratch), nil
}

// truncate forgets the pages after count and up to old, in the file too.
func (c *cache) truncate(count, old uint32) error {
	forget := func(i int32) {
		c.release(c.entries[i].buf)
		c.drop(i)
	}
	if int(old-count) < len(c.entries) {
		for no := count + 1; no <= old && no != 0; no++ {
			if i, ok := c.byNo[no]; ok {
				forget(i)
			}
		}
	} else {
		for i := range c.entries {
			if c.entries[i].no > count {
				forget(int32(i))
			}
		}
	}
	return c.cut(int64(count) * int64(c.pageSize))
}

// flush writes what is dirty, in page order.
func (c *cache) flush(ctx context.Context) error {
	if err := c.drain(); err != nil {
		return err
	}
	var dirty []dirtyPage
	for i := range c.entries {
		if e := &c.entries[i]; e.dirty {
			dirty = append(dirty, dirtyPage{e.no, e.buf})
			e.dirty = false
		}
	}
	slices.SortFunc(dirty, byNumber)
	var run []byte
	for len(dirty) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(len(dirty), checkEvery)
		var end int64
		var err error
		run, end, err = writeRuns(c.file, c.pageSize, dirty[:n], run)
		c.size = max(c.size, end)
		if err != nil {
			return err
		}
		dirty = dirty[n:]
	}
	return nil
}
