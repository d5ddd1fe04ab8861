package apply

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// Load makes the state that of a base, whatever it was before. The blocks of
// the base are decoded, hashed and written by all cores. The checksum must be
// the one that the base states; after an error the state is unusable.
func (s *State) Load(ctx context.Context, base *journal.BaseReader) error {
	return s.load(ctx, base, nil)
}

// load is Load. If there are transactions ahead, what is in the file then has
// their early patches, and they have to be replayed next.
func (s *State) load(ctx context.Context, base *journal.BaseReader, a *ahead) error {
	if s.err != nil {
		return s.err
	}
	info := base.Info()
	tx := txOfBase(&info)
	if err := checkSize(&tx); err != nil {
		return corrupt(info.Name, info.TXID, err)
	}
	c := change{tx: tx}
	if err := s.empty(&c); err != nil {
		return s.fail(err)
	}
	size := int64(info.PageCount) * int64(info.PageSize)
	put := func(first uint32, pages []byte) error {
		if a != nil {
			if err := a.apply(first, pages); err != nil {
				return err
			}
		}
		if allZero(pages) {
			return nil // stays a hole
		}
		s.cache.early.wrote(len(pages))
		return writePieces(s.cache.file, pages, int64(first-1)*int64(info.PageSize))
	}
	sum, err := readBase(ctx, base, put, func(done int64) {
		s.progress.report(Progress{Phase: PhaseBase, Bytes: done, BytesTotal: size}, done == size)
	})
	if err != nil {
		return s.fail(err)
	}
	// The workers wrote past the cache, which only now learns the size.
	if err := s.cache.file.Truncate(size); err != nil {
		return s.fail(err)
	}
	s.cache.size = size
	s.tx, s.sum = tx, sum
	if a != nil {
		a.loaded()
	}
	return nil
}

// replaceByBase applies a Base record: the state is what the base of the same
// TXID holds.
func (s *State) replaceByBase(ctx context.Context, c *change) error {
	tx := &c.tx
	if s.bases == nil {
		return fmt.Errorf("transaction %d begins with a base, and no source of bases was given", tx.TXID)
	}
	base, err := s.bases.OpenBase(tx.TXID)
	if err != nil {
		return fmt.Errorf("transaction %d begins with a base: %w", tx.TXID, err)
	}
	defer base.Close()
	info := base.Info()
	if info.PageSize != tx.PageSize || info.PageCount != tx.PageCount {
		return corrupt(info.Name, tx.TXID, fmt.Errorf("base has %d pages of %d bytes, its transaction says %d of %d",
			info.PageCount, info.PageSize, tx.PageCount, tx.PageSize))
	}
	if err := CompareSum(tx, info.Sum); err != nil {
		return err
	}
	if err := s.Load(ctx, base); err != nil {
		return err
	}
	s.tx = *tx
	return nil
}

// readBase hands every block of a base to put, from all cores at once and in
// no order, and returns the checksum of its pages, which is the one that the
// base states. put must be safe for concurrent use; done is told bytes.
func readBase(ctx context.Context, base *journal.BaseReader, put func(first uint32, pages []byte) error, done func(int64)) (diff.Sum, error) {
	info := base.Info()
	r := baseRead{base: base, info: info, put: put, done: done, lock: diff.LockPage(info.PageSize)}
	var wg sync.WaitGroup
	size := int64(info.PageCount) * int64(info.PageSize)
	for range min(runtime.GOMAXPROCS(0), max(base.Blocks(), 1)) {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	if r.err != nil {
		return diff.Sum{}, r.err
	}
	done(size)
	if r.sum != info.Sum {
		return diff.Sum{}, &MismatchError{TXID: info.TXID, What: "base", Want: info.Sum, Got: r.sum}
	}
	return r.sum, nil
}

// baseRead is what the workers of readBase share.
type baseRead struct {
	base *journal.BaseReader
	info journal.BaseInfo
	put  func(first uint32, pages []byte) error
	done func(int64)
	lock uint32

	next atomic.Int64 // block to take
	stop atomic.Bool  // somebody failed

	mu    sync.Mutex
	bytes int64    // under mu
	sum   diff.Sum // under mu
	err   error    // under mu; the first
}

// work takes blocks until there are none or somebody failed.
func (r *baseRead) work(ctx context.Context) {
	var buf []byte
	for !r.stop.Load() {
		i := int(r.next.Add(1)) - 1
		if i >= r.base.Blocks() {
			return
		}
		if ctx.Err() != nil {
			r.fail(context.Cause(ctx))
			return
		}
		first, pages, err := r.base.ReadBlock(i, buf)
		if err != nil {
			r.fail(err)
			return
		}
		buf = pages
		sum, err := r.block(first, pages)
		if err != nil {
			r.fail(err)
			return
		}
		r.mu.Lock()
		r.sum = r.sum.Add(sum)
		r.bytes += int64(len(pages))
		bytes := r.bytes
		r.mu.Unlock()
		r.done(bytes)
	}
}

// block checks where a block's pages lie, hashes them and hands them on.
// Pages missing or there twice are found by the checksum.
func (r *baseRead) block(first uint32, pages []byte) (diff.Sum, error) {
	size := r.info.PageSize
	n := len(pages) / size
	last := uint64(first) + uint64(n) - 1
	if first == 0 || len(pages)%size != 0 || last > uint64(r.info.PageCount) ||
		n > 0 && uint64(first) <= uint64(r.lock) && uint64(r.lock) <= last {
		return diff.Sum{}, corrupt(r.info.Name, r.info.TXID, fmt.Errorf("block of %d bytes at page %d of %d", len(pages), first, r.info.PageCount))
	}
	var sum diff.Sum
	for i := range n {
		sum = sum.Add(diff.PageSum(first+uint32(i), pages[i*size:(i+1)*size]))
	}
	return sum, r.put(first, pages)
}

func (r *baseRead) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
	r.stop.Store(true)
}

// zeros is read by all and written by none.
var zeros [4096]byte

// allZero says that b holds nothing but zeros.
func allZero(b []byte) bool {
	for len(b) > 0 {
		n := min(len(b), len(zeros))
		if !bytes.Equal(b[:n], zeros[:n]) {
			return false
		}
		b = b[n:]
	}
	return true
}
