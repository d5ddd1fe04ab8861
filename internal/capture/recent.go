package capture

import "github.com/pagetrail/pagetrail/diff"

// recent keeps the content of pages that were recorded a short while ago: they
// are the pre-images of the next transactions, and most small transactions
// write pages that the last ones wrote. It saves the read and the hash.
//
// It is never wrong, whatever happened since: an entry only serves when its
// hash is the one that the page table has for the committed state.
type recent struct {
	slots     []recentPage
	displaced [][]byte // contents that may still be in use as pre-images
	free      [][]byte
}

type recentPage struct {
	no   uint32
	sum  diff.Sum
	data []byte
}

// recentSlots and recentBytes bound the pages kept; memory is taken as they
// are used.
const (
	recentSlots = 1024
	recentBytes = 4 << 20
)

// page returns the content of page no with hash sum, nil if it is not here. It
// is valid until the next release, also when keep puts something in its place.
func (r *recent) page(no uint32, sum diff.Sum, size int) []byte {
	if len(r.slots) == 0 {
		return nil
	}
	p := &r.slots[no%uint32(len(r.slots))]
	if p.no != no || p.sum != sum || len(p.data) != size {
		return nil
	}
	return p.data
}

// keep takes a copy of a page. Pages with neighbouring numbers do not displace
// each other. What is displaced cannot be used again before the next release,
// so a transaction that has displaced as much as may be kept keeps no more.
func (r *recent) keep(no uint32, sum diff.Sum, data []byte) {
	if r.slots == nil {
		r.slots = make([]recentPage, min(recentSlots, recentBytes/len(data)))
	}
	p := &r.slots[no%uint32(len(r.slots))]
	if p.data != nil {
		if len(r.displaced) >= len(r.slots) {
			return
		}
		r.displaced = append(r.displaced, p.data)
	}
	var buf []byte
	if n := len(r.free); n > 0 {
		buf, r.free = r.free[n-1], r.free[:n-1]
	}
	p.no, p.sum, p.data = no, sum, append(buf[:0], data...)
}

// release says that nothing which page returned is in use any more.
func (r *recent) release() {
	r.free = append(r.free, r.displaced...)
	r.displaced = r.displaced[:0]
}

// drop gives the memory back.
func (r *recent) drop() { *r = recent{} }
