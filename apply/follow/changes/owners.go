package changes

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
)

// owners knows of every page to which table it belongs: 5 bytes a page.
type owners struct {
	h     sqlitefile.Header
	names []string          // of tables; 0 is nobody
	ids   map[string]uint32 // the other way
	of    []uint32          // by page number: index into names
	chain []bool            // the page is of an overflow chain, else of a b-tree

	page             []byte
	children, chains []uint32
}

// first is a copy of the first page, nil when there is none.
func (m *owners) first(s *apply.State) []byte {
	if s.PageCount() == 0 {
		return nil
	}
	b := make([]byte, s.PageSize())
	if err := s.ReadPage(1, b); err != nil {
		return nil
	}
	return b
}

func (m *owners) id(name string) uint32 {
	id, ok := m.ids[name]
	if !ok {
		id = uint32(len(m.names))
		m.names = append(m.names, name)
		m.ids[name] = id
	}
	return id
}

func (m *owners) set(no, id uint32, chain bool) {
	for uint32(len(m.of)) <= no {
		m.of, m.chain = append(m.of, 0), append(m.chain, false)
	}
	m.of[no], m.chain[no] = id, chain
}

func (m *owners) get(no uint32) uint32 {
	if no >= uint32(len(m.of)) {
		return 0
	}
	return m.of[no]
}

// walk makes the map anew.
func (m *owners) walk(ctx context.Context, s *apply.State) error {
	*m = owners{names: []string{""}, ids: map[string]uint32{"": 0}, page: make([]byte, s.PageSize())}
	first := m.first(s)
	if first == nil {
		return nil
	}
	var err error
	if m.h, err = sqlitefile.ParseHeader(first[:sqlitefile.HeaderSize]); err != nil {
		return nil // not a database that SQLite could read: its pages are nobody's
	}
	read := func(no uint32, buf []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return s.ReadPage(no, buf)
	}
	for p, err := range sqlitefile.Walk(m.h, s.PageCount(), read) {
		if err != nil {
			return err
		}
		if p.Table != "" {
			m.set(p.No, m.id(p.Table), p.Kind == sqlitefile.Overflow)
		}
	}
	return nil
}

// changed brings the map up to date with a transaction that patched pages, and names the tables that are theirs.
// before is the first page as it was.
//
// What became part of a tree is referred to by a page of that tree, which changed for that. So what pages refer to that
// changed is theirs, and what those refer to that were not before.
func (m *owners) changed(ctx context.Context, s *apply.State, before []byte, pages []uint32) ([]string, error) {
	set := map[string]bool{}
	name := func() {
		for _, no := range pages {
			if id := m.get(no); id != 0 && no != 1 {
				set[m.names[id]] = true
			}
		}
	}
	first := m.first(s)
	if before == nil || first == nil || schemaChanged(before, first) {
		name() // whose they were
		if err := m.walk(ctx, s); err != nil {
			return nil, err
		}
		set[schemaTable] = true
		name()
		return sorted(set), nil
	}
	var err error
	if m.h, err = sqlitefile.ParseHeader(first[:sqlitefile.HeaderSize]); err != nil {
		return nil, m.walk(ctx, s)
	}
	if uint32(len(m.of)) > s.PageCount()+1 { // what was cut off may come again as another's
		m.of, m.chain = m.of[:s.PageCount()+1], m.chain[:s.PageCount()+1]
	}
	if err := m.free(s, pages); err != nil {
		return nil, err
	}
	if err := m.spread(ctx, s, pages); err != nil {
		return nil, err
	}
	name()
	return sorted(set), nil
}

// free takes pages that are in the free list from their owners. Those that came into it are listed in trunks that
// changed, and these are the first of the chain.
func (m *owners) free(s *apply.State, pages []uint32) error {
	no := m.h.FreelistTrunk
	for range len(pages) + 1 { // each that changed, and one: a loop ends as well
		if no <= 1 || no > s.PageCount() {
			return nil
		}
		m.set(no, 0, false)
		if _, changed := slices.BinarySearch(pages, no); !changed {
			return nil
		}
		if err := s.ReadPage(no, m.page); err != nil {
			return err
		}
		b := m.page[:m.h.Usable()]
		leaves := min(int64(binary.BigEndian.Uint32(b[4:])), int64(len(b)/4-2))
		for i := range int(leaves) {
			if leaf := binary.BigEndian.Uint32(b[8+4*i:]); leaf > 1 && leaf <= s.PageCount() {
				m.set(leaf, 0, false)
			}
		}
		no = binary.BigEndian.Uint32(b)
	}
	return nil
}

// spread gives the pages that the given ones refer to the same owner, and so on where that is news.
func (m *owners) spread(ctx context.Context, s *apply.State, pages []uint32) error {
	queue := append([]uint32(nil), pages...)
	for len(queue) > 0 {
		no := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		id := m.get(no)
		if id == 0 || no > s.PageCount() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.ReadPage(no, m.page); err != nil {
			return err
		}
		var ok bool
		m.children, m.chains, ok = sqlitefile.Refs(m.children[:0], m.chains[:0], m.page, no, m.h, m.chain[no])
		if !ok {
			m.set(no, 0, false) // it was freed
			continue
		}
		for i, refs := range [][]uint32{m.children, m.chains} {
			for _, ref := range refs {
				if ref <= s.PageCount() && (m.get(ref) != id || m.chain[ref] != (i == 1)) {
					m.set(ref, id, i == 1)
					queue = append(queue, ref)
				}
			}
		}
	}
	return nil
}
