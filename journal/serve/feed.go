package serve

import (
	"context"
	"errors"
	"io"
	"sort"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/journal"
)

// batchBytes of patches make a batch: what a receiver has to keep until it may use it.
const batchBytes = 1 << 20

// pieceBytes is what a batch may take in memory; a larger one goes to a temporary file.
const pieceBytes = 4 << 20

// feed is a database that is served. The transactions that are in no sealed segment yet are made into batches once,
// for all who follow.
type feed struct {
	name  string
	trail *journal.Trail
	o     *Options

	mu     sync.Mutex
	users  int                // streams; under mu
	stop   context.CancelFunc // of the pump, while there are users; under mu
	done   chan struct{}      // closed when the pump has ended; under mu
	first  journal.TXID       // from it on transactions are in pieces; 0: not known yet; under mu
	pieces []*piece           // contiguous, ascending; under mu
	held   int64              // bytes of those; under mu
	total  int64              // bytes of patches of all pieces that ever were; under mu
	end    journal.Batch      // what the next piece continues; the pump's
	last   journal.Tx         // of the trail; under mu
	age    int                // how often the history was another than what was sent; under mu
	err    error              // of the last look at the trail; under mu
	news   chan struct{}      // closed at every change; under mu
}

// piece is a batch that is kept for all.
type piece struct {
	first, last journal.TXID
	size        int64
	bases       []journal.TXID // of records of kind Base in it
	upTo        int64          // feed.total with this piece
	data        *durable.Spool
	users       int // under the feed's mu: 1 for the feed, 1 for each stream that sends it
}

// join makes sure that the trail is looked at, until leave.
func (f *feed) join(ctx context.Context) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users++; f.users > 1 {
		return
	}
	before := f.done
	ctx, f.stop = context.WithCancel(context.WithoutCancel(ctx))
	f.done = make(chan struct{})
	go f.pump(ctx, before, f.done)
}

func (f *feed) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.users--; f.users == 0 {
		f.stop()
	}
}

// pump looks for new transactions for as long as somebody follows; then it gives up the memory.
func (f *feed) pump(ctx context.Context, before, done chan struct{}) {
	defer close(done)
	if before != nil {
		<-before
	}
	pace := pacer{o: f.o, wake: newWaker(f.trail.Dir()), pause: f.o.PollMin}
	defer pace.close()
	for ctx.Err() == nil {
		looked := time.Now()
		news, err := f.look(ctx)
		if ctx.Err() != nil {
			break // the last stream has gone; one that joins now waits for the next pump, and is not to hear why this one stops
		}
		f.mu.Lock()
		if f.err = err; news || err != nil {
			f.announce()
		}
		f.mu.Unlock()
		if err != nil {
			_ = pause.For(ctx, f.o.PollError)
			continue
		}
		pace.next(ctx, looked, news)
	}
	f.mu.Lock()
	f.reset()
	f.mu.Unlock()
}

// announce wakes those who wait. The caller holds mu.
func (f *feed) announce() {
	close(f.news)
	f.news = make(chan struct{})
}

// reset forgets all pieces. The caller holds mu.
func (f *feed) reset() {
	for _, p := range f.pieces {
		f.release(p)
	}
	f.first, f.pieces, f.held, f.err = 0, nil, 0, nil
}

// release gives up one use of a piece. The caller holds mu.
func (f *feed) release(p *piece) {
	if p.users--; p.users == 0 {
		_ = p.data.Close() // nothing in it is needed
	}
}

// look makes pieces of what is new in the trail.
func (f *feed) look(ctx context.Context) (news bool, err error) {
	if err := f.trail.Refresh(); err != nil {
		return false, err
	}
	last, err := f.trail.Last()
	if err != nil {
		return false, err
	}
	if f.first != 0 && last.TXID < f.end.Last {
		return f.turned(), nil
	}
	if f.first == 0 { // only the pump writes it
		if f.end, err = f.trail.Boundary(ctx, f.trail.Tail().First-1); err != nil {
			return false, err
		}
		f.mu.Lock()
		f.first, f.last = f.end.Last+1, last
		f.mu.Unlock()
		news = true
	}
	if f.end.Last < last.TXID && f.o.Sync != nil {
		if err := f.o.Sync(ctx, f.name); err != nil {
			return news, err
		}
	}
	for f.end.Last < last.TXID {
		p, err := f.make(ctx)
		if errors.Is(err, journal.ErrDiverged) || errors.Is(err, journal.ErrRange) {
			return f.turned(), nil
		}
		if err != nil {
			return news, err
		}
		f.add(p, last)
		news = true
	}
	return news, nil
}

// turned notes that the trail's writer took transactions back that were sent, as it does after a power cut.
func (f *feed) turned() (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reset()
	f.age++
	return true
}

func (f *feed) make(ctx context.Context) (*piece, error) {
	p := &piece{data: durable.NewSpool(durable.OS, f.o.TempDir, pieceBytes), users: 1}
	b, err := f.trail.WriteBatch(ctx, p.data, &f.end, 0, &journal.BatchOptions{Bytes: batchBytes})
	if err == nil {
		var s *journal.SegmentReader
		if s, err = journal.NewSegmentReader(p.data, b.Size, f.name); err == nil {
			p.bases = s.BaseRecords()
		}
	}
	if err != nil {
		return nil, errors.Join(err, p.data.Close())
	}
	p.first, p.last, p.size, p.upTo = b.First, b.Last, b.Size, b.RawBytes
	f.end = b
	return p, nil
}

// add keeps a piece, and lets the oldest go.
func (f *feed) add(p *piece, last journal.Tx) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total += p.upTo
	p.upTo = f.total
	f.pieces = append(f.pieces, p)
	f.last = last
	f.held += p.size
	for f.held > f.o.MemoryBytes && len(f.pieces) > 1 {
		f.held -= f.pieces[0].size
		f.release(f.pieces[0])
		f.pieces = f.pieces[1:]
	}
	f.announce()
}

// view is what a stream acts upon.
type view struct {
	piece  *piece       // that holds the transaction asked for; to be released
	first  journal.TXID // what is before is in files; 0: not known yet
	behind int64        // bytes of patches after piece, or in all pieces
	age    int
	err    error
	news   chan struct{}
}

func (f *feed) find(next journal.TXID) view {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := view{first: f.first, age: f.age, err: f.err, news: f.news}
	if len(f.pieces) == 0 {
		return v
	}
	v.first = f.pieces[0].first
	if next < v.first {
		v.behind = f.total
		return v
	}
	i := sort.Search(len(f.pieces), func(i int) bool { return f.pieces[i].last >= next })
	if i < len(f.pieces) {
		v.piece = f.pieces[i]
		v.piece.users++
		v.behind = f.total - v.piece.upTo
	}
	return v
}

// known is the last transaction of the trail when it was last looked at.
func (f *feed) known() journal.Tx {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.last
}

// sent gives up the piece of a view.
func (f *feed) sent(p *piece) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.release(p)
}

func (p *piece) reader() io.Reader { return io.NewSectionReader(p.data, 0, p.size) }
