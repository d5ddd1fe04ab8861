package compact

import (
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// imagesBytes is how much of the images is in memory.
const imagesBytes = 16 << 20

// Images keep what pages held before they were changed first. The zero value keeps them in memory; with a file, the
// first 16 MiB. A State must tell Changed of every page that it changes. Not safe for concurrent use.
type Images struct {
	// Scratch is for what does not fit into memory. It is written over and over, and not closed.
	Scratch durable.File

	size  int // of a page
	slots map[uint32]int32
	used  int32
	mem   []byte // of the first slots
	err   error  // of writing Scratch, for the next who asks
}

// absent is the slot of a page that was not there.
const absent = -1

// reset forgets all, for pages of that size.
func (m *Images) reset(pageSize int) {
	m.size, m.used, m.mem, m.err = pageSize, 0, m.mem[:0], nil
	if m.slots == nil {
		m.slots = make(map[uint32]int32)
	}
	clear(m.slots)
}

// Changed is told what a page held; nil when it was not there.
func (m *Images) Changed(_ *journal.Tx, no uint32, old, _ []byte) {
	if m.slots == nil { // nothing is being folded
		return
	}
	if _, ok := m.slots[no]; ok {
		return
	}
	m.keep(no, old)
}

func (m *Images) keep(no uint32, old []byte) {
	if old == nil {
		m.slots[no] = absent
		return
	}
	if len(old) != m.size { // a group has pages of one size
		m.err = fmt.Errorf("page %d of %d bytes among those of %d", no, len(old), m.size)
		return
	}
	slot := m.used
	m.slots[no] = slot
	m.used++
	if m.Scratch == nil || len(m.mem)+m.size <= imagesBytes {
		m.mem = append(m.mem, old...)
		return
	}
	if _, err := m.Scratch.WriteAt(old, int64(slot)*int64(m.size)); err != nil && m.err == nil {
		m.err = fmt.Errorf("scratch file of folding: %w", err)
	}
}

// has says that a page's image is kept.
func (m *Images) has(no uint32) bool { _, ok := m.slots[no]; return ok }

// get reads an image into b; false when the page was not there, which then is zero.
func (m *Images) get(no uint32, b []byte) (bool, error) {
	slot := m.slots[no]
	if slot == absent {
		clear(b)
		return false, nil
	}
	off := int64(slot) * int64(m.size)
	if off < int64(len(m.mem)) {
		copy(b, m.mem[off:])
		return true, nil
	}
	_, err := m.Scratch.ReadAt(b, off)
	return true, err
}

// pages lists those that were changed, ascending.
func (m *Images) pages() []uint32 {
	out := make([]uint32, 0, len(m.slots))
	for no := range m.slots {
		out = append(out, no)
	}
	slices.Sort(out)
	return out
}

// Stop forgets all; changes are not kept before the next group begins.
func (m *Images) Stop() {
	m.slots, m.mem = nil, m.mem[:0]
}
