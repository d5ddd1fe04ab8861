package sqlitefile

// Find is the last frame of page no among the first limit slots, 0 if none.
func (r IndexRegion) Find(no, limit uint32) uint32 {
	best := uint32(0)
	i := indexHash(no)
	for range indexSlots { // a damaged table may have no empty slot
		s := uint32(r.hash(i))
		if s == 0 {
			break
		}
		if s <= limit && s <= r.slots() && s > best && r.Page(s) == no {
			best = s
		}
		i = (i + 1) % indexSlots
	}
	return best
}
