package archive

import (
	"container/list"
	"context"
	"io"
	"sync"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// blockBytes is what is fetched at once: most batches are smaller, so that one request gets all of one.
const blockBytes = 1 << 20

// cache holds pieces of objects. Safe for concurrent use; a piece that several want is fetched once.
type cache struct {
	store objstore.Bucket
	ctx   context.Context // of all fetches: those who read files have none to give
	limit int64
	depth int64 // pieces that are fetched at once, ahead of those that are read one after the other; 0: none

	fetching sync.WaitGroup // of those fetched ahead

	mu     sync.Mutex
	blocks map[blockKey]*block // under mu
	recent list.List           // of *block, the most recently used first; only those fetched; under mu
	bytes  int64               // of those; under mu
}

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
}

// get returns piece no of an object, and the size of the whole.
func (c *cache) get(key string, no int64) ([]byte, int64, error) {
	at := blockKey{key, no}
	c.mu.Lock()
	b, ok := c.blocks[at]
	if ok && b.elem != nil {
		c.recent.MoveToFront(b.elem)
	}
	if !ok {
		if c.blocks == nil {
			c.blocks = make(map[blockKey]*block)
		}
		b = &block{at: at, done: make(chan struct{})}
		c.blocks[at] = b
	}
	c.mu.Unlock()
	if ok {
		<-b.done
		return b.data, b.size, b.err
	}
	b.data, b.size, b.err = c.fetch(key, no)
	c.keep(b)
	close(b.done)
	return b.data, b.size, b.err
}

// ahead is told of a piece of an object of that size that is about to be read, and fetches it and what comes after it
// when the one before was read too: as many pieces with one request as may be ahead, and again when few are left. What was read a while ago makes room first,
// since who reads in turn does not come back: so a base does not drive out the batches.
func (c *cache) ahead(key string, no, size int64) {
	if c.depth == 0 || no == 0 || !c.has(key, no-1) {
		return
	}
	c.passed(key, no-max(c.depth/4, 3)) // several who share the reading may be some pieces apart
	first := no
	for c.has(key, first) {
		first++
	}
	pieces := (size + blockBytes - 1) / blockBytes
	if first > no+c.depth/4+1 || first >= pieces {
		return
	}
	var run []*block
	c.mu.Lock()
	for no := first; no < min(first+c.depth, pieces); no++ {
		at := blockKey{key, no}
		if c.blocks[at] != nil { // another reader's
			break
		}
		b := &block{at: at, done: make(chan struct{})}
		c.blocks[at] = b
		run = append(run, b)
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
	body, size, err := c.store.Get(c.ctx, first.key, first.no*blockBytes, int64(len(run))*blockBytes)
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

// fetchAhead fetches a piece that nobody waits for yet.
func (c *cache) fetchAhead(key string, no int64) {
	if !c.has(key, no) {
		c.fetching.Go(func() {
			_, _, _ = c.get(key, no) // whoever needs it gets the error then
		})
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
	}
}

func (c *cache) fetch(key string, no int64) ([]byte, int64, error) {
	body, size, err := c.store.Get(c.ctx, key, no*blockBytes, blockBytes)
	if err != nil {
		return nil, 0, err
	}
	defer body.Close()
	data, err := c.read(body, blockKey{key, no}, size)
	return data, size, err
}

// read takes the piece that body is at, of an object of that size.
func (c *cache) read(body io.Reader, at blockKey, size int64) ([]byte, error) {
	data := make([]byte, max(min(blockBytes, size-at.no*blockBytes), 0))
	if _, err := io.ReadFull(body, data); err != nil {
		return nil, &objstore.Error{Op: objstore.OpGet, Store: "archive", Key: at.key, Err: err}
	}
	return data, nil
}
