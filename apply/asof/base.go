package asof

import (
	"bytes"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/pagetrail/pagetrail/diff"
)

// baseReads is how many blocks of a base are read at once: from an archive each is a request.
const baseReads = 8

// baseBlock is a block of the base; its pages are not to be changed.
type baseBlock struct {
	first uint32
	pages []byte
}

// basePages returns pages as they are where replaying begins, not to be changed.
func (v *View) basePages(list []uint32) (map[uint32]content, error) {
	pages := make(map[uint32]content, len(list))
	wanted := make(map[int][]uint32) // by block
	for _, no := range list {
		if v.base == nil || no > v.plan.Base.PageCount || no == diff.LockPage(len(v.zero)) {
			pages[no] = content{b: v.zero}
			continue
		}
		i := v.base.BlockOf(no)
		if i < 0 {
			return nil, v.corrupt(v.start, fmt.Errorf("page %d is not in the base", no))
		}
		wanted[i] = append(wanted[i], no)
	}
	few := len(wanted) <= baseReads // more would drive out all that is in the cache
	var g errgroup.Group
	g.SetLimit(baseReads)
	var mu sync.Mutex // of the view and pages, among those who read
	for i, nos := range wanted {
		k := key{kind: kindBlock, a: int32(i)}
		g.Go(func() error {
			mu.Lock()
			defer mu.Unlock()
			if b, ok := v.cache.get(k); ok {
				return v.take(b.(baseBlock), nos, pages, false)
			}
			mu.Unlock()
			first, block, err := v.base.ReadBlock(i, nil)
			mu.Lock()
			if err != nil {
				return err
			}
			b := baseBlock{first, block}
			v.stats.Blocks++
			v.work += int64(len(block))
			if few {
				v.cache.put(k, b, len(block))
			}
			return v.take(b, nos, pages, !few)
		})
	}
	return pages, g.Wait()
}

// take takes pages out of a block, as copies of their own if it is not kept.
func (v *View) take(b baseBlock, nos []uint32, pages map[uint32]content, clone bool) error {
	size := len(v.zero)
	for _, no := range nos {
		off := int(no-b.first) * size
		if no < b.first || off+size > len(b.pages) {
			return v.corrupt(v.start, fmt.Errorf("page %d is not where the base says", no))
		}
		p := b.pages[off : off+size]
		if clone {
			p = bytes.Clone(p)
		}
		pages[no] = content{b: p}
	}
	return nil
}
