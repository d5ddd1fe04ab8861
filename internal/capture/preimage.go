package capture

import (
	"fmt"
	"io/fs"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// preimages holds the content that pages had before a transaction of a
// rollback mode first wrote them. Beyond memMax bytes they go to a temporary
// file in the trail, so that a transaction may be larger than the memory.
type preimages struct {
	refs  map[uint32]int64
	mem   []byte
	buf   []byte // one page
	spill durable.File
	end   int64 // bytes in spill
}

const (
	memMax   = 16 << 20 // bytes of pre-images kept in memory
	lostPage = -1       // written, but nobody kept what it was
)

// has says whether page no was written in this transaction.
func (p *preimages) has(no uint32) bool { _, ok := p.refs[no]; return ok }

// lost notes that a page changed and that its old content is not to be had,
// or not worth having, as it is beyond the old end.
func (p *preimages) lost(no uint32) {
	if p.refs == nil {
		p.refs = map[uint32]int64{}
	}
	if !p.has(no) {
		p.refs[no] = lostPage
	}
}

// keep stores the old content of page no; the slice is copied.
func (p *preimages) keep(no uint32, page []byte, fsys durable.FS, dir string, perm fs.FileMode) error {
	if p.refs == nil {
		p.refs = map[uint32]int64{}
	}
	if len(p.mem)+len(page) <= memMax {
		p.refs[no] = int64(len(p.mem))
		p.mem = append(p.mem, page...)
		return nil
	}
	if p.spill == nil {
		f, err := durable.Scratch(fsys, dir, perm)
		if err != nil {
			return fmt.Errorf("spill pre-images: %w", err)
		}
		p.spill = f
	}
	if _, err := p.spill.WriteAt(page, p.end); err != nil {
		return fmt.Errorf("spill pre-images: %w", err)
	}
	p.refs[no] = memMax + p.end
	p.end += int64(len(page))
	return nil
}

// read fills buf with the old content of page no; false: it is lost.
func (p *preimages) read(no uint32, buf []byte) (bool, error) {
	ref, ok := p.refs[no]
	switch {
	case !ok || ref == lostPage:
		return false, nil
	case ref < memMax:
		copy(buf, p.mem[ref:])
		return true, nil
	default:
		_, err := p.spill.ReadAt(buf, ref-memMax)
		return err == nil, err
	}
}

// pages lists the pages written, ascending, but those beyond count and lock.
func (p *preimages) pages(dst []uint32, count, lock uint32) []uint32 {
	for no := range p.refs {
		if no <= count && no != lock {
			dst = append(dst, no)
		}
	}
	slices.Sort(dst)
	return dst
}

// reset forgets everything and gives back what was large.
func (p *preimages) reset() {
	if p.spill != nil {
		p.spill.Close()
		p.spill, p.end = nil, 0
	}
	if len(p.refs) > 4096 {
		p.refs = nil
	}
	clear(p.refs)
	if cap(p.mem) > 1<<20 {
		p.mem = nil
	}
	p.mem = p.mem[:0]
}
