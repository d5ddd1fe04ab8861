package journal

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// ReadOptions for Open; nil means defaults.
type ReadOptions struct {
	FS durable.FS // default durable.OS

	// Damaged opens a trail whose end is damaged as if it ended before the damage, which Trail.Damage then tells,
	// and Verify returns. Without it, damage of the tail is an error of Open and Refresh.
	Damaged bool

	// Catalog, if set, says what is known of a sealed segment without opening it, as its footer would. Window,
	// Segments and Points then open only those that it does not know enough of.
	Catalog func(first TXID) (Listed, bool)

	// Reading, if set, is told when transactions begin to be read one after the other, up to which, and with 0 that this
	// has ended: for whoever fetches files before they are asked for. Several may be read at the same time.
	Reading func(to TXID)
}

// Listed is what a catalog says of a sealed segment.
type Listed struct {
	Info   SegmentInfo
	Points int    // how many restore points are in it; which, only the segment says
	Bases  []TXID // records of Kind Base
}

// Trail reads a trail directory, also while another process appends to it. It takes no lock and changes
// nothing. It answers from what it saw at Open or the last Refresh. Safe for concurrent use; several
// iterations may run at the same time.
type Trail struct {
	fs      durable.FS
	dir     string
	damaged bool // ReadOptions.Damaged
	catalog func(TXID) (Listed, bool)
	reading func(to TXID)
	id      atomic.Pointer[Identity] // replaced by reopen

	mu     sync.Mutex // for what follows
	tail   *tail
	failed error // of the last Refresh: tail is not to be used then
	names  *listing
	stale  bool                  // names may be out of date
	sealed map[TXID]*segmentMeta // of those looked at
	closed bool
}

// Open opens a trail: it reads the directory and the tail, and no sealed segment, so it takes
// milliseconds however long the history is. ErrNotFound when dir is no trail. A torn tail is no error.
func Open(dir string, o *ReadOptions) (*Trail, error) {
	t := &Trail{fs: durable.OS, dir: dir, sealed: map[TXID]*segmentMeta{}}
	if o != nil {
		t.damaged, t.catalog, t.reading = o.Damaged, o.Catalog, o.Reading
		if o.FS != nil {
			t.fs = o.FS
		}
	}
	id, err := readIdentity(t.fs, dir)
	if err != nil {
		return nil, err
	}
	if id.Common != nil {
		if t.fs, err = newAsideFS(t.fs, dir, &id); err != nil {
			return nil, err
		}
	}
	if t.names, t.tail, err = t.load(&id); err != nil {
		return nil, err
	}
	t.id.Store(&id)
	return t, nil
}

// load reads directory and tail of the trail of that identity, and the identity again when a fork came between.
func (t *Trail) load(id *Identity) (names *listing, last *tail, err error) {
	for {
		if names, err = list(t.fs, t.dir); err == nil {
			last, err = t.opener(id).last(names)
		}
		if !errors.Is(err, ErrForeign) {
			return names, last, err
		}
		now, ierr := readIdentity(t.fs, t.dir)
		if ierr != nil || now.Database != id.Database || now.Timeline <= id.Timeline {
			return names, last, err
		}
		*id = now
	}
}

// Close releases what the trail holds open. Iterations under way go on.
func (t *Trail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	return t.tail.close()
}

// Dir is the directory as given to Open.
func (t *Trail) Dir() string { return t.dir }

// Identity is what the identity file said at Open, or when a Refresh found the tail gone and read it again.
func (t *Trail) Identity() Identity { return *t.id.Load() }

// Refresh looks again at the tail's end, and lets the directory be read again when it is next needed.
// With nothing new it costs an fstat, a stat and a read of 32 bytes. After an error, which every other
// method returns too from then on, the next Refresh begins anew.
func (t *Trail) Refresh() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return fs.ErrClosed
	}
	t.stale = true
	if t.failed == nil {
		if _, err := t.fs.Stat(t.tail.path); err == nil {
			before := t.tail.st.txid
			t.failed = t.refresh()
			if !errors.Is(t.failed, ErrForeign) && (t.failed != nil || t.tail.st.txid >= before) {
				return t.failed
			}
			// Transactions were taken back, or the tail is of a later timeline: it may be another's history now.
		}
	}
	t.failed = t.reopen()
	return t.failed
}

func (t *Trail) refresh() error {
	if _, err := t.tail.refresh(); err != nil {
		return err
	}
	o := t.opener(t.id.Load())
	tail, err := o.follow(t.tail)
	if err != nil {
		t.tail = nil // follow closed it
		return err
	}
	t.tail = tail
	return o.previous(tail) // its writer may have cut it to nothing
}

// reopen begins anew: the tail was taken away, or could not be followed.
func (t *Trail) reopen() error {
	id, err := readIdentity(t.fs, t.dir)
	if err != nil {
		return err
	}
	if old := t.id.Load(); id.Database != old.Database {
		return &Error{Path: t.dir, Offset: -1, Hint: "open it anew", Err: because(ErrForeign, "the trail was replaced by one of database %v", id.Database)}
	}
	names, tail, err := t.load(&id)
	if err != nil {
		return err
	}
	old := t.tail
	t.id.Store(&id)
	t.names, t.tail, t.stale = names, tail, false
	clear(t.sealed)
	return old.close()
}

// listed is the directory, read again when it may have changed. The caller holds mu. A tail beyond the names is
// one that came up after they were read, and others may have before it.
func (t *Trail) listed() (*listing, error) {
	if n := len(t.names.segments); t.stale || n == 0 || t.names.segments[n-1] < t.tail.hdr.first {
		names, err := list(t.fs, t.dir)
		if err != nil {
			return nil, err
		}
		t.names, t.stale = names, false
	}
	return t.names, nil
}

// usable says why the tail cannot be used. The caller holds mu.
func (t *Trail) usable() error {
	if t.closed {
		return fs.ErrClosed
	}
	return t.failed
}

// view is a moment's knowledge, for work without the lock.
type view struct {
	names  *listing
	first  TXID // of the tail
	last   Tx
	end    int64 // of the tail's whole blocks
	marks  []mark
	damage error // what is wrong behind them, with ReadOptions.Damaged
}

func (t *Trail) view() (*view, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return nil, err
	}
	names, err := t.listed()
	if err != nil {
		return nil, err
	}
	v := &view{names: names, first: t.tail.hdr.first, last: t.tail.last, end: t.tail.end, damage: t.tail.damage}
	v.marks = slices.Clone(t.tail.marks)
	return v, nil
}

// Last is the last committed transaction (TXID 0 when there is none). When the tail has none yet it is
// the last of the segment before; where that was pruned, only TXID, Time, PageSize, PageCount and Sum are set.
func (t *Trail) Last() (Tx, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return Tx{}, err
	}
	return t.tail.last, nil
}

// Position is that of Last.
func (t *Trail) Position() (Position, error) {
	tx, err := t.Last()
	id := t.id.Load()
	return Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: tx.Sum}, err
}

// Torn describes what follows the last whole block of the tail: nil when nothing does. With a live
// writer it may be a block that is just being written; otherwise it is what a crash left, and the next
// Writer.Lock cuts it.
func (t *Trail) Torn() *Error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return nil
	}
	return t.tail.torn
}

// Damage says what is wrong with the end of a trail that was opened with ReadOptions.Damaged; nil when nothing is.
func (t *Trail) Damage() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return t.failed
	}
	return t.tail.damage
}

// Undecided is the prepared transaction at the tail's end that is neither confirmed nor dropped, nil
// when there is none. It is not part of the history.
func (t *Trail) Undecided() *Tx {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil || t.tail.undecided == nil {
		return nil
	}
	tx := *t.tail.undecided
	return &tx
}

// held is the range of transactions that the view's files hold.
func (v *view) held(want TXID) *RangeError {
	e := &RangeError{Want: want, First: 1, Last: v.last.TXID}
	if len(v.names.segments) > 0 {
		e.First = v.names.segments[0]
	}
	return e
}

// Find returns one transaction: *RangeError when the trail does not have it, *FoldedError when it was folded into a
// later one.
func (t *Trail) Find(ctx context.Context, id TXID) (Tx, error) {
	v, err := t.view()
	if err != nil {
		return Tx{}, err
	}
	if e := v.held(id); id < e.First || id > e.Last {
		return Tx{}, e
	}
	for r, err := range t.records(ctx, v, id, id) {
		if err != nil {
			return Tx{}, err
		}
		if r.TXID != id {
			return Tx{}, &FoldedError{Want: id, Before: r.First() - 1, After: r.TXID}
		}
		return r.Tx, nil
	}
	return Tx{}, v.held(id)
}
