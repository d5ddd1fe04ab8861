package apply

import (
	"context"
	"errors"
	"sync"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// ahead has most patches of the transactions that follow a base, to be applied
// while the base is being loaded: page by page, by all cores, before a page is
// first written. In the order of transactions every patch reads and writes a
// page somewhere in a file that may be much larger than the cache.
//
// A patch is early if it needs no other page, if no page needs more than a few
// bytes of this one from before or after it, and if the same is true of all
// patches of its page before it. Those few bytes are taken as they come by.
//
// The transactions are then replayed in order, as ever, without their early
// patches: of these there are what was taken, and what they did to the state
// checksum, so that each transaction is checked against its own.
type ahead struct {
	base  journal.BaseInfo
	lock  uint32       // page
	last  journal.TXID // transaction
	count uint32       // pages, after it
	bytes int          // of memory, about

	pages   map[uint32]chain // of the base, those that are patched
	patches list[earlyPatch]
	early   arena      // of patches
	takes   list[take] // in the order in which replaying needs them
	taken   arena      // of takes

	mu     sync.Mutex
	deltas list[diff.Sum] // under mu; of each transaction: what its early patches do to the checksum
	idle   []*earlyWorker // under mu

	refs list[bool] // of all pages of all transactions: patched early
	at   struct{ delta, ref, take int }

	dec     diff.Decoder
	keep    []bool  // of the pages of the body at work: patched early
	other   []bool  // the rest of them
	needs   []int   // bytes that other pages need of each
	numbers []int32 // of their early patches
	body    diff.Body
	holes   []hole
}

// aheadBytes is how much memory early patches may take, about.
const aheadBytes = 40 << 20

// wholeBytes is how large the pages of a transaction may be together if its
// patches are to be early: parts of a body may be larger than the body.
const wholeBytes = 1 << 20

// takeBytes is how much other pages may need of one that is patched early.
const takeBytes = 64

// chain is the early patches of a page, by their numbers.
type chain struct {
	first, last int32 // -1: none
	ended       bool  // by a patch that cannot be early
}

type earlyPatch struct {
	bytes         []byte // the streams of its body
	pages, tokens int32  // lengths of the first two
	delta         int32  // of its transaction
	next          int32  // of the same page, -1: none
	take          int32  // the first of it, -1: none
}

// take is bytes of a page that others need.
type take struct {
	to   []byte
	off  int32 // in the page
	old  bool  // before the patch, else after it
	next int32 // of the same patch, -1: none
}

// errEnough ends the gathering.
var errEnough = errors.New("enough transactions")

// gather reads the transactions after a base, up to to, until there is one
// that is not to be had early, or they take too much memory. Whatever is wrong
// with the trail is left to the replay, which reads it again.
func gather(ctx context.Context, trail *journal.Trail, base journal.BaseInfo, to journal.TXID) (*ahead, error) {
	a := &ahead{
		base: base, lock: diff.LockPage(base.PageSize), last: base.TXID, count: base.PageCount,
		pages: make(map[uint32]chain),
	}
	err := stream(ctx, trail, base.TXID, to, nil, func(b *batch) error {
		for i := range b.steps {
			if !a.add(&b.steps[i]) {
				return errEnough
			}
		}
		return nil
	})
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return a, nil
}

// add takes a transaction, or refuses it: one in several groups, one that is
// large, and whatever is not simply a next transaction.
func (a *ahead) add(s *step) bool {
	tx := s.tx
	if tx == nil || !s.last || tx.Kind == journal.Base || tx.First() != a.last+1 ||
		tx.PageSize != a.base.PageSize || tx.PageCount < a.count || a.bytes+s.body.Len() > aheadBytes {
		return false
	}
	if err := a.dec.Load(s.body, a.base.PageSize); err != nil {
		return false
	}
	a.choose()
	a.split()
	a.deltas.add(diff.Sum{})
	a.bytes += 16 + len(a.keep)
	a.last, a.count = tx.TXID, tx.PageCount
	return true
}

// choose decides which patches of the loaded body are early.
func (a *ahead) choose() {
	refs := a.dec.Pages()
	a.keep = append(a.keep[:0], make([]bool, len(refs))...)
	a.needs = append(a.needs[:0], make([]int, len(refs))...)
	large := len(refs)*a.base.PageSize > wholeBytes
	if !large {
		for _, c := range a.dec.Copies() {
			if !c.Literal() {
				a.needs[c.To] = takeBytes + 1 // as good as too much
				a.needs[c.From] += c.Len
			}
		}
	}
	for i, ref := range refs {
		if ref.No <= a.base.PageCount && ref.No != a.lock {
			c, ok := a.pages[ref.No]
			if !ok {
				c = chain{first: -1, last: -1}
				a.bytes += 40
			}
			c.ended = c.ended || large || a.needs[i] > takeBytes
			a.keep[i] = !c.ended
			a.pages[ref.No] = c
		}
		a.refs.add(a.keep[i])
	}
}

// split takes the early patches out of the loaded body, and finds out what the
// rest needs of them.
func (a *ahead) split() {
	refs := a.dec.Pages()
	a.other = append(a.other[:0], make([]bool, len(refs))...)
	a.numbers = append(a.numbers[:0], make([]int32, len(refs))...)
	for i, ref := range refs {
		if !a.keep[i] {
			continue
		}
		a.other[i] = true
		b := a.part(a.other, nil)
		a.other[i] = false
		n := int32(a.patches.n)
		a.numbers[i] = n
		a.patches.add(earlyPatch{
			bytes: a.early.join(b.Pages, b.Tokens, b.Literals), pages: int32(len(b.Pages)), tokens: int32(len(b.Tokens)),
			delta: int32(a.deltas.n), next: -1, take: -1,
		})
		a.bytes += 48 + b.Len()
		c := a.pages[ref.No]
		if c.last >= 0 {
			a.patches.at(int(c.last)).next = n
		} else {
			c.first = n
		}
		c.last = n
		a.pages[ref.No] = c
	}
	if !a.mixed() {
		return
	}
	a.part(a.other, func(c diff.Copy, _ int) {
		p := a.patches.at(int(a.numbers[c.From]))
		a.takes.add(take{to: a.taken.get(c.Len), off: int32(c.Off), old: c.Old, next: p.take})
		p.take = int32(a.takes.n - 1)
		a.bytes += 40 + c.Len
	})
}

// mixed sets other from keep, and says that there are pages of both kinds.
func (a *ahead) mixed() bool {
	early := 0
	for i, keep := range a.keep {
		a.other[i] = !keep
		if keep {
			early++
		}
	}
	return early > 0 && early < len(a.keep)
}

// part makes a part of the loaded body, valid until the next.
func (a *ahead) part(keep []bool, missing func(c diff.Copy, at int)) diff.Body {
	b := diff.Body{Pages: a.body.Pages[:0], Tokens: a.body.Tokens[:0], Literals: a.body.Literals[:0]}
	a.body = a.dec.AppendPart(b, keep, missing)
	return a.body
}

// arena is memory that is taken in slabs and given up as a whole.
type arena struct{ slab []byte }

func (a *arena) get(n int) []byte {
	if n > len(a.slab) {
		a.slab = make([]byte, max(slabBytes, n))
	}
	b := a.slab[:n:n]
	a.slab = a.slab[n:]
	return b
}

// join returns the parts in one piece.
func (a *arena) join(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	b := a.get(n)[:0]
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}

// list is a slice that grows without being copied.
type list[T any] struct {
	n      int
	chunks []*[listChunk]T
}

const listChunk = 1 << 10

func (l *list[T]) add(v T) {
	if l.n%listChunk == 0 {
		l.chunks = append(l.chunks, new([listChunk]T))
	}
	*l.at(l.n) = v
	l.n++
}

func (l *list[T]) at(i int) *T { return &l.chunks[i/listChunk][i%listChunk] }
