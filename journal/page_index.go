package journal

import (
	"cmp"
	"encoding/binary"
	"slices"
	"sync"
)

// The page index says for each page in which units of a sealed segment it is patched or ends, so that a reader who
// wants one page reads only those. Neighbouring pages with the same units share an entry, which keeps the
// index of a bulk load or VACUUM at a few bytes.

// maxRuns bounds what the indexer keeps in memory (24 MiB). A segment with more has no page index.
const maxRuns = 2 << 20

// maxIndex bounds the encoded index for the same reason: with the rest it must fit in maxFooter.
const maxIndex = maxFooter / 2

// indexRunSize is about what a run takes in the encoded index, in bytes, before that is compressed.
const indexRunSize = 4

// pageRun says that a unit patches, or ends, the pages from first up to but not including end.
type pageRun struct{ first, end, unit uint32 }

// pageRunSize is what one takes in memory, in bytes.
const pageRunSize = 12

// appendPageIndex encodes the index, ascending by page: for each entry the gap from the end of the one
// before, the number of pages less one, the number of units, and the gaps between these. It sorts runs, which come
// in the order of units. The result is empty when there are no runs, or when it would be too long.
func appendPageIndex(b []byte, runs []pageRun) []byte {
	sortRuns(runs)
	var e indexEncoder
	var active []pageRun // those that reach over at, by unit
	for at := uint32(0); len(runs) > 0 || len(active) > 0; {
		if len(active) == 0 {
			at = runs[0].first
		}
		for len(runs) > 0 && runs[0].first <= at {
			i, _ := slices.BinarySearchFunc(active, runs[0].unit, func(r pageRun, u uint32) int { return cmp.Compare(r.unit, u) })
			active = slices.Insert(active, i, runs[0])
			runs = runs[1:]
		}
		end := active[0].end
		for _, r := range active {
			end = min(end, r.end)
		}
		if len(runs) > 0 {
			end = min(end, runs[0].first)
		}
		e.add(at, end, active)
		active = slices.DeleteFunc(active, func(r pageRun) bool { return r.end <= end })
		at = end
		if len(e.b) > maxIndex {
			return b
		}
	}
	e.flush()
	return append(b, e.b...)
}

// radixRuns is how many runs are sorted with as much memory as they take themselves.
const radixRuns = 64 << 10

// sortRuns sorts runs by page, then by unit, in whose order they come: so it is enough to keep that where pages are the
// same. The runs of a batch are sorted byte by byte, with which the index takes a third of the
// time that it took with comparing them.
func sortRuns(runs []pageRun) {
	if len(runs) > radixRuns {
		slices.SortFunc(runs, func(a, b pageRun) int {
			return cmp.Compare(uint64(a.first)<<32|uint64(a.unit), uint64(b.first)<<32|uint64(b.unit))
		})
		return
	}
	used := uint32(0)
	for _, r := range runs {
		used |= r.first
	}
	from, to, swapped := runs, make([]pageRun, len(runs)), false
	for shift := 0; used>>shift > 0; shift += 8 {
		var at [257]int // at[b]: where the next one with byte b goes
		for _, r := range from {
			at[r.first>>shift&0xff+1]++
		}
		for b := range 256 {
			at[b+1] += at[b]
		}
		for _, r := range from {
			b := r.first >> shift & 0xff
			to[at[b]] = r
			at[b]++
		}
		from, to, swapped = to, from, !swapped
	}
	if swapped {
		copy(runs, from)
	}
}

// indexEncoder joins neighbouring entries of the same units.
type indexEncoder struct {
	b          []byte
	prev       uint32 // end of the entry last written
	first, end uint32 // of the entry under construction
	units      []uint32
	list       []uint32 // scratch
}

func (e *indexEncoder) add(first, end uint32, active []pageRun) {
	e.list = e.list[:0]
	for _, r := range active {
		if n := len(e.list); n == 0 || e.list[n-1] != r.unit { // a unit may patch a page twice
			e.list = append(e.list, r.unit)
		}
	}
	if first == e.end && slices.Equal(e.list, e.units) {
		e.end = end
		return
	}
	e.flush()
	e.first, e.end = first, end
	e.units, e.list = e.list, e.units
}

func (e *indexEncoder) flush() {
	if len(e.units) == 0 {
		return
	}
	e.b = binary.AppendUvarint(e.b, uint64(e.first-e.prev))
	e.b = binary.AppendUvarint(e.b, uint64(e.end-e.first-1))
	e.b = binary.AppendUvarint(e.b, uint64(len(e.units)))
	prev := uint32(0)
	for _, u := range e.units {
		e.b = binary.AppendUvarint(e.b, uint64(u-prev))
		prev = u
	}
	e.prev = e.end
}

// pageIndex answers from the encoded form, so that it takes little more memory than the file.
type pageIndex struct {
	b     []byte
	units uint64 // of the segment

	once  sync.Once
	skips []indexSkip // every skipEvery entries
	err   error
}

// indexSkip is a place in the encoded index.
type indexSkip struct {
	prev uint32 // end of the entry before it
	off  int
}

const skipEvery = 128

// entry reads one entry; units are appended to list[:0].
func (x *pageIndex) entry(f *fields, prev uint32, list []uint32) (first, end uint32, units []uint32) {
	first64 := uint64(prev) + f.upTo(maxPageCount)
	end64 := first64 + f.upTo(maxPageCount) + 1
	n := f.upTo(x.units)
	if n == 0 || first64 == 0 || end64 > maxPageCount+1 {
		f.fail()
	}
	units = list[:0]
	u := uint64(0)
	for i := range n {
		gap := f.upTo(x.units)
		u += gap
		if f.bad || u >= x.units || i > 0 && gap == 0 {
			f.fail()
			break
		}
		units = append(units, uint32(u))
	}
	return uint32(first64), uint32(end64), units
}

// load checks the whole index and notes where to begin a search.
func (x *pageIndex) load() {
	f := fields{b: x.b}
	prev := uint32(0)
	var list []uint32
	for i := 0; len(f.b) > 0; i++ {
		if i%skipEvery == 0 {
			x.skips = append(x.skips, indexSkip{prev: prev, off: len(x.b) - len(f.b)})
		}
		_, prev, list = x.entry(&f, prev, list)
	}
	if f.bad {
		x.err = because(ErrCorrupt, "page index")
	}
}

// find lists the units that patch a page or end it.
func (x *pageIndex) find(page uint32) ([]uint32, error) {
	x.once.Do(x.load)
	if x.err != nil {
		return nil, x.err
	}
	i, _ := slices.BinarySearchFunc(x.skips, page, func(s indexSkip, p uint32) int {
		if s.prev <= p {
			return -1
		}
		return 1
	})
	if i == 0 {
		return nil, nil
	}
	s := x.skips[i-1]
	f := fields{b: x.b[s.off:]}
	prev := s.prev
	var list []uint32
	for len(f.b) > 0 {
		var first, end uint32
		first, end, list = x.entry(&f, prev, list)
		if page < first {
			return nil, nil
		}
		if page < end {
			return list, nil
		}
		prev = end
	}
	return nil, nil
}
