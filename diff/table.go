package diff

import "math/bits"

// The tables find where 8 or 16 bytes have been seen before. Neither keeps
// more than the last place for a hash, and what they say is always verified, so
// that they need no more than clearing between uses.

const hashPrime = 0x9E3779B185EBCA87

// ownTable indexes the old page of the page at work at every 4th position: a
// match of 12 bytes or more covers 8 bytes that are indexed. Of two places with
// the same bytes it keeps the first: what SQLite added to a page last is in
// front, and most like what it adds now.
type ownTable struct {
	slots *[ownSlotsMax]uint16 // position / 4; of the array as many are used as the page size asks for
	shift uint                 // of a hash, to get its slot
	ready bool                 // it is of the old page of the page at work
}

const (
	ownSlotsMax = MaxPageSize / 2
	ownSlotMask = ownSlotsMax - 1 // says nothing new: it spares the check of an index
)

func (t *ownTable) build(page []byte, pageSize int) {
	if t.slots == nil {
		t.slots = new([ownSlotsMax]uint16)
	}
	t.ready = true
	n := pageSize / 2
	clear(t.slots[:n])
	t.shift = slotShift(n)
	// Four at a time, from windows of a constant length: every page of a small
	// transaction comes through here, and its bounds would be checked four
	// times as often. The first 12 bytes of a page, its header, are left out.
	slots, shift := t.slots, t.shift
	for off := len(page) - 20; off >= 0; off -= 16 {
		w, p := (*[20]byte)(page[off:]), uint16(off/4)
		if load64(w[:], 0)|load64(w[:], 8) == 0 {
			continue // the gap between pointers and cells: a fill finds that
		}
		slots[load64(w[:], 12)*hashPrime>>(shift&63)&ownSlotMask] = p + 3
		slots[load64(w[:], 8)*hashPrime>>(shift&63)&ownSlotMask] = p + 2
		slots[load64(w[:], 4)*hashPrime>>(shift&63)&ownSlotMask] = p + 1
		slots[load64(w[:], 0)*hashPrime>>(shift&63)&ownSlotMask] = p
	}
}

// windowTable indexes pages of the window at every 8th position: a match of
// 16 bytes or more (24 when wide) covers what is indexed.
type windowTable struct {
	slots []uint32 // tag in the upper 10 bits, position / 8 in the lower 22
	shift uint
	wide  bool // hashes cover 16 bytes, not 8
}

const (
	windowPosBits  = 22      // enough for 32 MiB of window, see GroupPages
	windowSlotsMax = 1 << 20 // 4 MiB; a larger table would miss the caches too often

	// wideWindow is how large a window is when hashes start to cover 16 bytes.
	// In a large one most matches of 8 bytes are words of a language that
	// match no further, and each costs a look at memory far away.
	wideWindow = 1 << 20
)

// reset empties the table for a window of so many positions.
func (t *windowTable) reset(positions int) {
	n := 1 << bits.Len(uint(positions/8-1))
	n = min(n, windowSlotsMax)
	if cap(t.slots) < n {
		t.slots = make([]uint32, n)
	}
	t.slots = t.slots[:n]
	clear(t.slots)
	t.shift = slotShift(n)
	t.wide = positions > wideWindow
}

// add indexes page[lo:hi] of the page that begins at position base.
func (t *windowTable) add(page []byte, base, lo, hi int) {
	slots, shift, span := t.slots, t.shift, 8
	if t.wide {
		span = 16
	}
	page = page[:hi:hi]
	for p := (lo + 7) &^ 7; p+span <= hi; p += 8 {
		v := load64(page, p)
		if v == bits.RotateLeft64(v, 8) {
			continue // a fill finds those, and here they crowd out others
		}
		if t.wide {
			v = widen(v, page, p)
		}
		h := v * hashPrime
		slots[h>>(shift&63)] = windowTag(h)<<windowPosBits | uint32((base+p)>>3)
	}
}

// widen mixes 8 more bytes into the 8 at p.
func widen(v uint64, page []byte, p int) uint64 { return v ^ load64(page, p+8)*hashPrime }

// windowTag is the part of a hash that a slot keeps, to spare most looks at
// places that do not match.
func windowTag(h uint64) uint32 { return uint32(h>>20) & (1<<(32-windowPosBits) - 1) }

func slotShift(slots int) uint { return uint(64 - bits.Len(uint(slots-1))) }
