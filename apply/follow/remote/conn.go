package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// queued is how many batches may be waiting to be applied; the network waits when there are more.
const queued = 4

// memoryBytes is what a batch or a base may take in memory; a larger one goes to a temporary file.
const memoryBytes = 4 << 20

// item is something that came: a batch, a base, or neither at the end of the stream.
type item struct {
	seg  *journal.SegmentReader
	base *journal.BaseReader
	data *durable.Spool
}

func (i *item) close() {
	if i != nil && i.data != nil {
		_ = i.data.Close() // nothing in it is needed
	}
}

// conn is one stream that is being read, by a goroutine of its own.
type conn struct {
	s      *Source
	ctx    context.Context // of the stream
	cancel context.CancelCauseFunc
	items  chan *item    // closed when nothing more comes
	err    error         // why; to be read after items is closed
	done   chan struct{} // closed with items
	pos    journal.TXID  // the transaction after the last batch taken; 0: not known yet

	mu    sync.Mutex
	heard Heard         // under mu
	news  chan struct{} // closed at every change; under mu
}

// Heard is what a stream said last.
type Heard struct {
	Last   journal.TXID  // that the sender's trail has
	Time   journal.Time  // of that transaction, by the primary's clock
	Behind int64         // about how many bytes of patches the sender had after what it sent
	At     time.Time     // when it was heard; zero: nothing was yet
	Skew   time.Duration // what the sender's clock was ahead by then, at least in part the time the frame took
}

// start reads the stream that body is. after is the transaction that it begins after, if that is known.
func (s *Source) start(ctx context.Context, cancel context.CancelCauseFunc, body io.ReadCloser, after journal.TXID, known bool) *conn {
	c := &conn{s: s, ctx: ctx, cancel: cancel, items: make(chan *item, queued), done: make(chan struct{}), news: make(chan struct{})}
	if known {
		c.pos = after + 1
	}
	go func() {
		err := c.read(body)
		if errors.Is(err, context.Canceled) {
			err = context.Cause(ctx)
		}
		if e := body.Close(); err == nil {
			err = e
		}
		c.err = err
		close(c.items)
		close(c.done)
		c.tell(nil) // last: who is woken by it looks whether it is done, and is not woken again
	}()
	return c
}

// tell wakes who waits for news; h, if not nil, is what was heard.
func (c *conn) tell(h *Heard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h != nil {
		c.heard = *h
	}
	close(c.news)
	c.news = make(chan struct{})
}

func (c *conn) listen() (Heard, chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard, c.news
}

// stop ends the stream, and waits until nobody reads it any more.
func (c *conn) stop() {
	c.cancel(context.Canceled)
	for i := range c.items {
		i.close()
	}
	<-c.done
}

// errSilent ends a connection on which nothing came.
var errSilent = errors.New("the server has fallen silent")

// watched is a stream that must not be silent for longer than limit.
type watched struct {
	r     io.Reader
	timer *time.Timer
	limit time.Duration
}

func (w *watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 && w.limit > 0 {
		w.timer.Reset(w.limit)
	}
	return n, err
}

func (c *conn) read(body io.Reader) error {
	w := &watched{r: body, limit: c.s.o.Silence}
	w.timer = time.AfterFunc(w.limit, func() { c.cancel(errSilent) })
	defer w.timer.Stop()
	r, err := serve.NewReader(w)
	if err != nil {
		return err
	}
	head := r.Head()
	if err := c.s.recognise(head.Database, head.Timeline); err != nil {
		return err
	}
	w.limit = 3*head.Heartbeat + time.Second
	if head.Heartbeat == 0 {
		w.limit = 0
		w.timer.Stop()
	}
	for {
		f, content, err := r.Next()
		if err != nil {
			return err
		}
		now := time.Now()
		h := &Heard{Last: f.Last, Time: f.Time, Behind: f.Behind, At: now, Skew: f.Clock.Time().Sub(now)}
		switch f.Kind {
		case serve.Ended:
			c.tell(h)
			return io.EOF
		case serve.Failed:
			text, err := io.ReadAll(content)
			if err != nil {
				return err
			}
			return serve.ParseProblem(text)
		case serve.Heartbeat:
			c.tell(h)
			continue
		}
		i, err := c.s.take(c.ctx, f, content)
		if err != nil {
			return err
		}
		c.items <- i // stop takes what nobody wants
		c.tell(h)
	}
}

// take reads the content of a frame, all of it, and looks whether it is what it should be.
func (s *Source) take(ctx context.Context, f serve.Frame, content io.Reader) (*item, error) {
	i := &item{data: durable.NewSpool(durable.OS, s.o.TempDir, memoryBytes)}
	n, err := io.Copy(i.data, content)
	if err == nil && n < f.Size {
		err = io.ErrUnexpectedEOF
	}
	if err == nil && f.Kind == serve.Batch {
		if i.seg, err = journal.NewSegmentReader(i.data, f.Size, s.name); err == nil {
			err = s.recognise(i.seg.Database())
		}
		if err == nil && !i.seg.Info().Sealed {
			err = fmt.Errorf("a batch that is not sealed: %w", journal.ErrCorrupt)
		}
		if err == nil {
			err = i.seg.Verify(ctx)
		}
	}
	if err == nil && f.Kind == serve.Base {
		if i.base, err = journal.NewBaseReader(i.data, f.Size, s.name); err == nil {
			p := i.base.Position()
			err = s.recognise(p.Database, p.Timeline)
		}
	}
	if err != nil {
		i.close()
		return nil, err
	}
	return i, nil
}

// recognise says whether something is of the source's database. The first that comes says which that is, when nothing
// did before. A timeline that is older than the source's is a part of its history.
func (s *Source) recognise(db journal.DatabaseID, timeline journal.Timeline) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.id.Database == (journal.DatabaseID{}) {
		s.id = journal.Identity{Format: 1, Database: db, Timeline: timeline}
	}
	if db != s.id.Database || timeline > s.id.Timeline {
		return fmt.Errorf("%s sends database %v timeline %d, and not %v timeline %d: %w",
			s.name, db, timeline, s.id.Database, s.id.Timeline, journal.ErrForeign)
	}
	return nil
}
