package sqlitefile

import "encoding/binary"

// Refs appends the pages that page no refers to: of a b-tree page its children
// and the first pages of its cells' overflow chains, of an overflow page the
// next one. ok is false, and nothing appended, when a page that is to be of a
// b-tree cannot be one. h is the database's header.
func Refs(children, chains []uint32, page []byte, no uint32, h Header, overflow bool) (_, _ []uint32, ok bool) {
	add := func(to []uint32, ref uint32) []uint32 {
		if ref > 1 {
			to = append(to, ref)
		}
		return to
	}
	if overflow {
		return children, add(chains, binary.BigEndian.Uint32(page)), true
	}
	t, ok := parseTree(page, no, h.Usable())
	if !ok {
		return children, chains, false
	}
	for i := range t.cells {
		if c, ok := t.cell(i); ok {
			children, chains = add(children, c.child), add(chains, c.overflow)
		}
	}
	return add(children, t.right), chains, true
}
