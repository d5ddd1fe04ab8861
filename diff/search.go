package diff

import "math/bits"

// The shortest copies worth a token. Shorter ones would still save bytes, but
// each interrupts a run of literals, and once a compressor follows they cost
// more than they save.
const (
	minCheap = 8 // same, again and fill, which need no distance
	minShift = 12
	minFrom  = 16
)

// enough is what a copy saves that ends the search for a better one. Where much
// is equal, as in the gap in the middle of a page, every distance matches, and
// each would be measured to its end.
const enough = 32

// patience is after how many literals, in powers of two, the search begins to
// skip positions: what has not compressed so far will hardly do so now.
const patience = 7

// match is a token that could stand for new[at:at+n].
type match struct {
	kind  byte
	at, n int
	arg   int // the shift, or the position in the window
	gain  int // bytes saved over literals; 0 in no match
}

// blindLiterals is how many literals of a page are written before its old
// content is indexed, which takes longer than all the rest. What an insert
// leaves in an index is less: a pointer and a short key, between bytes that
// stayed or moved by an entry.
const blindLiterals = 16

// zeroPage stands in for the old page where there is none, so that seek has
// one thing less to ask. What it finds there, find does not take.
var zeroPage [MaxPageSize]byte

// scan covers what changed with the best tokens it finds from left to right.
func (e *Encoder) scan(c change) {
	if c.lo > 0 {
		e.tokens = appendToken(e.tokens, kindSame, c.lo)
	}
	lit := c.lo // literals from here are not yet written
	spare := blindLiterals
	for i, end := lit, min(c.hi, e.pageSize-7); ; {
		stop := end
		if !e.own.ready {
			stop = min(end, lit+spare)
		}
		if i = e.seek(i, lit, stop); i >= end {
			break
		}
		if i >= stop {
			e.own.build(e.old, e.pageSize)
			i = lit
			continue
		}
		m := e.find(i, lit)
		if m.gain == 0 {
			i++
			continue
		}
		spare -= m.at - lit
		e.literal(lit, m.at)
		e.copy(m)
		i = m.at + m.n
		lit = i
	}
	if lit < c.hi {
		e.literal(lit, c.hi)
		lit = c.hi
	}
	if lit < e.pageSize && e.old != nil {
		e.tokens = appendToken(e.tokens, kindSame, 0)
	}
}

// copy writes the token of a match. A same never reaches the end of the page,
// where it would have to be spelled differently: every match begins before the
// last byte that changed.
func (e *Encoder) copy(m match) {
	e.tokens = appendToken(e.tokens, m.kind, m.n)
	switch m.kind {
	case kindShift:
		e.tokens = appendUvarint(e.tokens, zigzag(m.arg))
		e.shifts = [2]int{m.arg, e.shifts[0]}
	case kindFrom:
		e.tokens = appendUvarint(e.tokens, zigzag(m.arg-e.from))
		e.from, e.fromTo = m.arg+m.n, e.base+m.at+m.n
	case kindFill:
		e.tokens = append(e.tokens, e.new[m.at])
	}
}

// seek returns the first position from i on where find may find something, or
// one at or after end. It is the inner loop of encoding: it only looks at
// whether 8 bytes match, and the longer the literals since lit grow, the fewer
// positions it tries. Its steps are odd so that they visit every residue of the
// positions that the tables index. Conditions are put so that the compiler sees
// that no word is out of range.
func (e *Encoder) seek(i, lit, end int) int {
	new, old := e.new, e.old
	if old == nil {
		old = zeroPage[:]
	}
	new, old = new[:len(new):len(new)], old[:len(new):len(new)]
	own, ownShift, ownReady := e.own.slots, e.own.shift, e.own.ready
	all, allShift, wide := e.all.slots, e.all.shift, e.all.wide
	s0, s1 := e.shifts[0], e.shifts[1]
	usual := s0 == -s1 && (s0 == 2 || s0 == -2) // those are tried anyway
	deepEnd := e.deepEnd()
	for i >= 0 && i < end && i <= len(new)-8 {
		v := load64(new, i)
		if v == load64(old, i) || v == bits.RotateLeft64(v, 8) {
			return i
		}
		if i >= 2 && v == load64(old, i-2) {
			return i
		}
		if i <= len(old)-10 && v == load64(old, i+2) {
			return i
		}
		if !usual {
			if j := i + s0; j >= 0 && j <= len(old)-8 && v == load64(old, j) {
				return i
			}
			if j := i + s1; j >= 0 && j <= len(old)-8 && v == load64(old, j) {
				return i
			}
		}
		if ownReady {
			h := v * hashPrime
			if j := int(own[h>>(ownShift&63)&ownSlotMask]) << 2; j <= len(old)-8 && v == load64(old, j) {
				return i
			}
			if i < deepEnd {
				if wide {
					h = widen(v, new, i) * hashPrime
				}
				if all[h>>(allShift&63)]>>windowPosBits == windowTag(h) {
					return i
				}
			}
		}
		i += 1 + (i-lit)>>patience<<1
	}
	return i
}

// deepEnd is the first position of a page that the table of all pages cannot
// be asked about, because too few bytes follow. It is not asked before the own.
func (e *Encoder) deepEnd() int {
	switch {
	case e.depth == nothing, !e.own.ready:
		return 0
	case e.all.wide:
		return e.pageSize - 15
	}
	return e.pageSize - 7
}

// find returns the match at i that saves most, extended backwards over the
// literals since lit.
func (e *Encoder) find(i, lit int) match {
	var best match
	v := load64(e.new, i)
	if old := e.old; old != nil {
		old = old[:len(old):len(old)]
		for _, d := range [...]int{0, e.shifts[0], e.shifts[1], -2, 2} {
			if j := i + d; j < 0 || j > len(old)-8 || load64(old, j) != v {
				continue
			}
			e.shifted(&best, i, lit, d)
			if best.gain >= enough {
				return best
			}
		}
		if e.own.ready {
			if j := int(e.own.slots[v*hashPrime>>(e.own.shift&63)&ownSlotMask]) << 2; load64(old, j) == v {
				e.shifted(&best, i, lit, j-i)
			}
		}
	}
	if v == bits.RotateLeft64(v, 8) {
		e.filled(&best, i, lit)
	}
	if e.depth != nothing {
		e.copied(&best, v, i, lit, e.from+e.base+i-e.fromTo) // as the last copy would have gone on
	}
	if i < e.deepEnd() {
		h := v * hashPrime
		if e.all.wide {
			h = widen(v, e.new, i) * hashPrime
		}
		if s := e.all.slots[h>>e.all.shift]; s>>windowPosBits == windowTag(h) {
			e.copied(&best, v, i, lit, int(s&(1<<windowPosBits-1))<<3)
		}
	}
	return best
}

// shifted tries a copy from the old page at a distance of d, where at least the
// 8 bytes at i match.
func (e *Encoder) shifted(best *match, i, lit, d int) {
	j := i + d
	back := backLen(e.new[:i], e.old[:j], i-lit)
	m := match{kind: kindShift, at: i - back, n: back + matchLen(e.new[i:], e.old[j:]), arg: d}
	cost := 1
	switch {
	case d == 0:
		m.kind = kindSame
	case d == e.shifts[0]:
		m.kind = kindAgain
	case m.n < minShift && d != 2 && d != -2:
		return
	default:
		cost += uvarintLen(zigzag(d))
	}
	best.take(m, cost)
}

// filled tries a run of one byte.
func (e *Encoder) filled(best *match, i, lit int) {
	n := 1 + matchLen(e.new[i:], e.new[i+1:]) // as long as it equals itself one byte on
	for ; i > lit && e.new[i-1] == e.new[i]; i-- {
		n++
	}
	best.take(match{kind: kindFill, at: i, n: n}, 2)
}

// copied tries a copy from position p of the window.
func (e *Encoder) copied(best *match, v uint64, i, lit, p int) {
	if p < 0 || p >= e.base+lit {
		return
	}
	src := e.window[p>>e.pageBits]
	if p >= e.base {
		src = src[:lit] // of the page at work, only what is there before the copy
	}
	j := p & (e.pageSize - 1)
	if j+8 > len(src) || load64(src, j) != v {
		return
	}
	back := backLen(e.new[:i], src[:j], i-lit)
	m := match{kind: kindFrom, at: i - back, n: back + matchLen(e.new[i:], src[j:]), arg: p - back}
	if m.n >= minFrom {
		best.take(m, 1+uvarintLen(zigzag(m.arg-e.from)))
	}
}

// take replaces m by n, whose token costs so many bytes besides a long length,
// if that saves more.
func (m *match) take(n match, cost int) {
	if n.n >= lengthMax {
		cost += uvarintLen(uint64(n.n - lengthMax))
	}
	if n.gain = n.n - cost; n.gain > m.gain {
		*m = n
	}
}
