package sqlitefile

import "encoding/binary"

// Layout of a wal-index: regions of IndexRegionSize bytes, each with the page
// numbers of its frames and a hash table over them. The header takes the place
// of the first page numbers of region 0.
// See https://www.sqlite.org/walformat.html#the_wal_index_file_format.
const (
	IndexRegionSize = 32 << 10
	IndexCopySize   = 48 // bytes of each of the two copies of the header's beginning

	// Offsets of what follows the two copies.
	IndexBackfill          = 96
	IndexReadMarks         = 100 // five of 4 bytes
	IndexBackfillAttempted = 128

	// ReadMarkUnused is the mark that no reader uses.
	ReadMarkUnused = 1<<32 - 1

	indexHashAt      = 16 << 10
	indexSlots       = 8192
	indexFrames      = 4096
	indexFramesFirst = indexFrames - IndexHeaderSize/4 // 4062
)

// PutCopy writes one copy of the header's checksummed beginning to the first
// IndexCopySize bytes of b: all fields up to Salt. Both copies are written, the
// second before the first with a memory barrier between, for readers read them
// the other way round.
func (h IndexHeader) PutCopy(b []byte) {
	_ = b[IndexCopySize-1]
	put := func(off int, v uint32) { binary.NativeEndian.PutUint32(b[off:], v) }
	put(0, WALVersion)
	put(4, 0)
	put(8, h.Change)
	b[12], b[13] = 1, 0
	if h.BigEndian {
		b[13] = 1
	}
	size := uint16(h.PageSize)
	if h.PageSize == MaxPageSize {
		size = 1
	}
	binary.NativeEndian.PutUint16(b[14:], size)
	put(16, h.MxFrame)
	put(20, h.PageCount)
	put(24, h.FrameChecksum[0])
	put(28, h.FrameChecksum[1])
	binary.BigEndian.PutUint32(b[32:], h.Salt[0])
	binary.BigEndian.PutUint32(b[36:], h.Salt[1])
	sum := Checksum(nativeIsBig, [2]uint32{}, b[:40])
	put(40, sum[0])
	put(44, sum[1])
}

// IndexRegionOf is the region that holds frame n, counted from 1, and the
// frame's number within it, counted from 1 as well.
func IndexRegionOf(n uint32) (region int, slot uint32) {
	if n <= indexFramesFirst {
		return 0, n
	}
	n -= indexFramesFirst + 1
	return 1 + int(n/indexFrames), n%indexFrames + 1
}

// IndexRegionFrames is how many frames region i holds.
func IndexRegionFrames(i int) int {
	if i == 0 {
		return indexFramesFirst
	}
	return indexFrames
}

// IndexRegion is the memory of one region of a wal-index, IndexRegionSize
// bytes.
type IndexRegion struct {
	b     []byte
	pages int // offset of the page numbers
}

// NewIndexRegion takes b for region number i.
func NewIndexRegion(i int, b []byte) IndexRegion {
	_ = b[IndexRegionSize-1]
	if i == 0 {
		return IndexRegion{b[:IndexRegionSize], IndexHeaderSize}
	}
	return IndexRegion{b[:IndexRegionSize], 0}
}

// Page is the page number of a frame; slots count from 1. 0: not set.
func (r IndexRegion) Page(slot uint32) uint32 {
	return binary.NativeEndian.Uint32(r.b[r.pages+4*int(slot-1):])
}

func (r IndexRegion) setPage(slot, no uint32) {
	at := r.pages + 4*int(slot-1)
	if binary.NativeEndian.Uint32(r.b[at:]) != no {
		binary.NativeEndian.PutUint32(r.b[at:], no)
	}
}

func (r IndexRegion) hash(i int) uint16 { return binary.NativeEndian.Uint16(r.b[indexHashAt+2*i:]) }

func (r IndexRegion) setHash(i int, v uint16) {
	if r.hash(i) != v {
		binary.NativeEndian.PutUint16(r.b[indexHashAt+2*i:], v)
	}
}

// slots is how many frames the region holds.
func (r IndexRegion) slots() uint32 { return uint32(indexHashAt-r.pages) / 4 }

// Truncate forgets the frames after the first n of the region: what a writer
// left that never committed them. Readers never look at those.
func (r IndexRegion) Truncate(n uint32) {
	if n == 0 {
		clear(r.b[r.pages:])
		return
	}
	for i := range indexSlots {
		if uint32(r.hash(i)) > n {
			r.setHash(i, 0)
		}
	}
	for s := n + 1; s <= r.slots(); s++ {
		r.setPage(s, 0)
	}
}

// Append enters page no as that of the frame slot, which must be the one after
// those that are there. When something is there already, or the first slot is
// entered, the rest of the region is forgotten before. Readers may search the
// region meanwhile: they take no notice of frames beyond their snapshot.
func (r IndexRegion) Append(slot, no uint32) {
	if slot == 1 || r.Page(slot) != 0 {
		r.Truncate(slot - 1)
	}
	i := indexHash(no)
	for r.hash(i) != 0 {
		i = (i + 1) % indexSlots
	}
	r.setPage(slot, no)
	r.setHash(i, uint16(slot))
}

// Build enters all the pages given, from slot 1 on, and forgets the others. It
// changes only the words that differ, so that readers of a region that was
// right already see no moment at which it is not.
func (r IndexRegion) Build(pages []uint32) {
	var table [indexSlots]uint16
	for s, no := range pages {
		i := indexHash(no)
		for table[i] != 0 {
			i = (i + 1) % indexSlots
		}
		table[i] = uint16(s + 1)
	}
	for s := uint32(1); s <= r.slots(); s++ {
		no := uint32(0)
		if int(s) <= len(pages) {
			no = pages[s-1]
		}
		r.setPage(s, no)
	}
	for i, v := range table {
		r.setHash(i, v)
	}
}

func indexHash(no uint32) int { return int(no * 383 & (indexSlots - 1)) }
