package archive

import (
	"container/list"
	"context"
	"io"
	"strings"
	"sync"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// blockBytes is what is fetched at once: most batches are smaller, so that one request gets all of one.
const blockBytes = 1 << 20

// scatteredBytes is what is fetched at once of a base of which single pages are read: a block of it and a little more.
const scatteredBytes = 128 << 10

// cache holds pieces of objects. Safe for concurrent use; a piece that several want is fetched once.
type cache struct {
	store objstore.Bucket
	ctx   context.Context // of all fetches: those who read files have none to give
	limit int64
	depth int64 // pieces of blockBytes that are fetched at once, ahead of those that are read one after the other; 0: none

	scattered bool // bases are read a page here and a page there

	fetching sync.WaitGroup // of those fetched ahead

	mu     sync.Mutex
	blocks map[blockKey]*block // under mu
	recent list.List           // of *block, the most recently used first; only those fetched; under mu
	bytes  int64               // of those; under mu
	spare  [][]byte            // under mu; memory of pieces let go, each of blockBytes
}

// spareBlocks is how many pieces of memory wait for their next use at most.
const spareBlocks = 4

type blockKey struct {
	key string
	no  int64
}

// block is a piece. Its data do not change after done is closed.
type block struct {
	at   blockKey
	done chan struct{}
	data []byte
	size int64 // of the whole object
	err  error
	elem *list.Element // under the cache's mu
	uses int           // under the cache's mu: those who wait for it or read it; its memory is theirs
	gone bool          // under the cache's mu: let go
}

// piece is how large the pieces of an object are.
func (c *cache) piece(key string) int64 {
	if c.scattered && strings.HasSuffix(key, baseSuffix) {
		return scatteredBytes
	}
	return blockBytes
}

// copy copies from piece no of an object, beginning at off, and returns how much, and the size of the whole.
func (c *cache) copy(p []byte, key string, no, off int64) (int, int64, error) {
	b := c.hold(key, no)
	defer c.release(b)
	if b.err != nil {
		return 0, b.size, b.err
	}
	return copy(p, b.data[min(off, int64(len(b.data))):]), b.size, nil
}

// get returns piece no of an object, to keep, and the size of the whole.
func (c *cache) get(key string, no int64) ([]byte, int64, error) {
	b := c.hold(key, no) // for good: the memory is the caller's too
	return b.data, b.size, b.err
}

// hold returns piece no of an object, which the caller releases.
func (c *cache) hold(key string, no int64) *block {
	at := blockKey{key, no}
	c.mu.Lock()
	b, ok := c.blocks[at]
	if ok && b.elem != nil {
		c.recent.MoveToFront(b.elem)
	}
	if !ok {
		b = c.begin(at)
	}
	b.uses++
	c.mu.Unlock()
	if ok {
		<-b.done
		return b
	}
	c.fetchRun([]*block{b})
	return b
}

// begin announces a piece, which the caller fetches then. Called under mu.
func (c *cache) begin(at blockKey) *block {
	if c.blocks == nil {
		c.blocks = make(map[blockKey]*block)
	}
	b := &block{at: at, done: make(chan struct{})}
	c.blocks[at] = b
	return b
}

// release gives a piece back; the last to do so gives back the memory of one that was let go.
func (c *cache) release(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b.uses--
	c.recycle(b)
}

// recycle keeps the memory of a piece that nobody can read any more: a restore reads a whole base through here, and as
// garbage that would take more memory than the pieces do. Called under mu.
func (c *cache) recycle(b *block) {
	if b.gone && b.uses == 0 && cap(b.data) == blockBytes && len(c.spare) < spareBlocks {
		c.spare = append(c.spare, b.data[:0])
		b.data = nil
	}
}

// memory returns room for a piece of n bytes.
func (c *cache) memory(n int64) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := len(c.spare) - 1; i >= 0 && n > blockBytes/2 {
		b := c.spare[i]
		c.spare = c.spare[:i]
		return b[:n]
	}
	if n > blockBytes/2 {
		return make([]byte, n, blockBytes)
	}
	return make([]byte, n)
}

// ahead is told of a piece of an object of that size that is about to be read, and fetches it and what comes after it
// when those before were read too, of blockBytes together: as many pieces with one request as may be ahead, and again when few are left. What was read a while ago makes room first,
// since who reads in turn does not come back: so a base does not drive out the batches.
func (c *cache) ahead(key string, no, size int64) {
	piece := c.piece(key)
	few := blockBytes / piece // pieces that have to be read in turn before
	depth := c.depth * few
	if depth == 0 || no < few {
		return
	}
	for before := no - few; before < no; before++ {
		if !c.has(key, before) {
			return
		}
	}
	c.passed(key, no-max(depth/4, 3*few)) // several who share the reading may be some pieces apart
	first := no
	for c.has(key, first) {
		first++
	}
	pieces := (size + piece - 1) / piece
	if first > no+depth/4+1 || first >= pieces {
		return
	}
	var run []*block
	c.mu.Lock()
	for no := first; no < min(first+depth, pieces); no++ {
		at := blockKey{key, no}
		if c.blocks[at] != nil { // another reader's
			break
		}
		run = append(run, c.begin(at))
	}
	c.mu.Unlock()
	if len(run) > 0 {
		c.fetching.Go(func() { c.fetchRun(run) })
	}
}

// passed has a piece make room before others.
func (c *cache) passed(key string, no int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b := c.blocks[blockKey{key, no}]; b != nil && b.elem != nil {
		c.recent.MoveToBack(b.elem)
	}
}

// fetchRun fetches pieces that follow each other, and hands each out as it comes. Errors are those of all that are left.
func (c *cache) fetchRun(run []*block) {
	first := run[0].at
	piece := c.piece(first.key)
	body, size, err := c.store.Get(c.ctx, first.key, first.no*piece, int64(len(run))*piece)
	for _, b := range run {
		if err == nil {
			b.size = size
			b.data, err = c.read(body, b.at, size)
		}
		b.err = err
		c.keep(b)
		close(b.done)
	}
	if body != nil {
		_ = body.Close() // what was needed was read
	}
}

// fetchAhead fetches a piece that nobody waits for yet. It is on its way when this returns: who reads it next waits for
// this request and makes none of its own, whoever comes first.
func (c *cache) fetchAhead(key string, no int64) {
	at := blockKey{key, no}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks[at] == nil {
		b := c.begin(at)
		c.fetching.Go(func() { c.fetchRun([]*block{b}) }) // whoever needs it gets the error then
	}
}

// has says that a piece is there or on its way.
func (c *cache) has(key string, no int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blocks[blockKey{key, no}] != nil
}

// keep takes a fetched piece in, and lets the oldest go; errors are not kept.
func (c *cache) keep(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.err != nil {
		delete(c.blocks, b.at)
		return
	}
	b.elem = c.recent.PushFront(b)
	c.bytes += int64(len(b.data))
	for c.bytes > c.limit && c.recent.Len() > 1 {
		old := c.recent.Remove(c.recent.Back()).(*block)
		c.bytes -= int64(len(old.data))
		delete(c.blocks, old.at)
		old.gone = true
		c.recycle(old)
	}
}

// read takes the piece that body is at, of an object of that size.
func (c *cache) read(body io.Reader, at blockKey, size int64) ([]byte, error) {
	piece := c.piece(at.key)
	data := c.memory(max(min(piece, size-at.no*piece), 0))
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, &objstore.Error{Op: objstore.OpGet, Store: "archive", Key: at.key, Err: err}
	}
	return data, nil
}
