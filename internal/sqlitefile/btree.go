package sqlitefile

import "encoding/binary"

// treePage is a parsed header of a b-tree page.
// See https://www.sqlite.org/fileformat2.html#b_tree_pages.
type treePage struct {
	b     []byte // the usable part of the page
	kind  Kind
	cells int    // number of cells; their pointers are in bounds
	array int    // offset of the cell pointers
	right uint32 // the right-most child of an interior page
}

// parseTree reads the header of page no, of which usable bytes are content, and
// says whether it can be a b-tree page at all.
func parseTree(page []byte, no uint32, usable int) (treePage, bool) {
	head := 0
	if no == 1 {
		head = HeaderSize
	}
	if usable > len(page) || head+12 > usable {
		return treePage{}, false
	}
	t := treePage{b: page[:usable], array: head + 8}
	switch page[head] {
	case 2:
		t.kind = IndexInterior
	case 5:
		t.kind = TableInterior
	case 10:
		t.kind = IndexLeaf
	case 13:
		t.kind = TableLeaf
	default:
		return treePage{}, false
	}
	if !t.leaf() {
		t.array = head + 12
		t.right = binary.BigEndian.Uint32(page[head+8:])
	}
	t.cells = int(binary.BigEndian.Uint16(page[head+3:]))
	if t.array+2*t.cells > usable {
		return treePage{}, false
	}
	return t, true
}

func (t treePage) leaf() bool { return t.kind == TableLeaf || t.kind == IndexLeaf }

// table says that the tree is that of a rowid table; all its pages agree on it.
func (t treePage) table() bool { return t.kind == TableLeaf || t.kind == TableInterior }

// cell is what a walk wants to know of a cell.
type cell struct {
	child    uint32 // left child, on interior pages
	payload  uint64 // bytes of the row or entry, those in overflow pages included
	local    []byte // those that are on this page
	overflow uint32 // first overflow page, 0: all of it is local
}

// cell parses cell i. A cell that does not fit the page is not ok.
// See https://www.sqlite.org/fileformat2.html#b_tree_cell_format.
func (t treePage) cell(i int) (c cell, ok bool) {
	off := int(binary.BigEndian.Uint16(t.b[t.array+2*i:]))
	if off < t.array || off >= len(t.b) {
		return cell{}, false
	}
	b := t.b[off:]
	if !t.leaf() {
		if len(b) < 4 {
			return cell{}, false
		}
		c.child = binary.BigEndian.Uint32(b)
		if t.kind == TableInterior {
			return c, true
		}
		b = b[4:]
	}
	payload, n := varint(b)
	if n == 0 || payload > 1<<31-1 {
		return cell{}, false
	}
	b = b[n:]
	if t.kind == TableLeaf {
		_, n := varint(b) // the rowid
		if n == 0 {
			return cell{}, false
		}
		b = b[n:]
	}
	c.payload = payload
	local := localBytes(int(payload), len(t.b), t.kind)
	if local == int(payload) {
		if len(b) < local {
			return cell{}, false
		}
		c.local = b[:local]
		return c, true
	}
	if len(b) < local+4 {
		return cell{}, false
	}
	c.local = b[:local]
	c.overflow = binary.BigEndian.Uint32(b[local:])
	return c, true
}

// localBytes is how much of a payload stays on a page of that kind.
// See https://www.sqlite.org/fileformat2.html#cell_payload_overflow_pages.
func localBytes(payload, usable int, kind Kind) int {
	most := (usable-12)*64/255 - 23
	if kind == TableLeaf {
		most = usable - 35
	}
	if payload <= most {
		return payload
	}
	least := (usable-12)*32/255 - 23
	if k := least + (payload-least)%(usable-4); k <= most {
		return k
	}
	return least
}

// varint reads one of SQLite's variable-length integers and says how many bytes
// it took, 0 if b ends within it.
// See https://www.sqlite.org/fileformat2.html#varint.
func varint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		c := b[n]
		n++
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			return v, n
		}
	}
	if n < 8 || len(b) < 9 {
		return 0, 0
	}
	return v<<8 | uint64(b[8]), 9
}
