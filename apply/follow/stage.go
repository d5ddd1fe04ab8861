package follow

import (
	"context"
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// cacheBytes bounds the pages that are kept after their commit, because the
// next transaction is likely to patch them again.
const cacheBytes = 8 << 20

// stage is the state after the transactions of a batch: verified, in memory,
// and not yet in any file.
type stage struct {
	r     *Replica
	pos   mark // after the last transaction accepted
	size  int  // of a page, in bytes
	count uint32
	txs   int                // accepted since the last commit
	pages map[uint32]*staged // accepted, and some that were committed before
	dirty []uint32           // keys of pages that are not committed yet, each once
	free  [][]byte
	zero  []byte

	scratch scratch

	// The transaction that is being decoded.
	dec   diff.Decoder
	delta diff.Sum
	pend  []staged
	// pending is about how many bytes of pend are in memory.
	pending int
	old     [][]byte // for dec; those that were read are in read as well
	out     [][]byte
	read    [][]byte
}

// staged is a page and its content: in buf, or in the scratch file at at, or,
// with neither, zero.
type staged struct {
	no    uint32
	dirty bool
	buf   []byte
	at    int64
}

// reset makes the stage the committed state of r.
func (s *stage) reset(r *Replica) {
	s.r, s.pos, s.txs = r, r.pos, 0
	s.resize(r.hdr.PageSize, r.hdr.PageCount)
}

// resize forgets all pages, for another page size.
func (s *stage) resize(size int, count uint32) {
	s.count = count
	s.pages, s.dirty = map[uint32]*staged{}, s.dirty[:0]
	_ = s.scratch.close() // nothing in it is needed
	if size != s.size {
		s.size, s.free = size, nil
		s.zero = make([]byte, size)
	}
}

func (s *stage) buffer() []byte {
	if n := len(s.free); n > 0 {
		b := s.free[n-1]
		s.free = s.free[:n-1]
		return b
	}
	return make([]byte, s.size)
}

func (s *stage) recycle(b []byte) {
	if b != nil && len(b) == s.size && len(s.free) < 1024 {
		s.free = append(s.free, b)
	}
}

// page is the content of a page as of the stage, valid until the next accept.
func (s *stage) page(no uint32) ([]byte, error) {
	if p := s.pages[no]; p != nil {
		if p.at == 0 {
			return s.content(p, nil)
		}
		b := s.buffer()
		s.read = append(s.read, b)
		return s.content(p, b)
	}
	b := s.buffer()
	s.read = append(s.read, b)
	return b, s.r.readPage(no, b)
}

// add decodes one transaction, checks that its outcome is the state that its
// record says, and only then makes it part of the stage. After an error the
// stage is what it was. A transaction with another page size needs a stage
// without uncommitted transactions.
func (s *stage) add(ctx context.Context, rec *journal.Record) error {
	tx := &rec.Tx
	if tx.First() <= s.pos.TXID && s.pos.TXID < tx.TXID {
		return &journal.FoldedError{Want: s.pos.TXID, Before: tx.First() - 1, After: tx.TXID}
	}
	if tx.First() != s.pos.TXID+1 {
		return fmt.Errorf("transaction %d follows %d: %w", tx.TXID, s.pos.TXID, journal.ErrGap)
	}
	if tx.PageCount == 0 || !sqlitefile.ValidPageSize(tx.PageSize) {
		return fmt.Errorf("transaction %d: %d pages of %d bytes: no reader could be shown that: %w", tx.TXID, tx.PageCount, tx.PageSize, journal.ErrCorrupt)
	}
	size, count := s.size, s.count
	err := s.decode(ctx, rec)
	if err == nil {
		err = matches(tx, s.pos.Sum.Add(s.delta))
	}
	if err != nil {
		s.abandon()
		if s.size != size {
			s.resize(size, count)
		}
		return err
	}
	s.accept(tx)
	return nil
}

// matches compares a state checksum with what a transaction says.
func matches(tx *journal.Tx, got diff.Sum) error {
	if tx.SumKnown && tx.Sum != got {
		return &apply.MismatchError{TXID: tx.TXID, What: "transaction", Want: tx.Sum, Got: got}
	}
	if !tx.SumKnown && tx.SumCut != got.Cut() {
		return &apply.MismatchError{TXID: tx.TXID, What: "transaction", Want: diff.Sum{Lo: uint64(tx.SumCut)}, Got: got, Cut: true}
	}
	return nil
}

// decode fills pend with the new content of every page that the transaction
// changes or adds, and delta with the difference to the state checksum.
func (s *stage) decode(ctx context.Context, rec *journal.Record) error {
	s.delta, s.pending = diff.Sum{}, 0
	lock := diff.LockPage(rec.PageSize)
	kept := min(s.count, rec.PageCount)
	if rec.PageSize != s.size {
		if s.txs > 0 {
			panic("follow: the page size changes in the middle of a batch")
		}
		s.delta = s.delta.Sub(s.pos.Sum)
		s.resize(rec.PageSize, 0)
		kept = 0
	}
	for no := s.count; no > kept; no-- {
		if no == lock {
			continue
		}
		if no%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		b, err := s.page(no)
		if err != nil {
			return err
		}
		s.delta = s.delta.Sub(diff.PageSum(no, b))
		s.forgetRead()
	}
	next := uint64(kept) + 1 // first new page that is not accounted for
	for body, err := range rec.Groups() {
		if err != nil {
			return err
		}
		if err := s.group(ctx, rec, body, kept, &next); err != nil {
			return err
		}
	}
	return s.zeros(ctx, uint64(rec.PageCount)+1, lock, &next)
}

// group decodes one group of patches.
func (s *stage) group(ctx context.Context, rec *journal.Record, body diff.Body, kept uint32, next *uint64) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("transaction %d: %s: %w", rec.TXID, fmt.Sprintf(format, args...), journal.ErrCorrupt)
	}
	if err := s.dec.Load(body, rec.PageSize); err != nil {
		return bad("%v", err)
	}
	lock, last := diff.LockPage(rec.PageSize), uint32(0)
	if n := len(s.pend); n > 0 {
		last = s.pend[n-1].no
	}
	s.old, s.out = s.old[:0], s.out[:0]
	for _, ref := range s.dec.Pages() {
		if ref.No <= last || ref.No > rec.PageCount || ref.No == lock {
			return bad("page %d patched after page %d, in a database of %d pages", ref.No, last, rec.PageCount)
		}
		last = ref.No
		old := s.zero
		if ref.No <= kept {
			var err error
			if old, err = s.page(ref.No); err != nil {
				return err
			}
			s.delta = s.delta.Sub(diff.PageSum(ref.No, old))
		} else {
			if err := s.zeros(ctx, uint64(ref.No), lock, next); err != nil {
				return err
			}
			*next = uint64(ref.No) + 1
		}
		if ref.Full {
			old = nil
		}
		buf := s.buffer()
		s.pend = append(s.pend, staged{no: ref.No, buf: buf})
		s.old, s.out = append(s.old, old), append(s.out, buf)
	}
	s.dec.Decode(s.out, s.old)
	for i, ref := range s.dec.Pages() {
		s.delta = s.delta.Add(diff.PageSum(ref.No, s.out[i]))
	}
	s.forgetRead()
	return s.spillPending()
}

// zeros adds the new pages before no that nothing patches. They are written
// like any other: what an older WAL frame or the database file has in their
// place is not zero.
func (s *stage) zeros(ctx context.Context, no uint64, lock uint32, next *uint64) error {
	for ; *next < no; *next++ {
		if *next%1024 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if uint32(*next) != lock {
			s.delta = s.delta.Add(diff.PageSum(uint32(*next), s.zero))
			s.pend = append(s.pend, staged{no: uint32(*next)})
		}
	}
	return nil
}

func (s *stage) forgetRead() {
	for _, b := range s.read {
		s.recycle(b)
	}
	s.read = s.read[:0]
}

// abandon forgets the transaction that is being decoded.
func (s *stage) abandon() {
	for _, p := range s.pend {
		s.recycle(p.buf)
	}
	s.pend = s.pend[:0]
	s.forgetRead()
}

// accept makes the decoded transaction part of the stage.
func (s *stage) accept(tx *journal.Tx) {
	for _, p := range s.pend {
		s.put(p)
	}
	s.pend = s.pend[:0]
	if tx.PageCount < s.count {
		s.drop(tx.PageCount)
	}
	s.count = tx.PageCount
	s.pos.TXID, s.pos.Sum, s.pos.time = tx.TXID, s.pos.Sum.Add(s.delta), tx.Time
	s.r.past.note(s.pos.TXID, s.pos.Sum)
	if id := s.r.src.Identity(); id.Parent == nil || tx.TXID > id.Parent.TXID {
		s.pos.Timeline = id.Timeline // what is before that is of an earlier one
	}
	s.txs++
}

// put gives a page new content; the buffer is the stage's from now on.
func (s *stage) put(page staged) {
	p := s.pages[page.no]
	if p == nil {
		p = &staged{no: page.no}
		s.pages[page.no] = p
	}
	s.recycle(p.buf)
	p.buf, p.at = page.buf, page.at
	if !p.dirty {
		p.dirty = true
		s.dirty = append(s.dirty, page.no)
	}
}

// drop forgets the pages beyond a new end.
func (s *stage) drop(count uint32) {
	for no, p := range s.pages {
		if no > count {
			s.recycle(p.buf)
			delete(s.pages, no)
		}
	}
	kept := s.dirty[:0]
	for _, no := range s.dirty {
		if no <= count {
			kept = append(kept, no)
		}
	}
	s.dirty = kept
}

// committed keeps the pages as a cache, while they are few.
func (s *stage) committed() {
	s.txs = 0
	if len(s.pages)*s.size > cacheBytes || s.scratch.f != nil {
		for _, p := range s.pages {
			s.recycle(p.buf)
		}
		clear(s.pages)
	}
	for _, no := range s.dirty {
		if p := s.pages[no]; p != nil {
			p.dirty = false
		}
	}
	s.dirty = s.dirty[:0]
	_ = s.scratch.close() // nothing in it is needed
}

// isMismatch says that a transaction did not lead to the state it should.
func isMismatch(err error) bool {
	var m *apply.MismatchError
	return errors.As(err, &m)
}
