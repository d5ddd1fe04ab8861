package asof

import "container/list"

// What a key is of.
const (
	kindPage    = iota // a page of the view
	kindVersion        // a page after record b of unit a
	kindBlock          // block a of the base
	kindUnit           // unit a
)

// key names what is in the cache.
type key struct {
	kind byte
	a, b int32
	page uint32
}

// cache keeps what was used last. Values are not changed once they are in it.
type cache struct {
	limit, bytes int
	items        map[key]*list.Element
	recent       list.List // of *item, the last used first
}

type item struct {
	key   key
	value any
	bytes int
}

func (c *cache) get(k key) (any, bool) {
	e, ok := c.items[k]
	if !ok {
		return nil, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(*item).value, true
}

func (c *cache) put(k key, value any, bytes int) {
	if _, ok := c.items[k]; ok || bytes > c.limit {
		return
	}
	if c.items == nil {
		c.items = make(map[key]*list.Element)
	}
	c.items[k] = c.recent.PushFront(&item{k, value, bytes})
	c.bytes += bytes
	for c.bytes > c.limit {
		old := c.recent.Remove(c.recent.Back()).(*item)
		delete(c.items, old.key)
		c.bytes -= old.bytes
	}
}
