package sqlitefile

import (
	"encoding/binary"
	"errors"
	"io"
	"iter"
)

// Page is what Walk knows of a page.
type Page struct {
	No     uint32
	Kind   Kind
	Name   string // table or index that a b-tree or overflow page belongs to; "sqlite_schema" is that of page 1
	Table  string // the table of that index, else the same as Name
	Parent uint32 // page that refers to this one; 0 for roots and for what nothing refers to
}

// PageReader reads page number no, from 1, into buf, which is a page long. An
// error of [io.EOF] or [io.ErrUnexpectedEOF] says that the file does not have
// that page, all others end the walk.
type PageReader func(no uint32, buf []byte) error

// maxDepth bounds b-trees. SQLite refuses trees deeper than 20, which hold more
// than any file can.
const maxDepth = 20

// Walk yields every page of a database of that many pages once, each with what
// it is for: by walking the free list, the schema, and the tree of every table
// and index in it. The order is that of the walk; pages that nothing refers to
// come last, as Unknown, which in a healthy database are none.
//
// It reads nearly every page, many of them out of order. Memory is two bits a
// page, the names of the schema, and one page for each level of a tree. A
// malformed database yields Unknown pages, never an error, and no page twice.
// An error comes from read and is the last thing yielded. The walk ends when
// the consumer has seen enough.
//
// The pages must not change meanwhile: hold a read transaction, or read a copy.
func Walk(h Header, pages uint32, read PageReader) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		if !ValidPageSize(h.PageSize) {
			panic("sqlitefile: Header was not made by ParseHeader")
		}
		pages = min(pages, MaxPages)
		w := &walker{
			h: h, pages: pages, read: read, yield: yield,
			seen:   newBitmap(pages),
			bad:    newBitmap(pages),
			known:  map[uint32]bool{},
			budget: pages,
		}
		w.run()
	}
}

// errStop ends a walk whose consumer has broken out of its loop.
var errStop = errors.New("stop")

type walker struct {
	h     Header
	pages uint32
	read  PageReader
	yield func(Page, error) bool
	seen  *bitmap // pages yielded
	bad   *bitmap // pages that were read and cannot be part of a tree: not to be read for that again

	roots  []root
	known  map[uint32]bool  // root pages in roots
	budget uint32           // overflow pages that may still be read for rows of the schema
	bufs   [maxDepth][]byte // a page for each level of the tree being walked
	spare  []byte           // a page for the free list and overflow chains
}

func (w *walker) run() {
	for _, step := range []func() error{w.special, w.freeList, w.trees, w.rest} {
		if err := step(); err != nil {
			if err != errStop {
				w.yield(Page{}, err)
			}
			return
		}
	}
}

// found yields a page that has not been yielded before.
func (w *walker) found(p Page) error {
	w.seen.set(p.No)
	if !w.yield(p, nil) {
		return errStop
	}
	return nil
}

// fresh says that a page exists and was not yielded yet.
func (w *walker) fresh(no uint32) bool {
	return no >= 1 && no <= w.pages && !w.seen.get(no)
}

// load reads a page into *buf; ok is false when the file does not have it.
func (w *walker) load(no uint32, buf *[]byte) (ok bool, err error) {
	if *buf == nil {
		*buf = make([]byte, w.h.PageSize)
	}
	err = w.read(no, *buf)
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return false, nil
	}
	return err == nil, err
}

// special yields the pages whose numbers alone say what they are.
// See https://www.sqlite.org/fileformat2.html#pointer_map_or_ptrmap_pages.
func (w *walker) special() error {
	lock := LockPage(w.h.PageSize)
	if lock <= w.pages {
		if err := w.found(Page{No: lock, Kind: LockBytes}); err != nil {
			return err
		}
	}
	if w.h.AutoVacuum == 0 {
		return nil
	}
	step := uint64(w.h.Usable()/5 + 1) // a pointer map and the pages it is about
	for no := uint64(2); no <= uint64(w.pages); no += step {
		at := uint32(no)
		if at == lock {
			at++
		}
		if !w.fresh(at) {
			continue
		}
		if err := w.found(Page{No: at, Kind: PointerMap}); err != nil {
			return err
		}
	}
	return nil
}

// freeList follows the trunks of the free list.
// See https://www.sqlite.org/fileformat2.html#the_freelist.
func (w *walker) freeList() error {
	parent := uint32(0)
	for no := w.h.FreelistTrunk; no != 1 && w.fresh(no); {
		ok, err := w.load(no, &w.spare)
		if err != nil || !ok {
			return err
		}
		if err := w.found(Page{No: no, Kind: FreeTrunk, Parent: parent}); err != nil {
			return err
		}
		b := w.spare[:w.h.Usable()]
		leaves := min(int64(binary.BigEndian.Uint32(b[4:])), int64(len(b)/4-2))
		for i := range int(leaves) {
			leaf := binary.BigEndian.Uint32(b[8+4*i:])
			if leaf == 1 || !w.fresh(leaf) {
				continue
			}
			if err := w.found(Page{No: leaf, Kind: FreeLeaf, Parent: no}); err != nil {
				return err
			}
		}
		parent, no = no, binary.BigEndian.Uint32(b)
	}
	return nil
}

// trees walks the schema, which fills w.roots, and then every tree in it.
func (w *walker) trees() error {
	if w.pages == 0 {
		return nil
	}
	schema := root{name: schemaName, table: schemaName, page: 1}
	if err := w.tree(schema, 1, 0, 0, true); err != nil {
		return err
	}
	for _, r := range w.roots {
		if err := w.tree(r, r.page, 0, 0, false); err != nil {
			return err
		}
	}
	return nil
}

// tree walks the part of a tree that begins with page no. The page's kind is
// table or index by what its parent, or for a root its own flag, says. schema
// is true for the tree whose rows name the others.
func (w *walker) tree(r root, no, parent uint32, depth int, schema bool) error {
	if depth >= maxDepth || !w.fresh(no) || w.bad.get(no) {
		return nil
	}
	ok, err := w.load(no, &w.bufs[depth])
	if err != nil || !ok {
		return err
	}
	t, ok := parseTree(w.bufs[depth], no, w.h.Usable())
	if ok && depth > 0 {
		up, _ := parseTree(w.bufs[depth-1], parent, w.h.Usable())
		ok = up.table() == t.table()
	}
	if !ok {
		w.bad.set(no)
		return nil
	}
	if err := w.found(Page{No: no, Kind: t.kind, Name: r.name, Table: r.table, Parent: parent}); err != nil {
		return err
	}
	for i := range t.cells {
		c, ok := t.cell(i)
		if !ok {
			continue
		}
		if schema && t.kind == TableLeaf {
			if err := w.row(c); err != nil {
				return err
			}
		}
		if err := w.overflow(r, no, c); err != nil {
			return err
		}
		if err := w.tree(r, c.child, no, depth+1, schema); err != nil {
			return err
		}
	}
	return w.tree(r, t.right, no, depth+1, schema)
}

// overflow follows a cell's chain of overflow pages.
func (w *walker) overflow(r root, parent uint32, c cell) error {
	left := int64(c.payload) - int64(len(c.local))
	for no := c.overflow; left > 0 && w.fresh(no) && no != 1; {
		ok, err := w.load(no, &w.spare)
		if err != nil || !ok {
			return err
		}
		if err := w.found(Page{No: no, Kind: Overflow, Name: r.name, Table: r.table, Parent: parent}); err != nil {
			return err
		}
		left -= int64(w.h.Usable() - 4)
		parent, no = no, binary.BigEndian.Uint32(w.spare)
	}
	return nil
}

// row adds the tree of a row of the schema to w.roots. It reads overflow pages
// only when names are so long that they are needed.
func (w *walker) row(c cell) error {
	b := c.local
	r, ok := parseRow(b, w.h.TextEncoding)
	if !ok && c.overflow != 0 {
		b = append([]byte(nil), b...)
		want := int(min(c.payload, maxRow))
		for no := c.overflow; len(b) < want && w.budget > 0 && no > 1 && no <= w.pages; w.budget-- {
			ok, err := w.load(no, &w.spare)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			b = append(b, w.spare[4:min(w.h.Usable(), 4+want-len(b))]...)
			no = binary.BigEndian.Uint32(w.spare)
		}
		r, ok = parseRow(b, w.h.TextEncoding)
	}
	if ok && r.page > 1 && r.page <= w.pages && !w.known[r.page] {
		w.known[r.page] = true
		w.roots = append(w.roots, r)
	}
	return nil
}

// rest yields what nothing refers to.
func (w *walker) rest() error {
	for no := uint32(1); no <= w.pages; no++ {
		if w.seen.get(no) {
			continue
		}
		if !w.yield(Page{No: no}, nil) {
			return errStop
		}
	}
	return nil
}

// bitmap is a set of page numbers that takes memory only where it is not empty,
// because the number of pages may be a lie.
type bitmap struct{ chunks []*[chunkPages / 64]uint64 }

const chunkPages = 1 << 18

func newBitmap(pages uint32) *bitmap {
	return &bitmap{make([]*[chunkPages / 64]uint64, uint64(pages)/chunkPages+1)}
}

func (m *bitmap) get(no uint32) bool {
	c := m.chunks[no/chunkPages]
	return c != nil && c[no%chunkPages/64]>>(no%64)&1 != 0
}

func (m *bitmap) set(no uint32) {
	c := &m.chunks[no/chunkPages]
	if *c == nil {
		*c = new([chunkPages / 64]uint64)
	}
	(*c)[no%chunkPages/64] |= 1 << (no % 64)
}
