package apply

import (
	"context"
	"errors"
	"fmt"
	"io"

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

	cache cache
	tx    journal.Tx // the last transaction; PageSize and PageCount are the state's
	sum   diff.Sum
	err   error // final

	applied  func(journal.TXID) error // after each transaction, if set
	current  change                   // being applied, between the batches of a stream
	ahead    *ahead                   // what of the next transactions has been applied; nil: nothing
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
	file, err := durable.Scratch(opt.FS, opt.Dir, 0o600)
	if err != nil {
		return nil, err
	}
	return newState(file, opt), nil
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

// syncEarly has the file synced while it is being written: it will be somebody's output.
func (s *State) syncEarly() { s.cache.early = &earlySync{file: s.cache.file} }

// Close gives up the state and removes its scratch file.
func (s *State) Close() error {
	if s.cache.file == nil {
		return nil
	}
	s.cache.back.stop()
	_ = s.cache.early.wait() // restore has asked for its error, or failed
	err := s.cache.file.Close()
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
