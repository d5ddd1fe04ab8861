package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// defaultCacheBytes is the page cache's budget unless told otherwise. It holds
// the old and the new pages of the largest group of patches, 16 MiB each.
const defaultCacheBytes = 32 << 20

// checkEvery is how many pages a loop may handle between two looks at its
// context.
const checkEvery = 1024

// BaseSource opens bases by their TXID; a [*journal.Trail] is one.
type BaseSource interface {
	OpenBase(id journal.TXID) (*journal.BaseReader, error)
}

var _ BaseSource = (*journal.Trail)(nil)

// StateOptions for OpenState; nil means defaults.
type StateOptions struct {
	// FS is the file system of the scratch file; default durable.OS.
	FS durable.FS
	// Dir is where the scratch file is made; default os.TempDir().
	Dir string
	// CacheBytes is the budget of the page cache, in bytes; default 32 MiB.
	// Below that, a large transaction may exceed it while it is decoded.
	CacheBytes int
	// Bases is asked for the base of a Base record; default none, and such a
	// record is an error.
	Bases BaseSource
	// Changed, if set, is told every page that a transaction changes, before
	// the page is replaced: its old content (nil: the page is new) and its new
	// one, valid during the call. A transaction of one group has been checked
	// by then; a larger one may still fail, and so fail the State. Pages that
	// a shorter database loses, pages that come with a base, and new pages
	// that no patch mentions (they are zero) are not told.
	Changed func(tx *journal.Tx, no uint32, old, new []byte)
}

// State is a database at one transaction: its pages in a scratch file, behind
// a cache, and the checksum of them all. It begins as the empty database at
// TXID 0. Apply moves it forward by one transaction, Load to a base.
//
// After an error that left pages half changed every further call returns that
// error; Close is still needed. Not safe for concurrent use.
type State struct {
	fs     durable.FS
	budget int
	bases  BaseSource
	told   func(tx *journal.Tx, no uint32, old, new []byte)
	remove bool // the scratch file at Close

	cache cache
	tx    journal.Tx // the last transaction; PageSize and PageCount are the state's
	sum   diff.Sum
	err   error // final

	applied  func(journal.TXID) error // after each transaction, if set
	current  change                   // being applied, between the batches of a stream
	dec      diff.Decoder
	old, out [][]byte // for dec
	pending  []pendingPage
	scratch  []byte // one page
	zero     []byte // one page
	progress *meter
	source   string // whose records these are, for errors
}

// pendingPage is a decoded page that is not yet part of the state.
type pendingPage struct {
	no  uint32
	at  int32 // cache entry of the old content, -1 for a new page
	buf []byte
	sum diff.Sum
}

// OpenState begins an empty database in a new scratch file.
func OpenState(o *StateOptions) (*State, error) {
	var opt StateOptions
	if o != nil {
		opt = *o
	}
	if opt.FS == nil {
		opt.FS = durable.OS
	}
	file, err := createScratch(opt.FS, opt.Dir)
	if err != nil {
		return nil, err
	}
	s := newState(file, opt)
	s.remove = true
	return s, nil
}

// newState makes a State of an empty file, which it owns.
func newState(file durable.File, o StateOptions) *State {
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	s := &State{fs: o.FS, budget: o.CacheBytes, bases: o.Bases, told: o.Changed}
	s.cache.file = file
	return s
}

// Close gives up the state and removes its scratch file.
func (s *State) Close() error {
	if s.cache.file == nil {
		return nil
	}
	s.cache.back.stop()
	err := s.cache.file.Close()
	if s.remove {
		err = errors.Join(err, s.fs.Remove(s.cache.file.Name()))
	}
	s.cache = cache{}
	if s.err == nil {
		s.err = errors.New("state is closed")
	}
	return err
}

// Tx describes the last transaction applied; TXID 0 before any. Sum is always
// known. After Load only what the base says is set.
func (s *State) Tx() journal.Tx {
	tx := s.tx
	tx.Sum, tx.SumKnown, tx.SumCut = s.sum, true, s.sum.Cut()
	return tx
}

// TXID is the number of the last transaction applied.
func (s *State) TXID() journal.TXID { return s.tx.TXID }

// Sum is the state checksum.
func (s *State) Sum() diff.Sum { return s.sum }

// PageSize in bytes; 0 while nothing has been applied.
func (s *State) PageSize() int { return s.tx.PageSize }

// PageCount is the size of the database in pages, the lock-byte page included.
func (s *State) PageCount() uint32 { return s.tx.PageCount }

// Size of the database file in bytes.
func (s *State) Size() int64 { return int64(s.tx.PageCount) * int64(s.tx.PageSize) }

// ReadPage copies page no into b, which is of page size. The lock-byte page
// reads as zero.
func (s *State) ReadPage(no uint32, b []byte) error {
	if s.err != nil {
		return s.err
	}
	if no == 0 || no > s.tx.PageCount || len(b) != s.tx.PageSize {
		return fmt.Errorf("read page %d into %d bytes: the state has %d pages of %d bytes", no, len(b), s.tx.PageCount, s.tx.PageSize)
	}
	if i, ok := s.cache.byNo[no]; ok {
		copy(b, s.cache.entries[i].buf)
		return nil
	}
	return s.cache.readInto(no, b)
}

// Apply makes the state that of the next transaction, and checks that it is
// the state which the record says: its 4-byte cut, and the whole checksum
// where the record has it. The error is a *MismatchError, a *journal.Error
// (gap, corruption) or what the scratch file's file system said. A
// transaction of one group that fails the check leaves the state as it was.
func (s *State) Apply(ctx context.Context, rec *journal.Record) error {
	c, err := s.begin(ctx, &rec.Tx)
	if err != nil {
		return err
	}
	if rec.Kind != journal.Base {
		for body, err := range rec.Groups() {
			if err != nil {
				s.abandon(&c, err)
				return err
			}
			if err := s.group(ctx, &c, body); err != nil {
				return err
			}
		}
	}
	return s.finish(ctx, &c)
}

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
	if tx.TXID != s.tx.TXID+1 {
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
	if err := compare(&c.tx, sum); err != nil {
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
func compare(tx *journal.Tx, got diff.Sum) error {
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

// Flush writes every page to the scratch file and gives it its exact size.
func (s *State) Flush(ctx context.Context) error {
	if s.err != nil {
		return s.err
	}
	if err := s.cache.flush(ctx); err != nil {
		return s.fail(err) // some pages no longer count as dirty
	}
	if s.cache.size != s.Size() {
		if err := s.cache.file.Truncate(s.Size()); err != nil {
			return err
		}
		s.cache.size = s.Size()
	}
	return nil
}

// WriteTo streams the database's bytes, all of them, to w.
func (s *State) WriteTo(w io.Writer) (int64, error) {
	return s.writeTo(context.Background(), w)
}

func (s *State) writeTo(ctx context.Context, w io.Writer) (int64, error) {
	if err := s.Flush(ctx); err != nil {
		return 0, err
	}
	buf := make([]byte, slabBytes)
	size := s.Size()
	for done := int64(0); done < size; {
		if ctx.Err() != nil {
			return done, context.Cause(ctx)
		}
		b := buf[:min(int64(len(buf)), size-done)]
		if _, err := s.cache.file.ReadAt(b, done); err != nil {
			return done, err
		}
		n, err := w.Write(b)
		done += int64(n)
		if err != nil {
			return done, err
		}
		s.progress.report(Progress{Phase: PhaseCopy, Bytes: done, BytesTotal: size}, done == size)
	}
	return size, nil
}
