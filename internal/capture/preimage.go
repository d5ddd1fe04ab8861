package capture

import (
	"io/fs"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// preimages holds the content that pages had before a transaction of a
// rollback mode first wrote them. Beyond so many bytes they go to a temporary
// file in the trail, so that a transaction may be larger than the memory. What
// cannot be kept there is lost, and so recorded in full; whether the trail takes
// that, the commit finds out. An error would come too early: the rollback after
// it writes the same pages, would meet it again, and leave a hot journal.
type preimages struct {
	most  int64 // bytes in memory
	refs  map[uint32]int64
	mem   []byte
	buf   []byte // one page
	spill durable.File
	end   int64 // bytes in spill
	full  bool  // spill takes no more
}

const (
	memMax   = 16 << 20 // bytes of pre-images kept in memory, unless told otherwise
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

// keep stores the old content of page no, if it can; the slice is copied.
func (p *preimages) keep(no uint32, page []byte, fsys durable.FS, dir string, perm fs.FileMode) {
	if p.refs == nil {
		p.refs = map[uint32]int64{}
	}
	if int64(len(p.mem)+len(page)) <= p.most {
		p.refs[no] = int64(len(p.mem))
		p.mem = append(p.mem, page...)
		return
	}
	p.refs[no] = lostPage
	if p.spill == nil && !p.full {
		f, err := durable.Scratch(fsys, dir, perm)
		p.spill, p.full = f, err != nil
	}
	if p.full {
		return
	}
	if _, err := p.spill.WriteAt(page, p.end); err != nil {
		p.full = true
		return
	}
	p.refs[no] = p.most + p.end
	p.end += int64(len(page))
}

// read fills buf with the old content of page no; false: it is lost.
func (p *preimages) read(no uint32, buf []byte) bool {
	ref, ok := p.refs[no]
	switch {
	case !ok || ref == lostPage:
		return false
	case ref < p.most:
		copy(buf, p.mem[ref:])
		return true
	default:
		_, err := p.spill.ReadAt(buf, ref-p.most)
		return err == nil
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
	p.full = false
	if len(p.refs) > 4096 {
		p.refs = nil
	}
	clear(p.refs)
	if cap(p.mem) > 1<<20 {
		p.mem = nil
	}
	p.mem = p.mem[:0]
}
