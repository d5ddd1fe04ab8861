package apply

import (
	"context"
	"fmt"
	"math/bits"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// change is a transaction that is being applied.
type change struct {
	tx      journal.Tx
	delta   diff.Sum // to the state checksum so far
	old     uint32   // pages before it that are still meaningful
	next    uint64   // first new page that neither a patch nor delta accounts for
	last    uint32   // last page patched
	lock    uint32
	touched bool // pages or the file have been changed
}

func (s *State) name() string {
	if s.source == "" {
		return "replay"
	}
	return s.source
}

// begin checks that tx follows, takes the pages it drops out of the checksum,
// and empties the state when the page size changes or a base takes its place.
func (s *State) begin(ctx context.Context, tx *journal.Tx) (change, error) {
	c := change{tx: *tx, old: s.tx.PageCount}
	if s.err != nil {
		return c, s.err
	}
	if tx.First() != s.tx.TXID+1 {
		return c, &journal.Error{Path: s.name(), Offset: -1, TXID: tx.TXID, Err: fmt.Errorf("follows transaction %d: %w", s.tx.TXID, journal.ErrGap)}
	}
	if tx.Kind == journal.Base {
		return c, s.replaceByBase(ctx, &c)
	}
	if err := checkSize(tx); err != nil {
		return c, corrupt(s.name(), tx.TXID, err)
	}
	if tx.PageSize != s.cache.pageSize {
		if err := s.empty(&c); err != nil {
			return c, s.fail(err)
		}
	}
	c.lock = diff.LockPage(tx.PageSize)
	if err := s.dropPages(ctx, &c); err != nil {
		return c, err
	}
	c.old = min(c.old, tx.PageCount)
	c.next = uint64(c.old) + 1
	return c, nil
}

// checkSize refuses sizes that no database has.
func checkSize(tx *journal.Tx) error {
	if n := tx.PageSize; n < 512 || n > 65536 || bits.OnesCount(uint(n)) != 1 {
		return fmt.Errorf("page size %d", n)
	}
	return nil
}

// empty forgets all pages, for a transaction with another page size: every
// page of the new size is new.
func (s *State) empty(c *change) error {
	size := c.tx.PageSize
	c.touched = s.tx.PageCount != 0
	c.delta = diff.Sum{}.Sub(s.sum)
	c.old = 0
	if err := s.cache.reset(size, s.budget); err != nil {
		return err
	}
	s.scratch, s.zero = make([]byte, size), make([]byte, size)
	return nil
}

// dropPages takes the pages beyond the new end out of the checksum.
func (s *State) dropPages(ctx context.Context, c *change) error {
	for no := c.old; no > c.tx.PageCount; no-- {
		if no == c.lock {
			continue
		}
		if no%checkEvery == 0 && ctx.Err() != nil {
			return s.failIf(c.touched, context.Cause(ctx))
		}
		sum, err := s.cache.sum(no, s.scratch)
		if err != nil {
			return s.fail(err)
		}
		c.delta = c.delta.Sub(sum)
	}
	return nil
}

// group decodes one group of patches. Its pages become part of the state when
// the next group comes, or at the end.
func (s *State) group(ctx context.Context, c *change, body diff.Body) error {
	if len(s.pending) > 0 {
		s.install(c)
	}
	s.cache.epoch++
	if err := s.dec.Load(body, c.tx.PageSize); err != nil {
		return s.failIf(c.touched, corrupt(s.name(), c.tx.TXID, err))
	}
	refs := s.dec.Pages()
	s.old, s.out = s.old[:0], s.out[:0]
	for _, ref := range refs {
		if err := s.stage(ctx, c, ref); err != nil {
			s.abandon(c, err)
			return err
		}
	}
	s.dec.Decode(s.out, s.old)
	for i := range s.pending {
		p := &s.pending[i]
		p.sum = diff.PageSum(p.no, p.buf)
		c.delta = c.delta.Add(p.sum)
	}
	return nil
}

// stage finds the old content of a page and a place for the new.
func (s *State) stage(ctx context.Context, c *change, ref diff.PageRef) error {
	switch {
	case ref.No <= c.last:
		return corrupt(s.name(), c.tx.TXID, fmt.Errorf("page %d patched after page %d", ref.No, c.last))
	case ref.No > c.tx.PageCount:
		return corrupt(s.name(), c.tx.TXID, fmt.Errorf("page %d patched in a database of %d pages", ref.No, c.tx.PageCount))
	case ref.No == c.lock:
		return corrupt(s.name(), c.tx.TXID, fmt.Errorf("page %d patched, which is the lock-byte page", ref.No))
	}
	c.last = ref.No
	p := pendingPage{no: ref.No, at: -1}
	old := s.zero
	if ref.No <= c.old {
		at, err := s.cache.get(ref.No)
		if err != nil {
			return s.fail(err)
		}
		e := &s.cache.entries[at]
		p.at, old = at, e.buf
		c.delta = c.delta.Sub(e.sum)
	} else {
		if err := s.growTo(ctx, c, uint64(ref.No)); err != nil {
			return err
		}
		c.next = uint64(ref.No) + 1
	}
	buf, err := s.cache.buffer()
	if err != nil {
		return s.fail(err) // pages that were being written may be lost
	}
	if ref.Full {
		old = nil
	}
	p.buf = buf
	s.pending = append(s.pending, p)
	s.old, s.out = append(s.old, old), append(s.out, buf)
	return nil
}

// growTo accounts for new pages before no that nothing patched: they are zero.
func (s *State) growTo(ctx context.Context, c *change, no uint64) error {
	for ; c.next < no; c.next++ {
		if c.next%checkEvery == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if uint32(c.next) != c.lock {
			c.delta = c.delta.Add(diff.PageSum(uint32(c.next), s.zero))
		}
	}
	return nil
}

// install makes the pending pages part of the state.
func (s *State) install(c *change) {
	for _, p := range s.pending {
		if s.told != nil {
			var old []byte
			if p.at >= 0 {
				old = s.cache.entries[p.at].buf
			}
			s.told(&c.tx, p.no, old, p.buf)
		}
		if p.at >= 0 {
			s.cache.replace(p.at, p.buf, p.sum)
		} else {
			s.cache.insert(p.no, p.buf, p.sum, true)
		}
	}
	c.touched = c.touched || len(s.pending) > 0
	s.pending = s.pending[:0]
}

// finish checks the transaction's outcome and makes it the state's.
func (s *State) finish(ctx context.Context, c *change) error {
	if c.tx.Kind == journal.Base {
		return s.after() // begin has done all else
	}
	if err := s.growTo(ctx, c, uint64(c.tx.PageCount)+1); err != nil {
		s.abandon(c, err)
		return err
	}
	sum := s.sum.Add(c.delta)
	if err := CompareSum(&c.tx, sum); err != nil {
		s.abandon(c, err)
		return err
	}
	s.install(c)
	if c.tx.PageCount < s.tx.PageCount && c.tx.PageSize == s.tx.PageSize {
		if err := s.cache.truncate(c.tx.PageCount, s.tx.PageCount); err != nil {
			return s.fail(err)
		}
	}
	s.tx, s.sum = c.tx, sum
	return s.after()
}

func (s *State) after() error {
	if s.applied == nil {
		return nil
	}
	return s.applied(s.tx.TXID)
}

// compare checks a state checksum against what a transaction says.
func CompareSum(tx *journal.Tx, got diff.Sum) error {
	switch {
	case tx.SumKnown && tx.Sum != got:
		return &MismatchError{TXID: tx.TXID, What: "transaction", Want: tx.Sum, Got: got}
	case !tx.SumKnown && tx.SumCut != got.Cut():
		return &MismatchError{TXID: tx.TXID, What: "transaction", Want: diff.Sum{Lo: uint64(tx.SumCut)}, Got: got, Cut: true}
	}
	return nil
}

// abandon forgets the pending pages; the state fails if others were changed.
func (s *State) abandon(c *change, err error) {
	for _, p := range s.pending {
		s.cache.release(p.buf)
	}
	s.pending = s.pending[:0]
	_ = s.failIf(c.touched, err)
}

func (s *State) failIf(touched bool, err error) error {
	if touched {
		return s.fail(err)
	}
	return err
}

// fail makes err the answer of every further call.
func (s *State) fail(err error) error {
	if s.err == nil {
		s.err = fmt.Errorf("state is unusable since transaction %d: %w", s.tx.TXID+1, err)
	}
	return err
}
