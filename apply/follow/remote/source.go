package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// Source is a trail elsewhere. Like every [follow.Source] it is for one goroutine at a time; Heard may be called by any.
type Source struct {
	o    Options
	name string // in messages
	web  *web   // nil: the stream comes from a pipe

	conn   *conn        // nil: none
	cur    *item        // the batch that was read last
	base   *item        // the base that came last
	known  journal.TXID // that Refresh returned
	next   journal.TXID // the transaction that will be wanted; 0: not known yet
	failed error        // for the next Refresh

	mu sync.Mutex
	id journal.Identity // under mu, since conn looks at it
	at *conn            // conn, for Heard; under mu
}

var (
	_ follow.Source   = (*Source)(nil)
	_ follow.Waiter   = (*Source)(nil)
	_ follow.Informed = (*Source)(nil)
)

// Identity says of which database the transactions are.
func (s *Source) Identity() journal.Identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.id
}

// Heard is what the server said last on the stream that is open.
func (s *Source) Heard() (Heard, bool) {
	s.mu.Lock()
	c := s.at
	s.mu.Unlock()
	if c == nil {
		return Heard{}, false
	}
	h, _ := c.listen()
	return h, !h.At.IsZero()
}

// Informed is when the server last said how far it is, and how much of that it had not sent.
func (s *Source) Informed() (time.Time, int64) {
	h, ok := s.Heard()
	if !ok {
		return time.Time{}, -1
	}
	return h.At, h.Behind
}

// Close ends the connection.
func (s *Source) Close() error {
	s.drop()
	s.cur.close()
	s.base.close()
	s.cur, s.base = nil, nil
	return nil
}

func (s *Source) connect(c *conn) {
	s.conn = c
	s.mu.Lock()
	s.at = c
	s.mu.Unlock()
}

// drop ends the stream that is open. What was taken from it stays.
func (s *Source) drop() {
	if s.conn == nil {
		return
	}
	c := s.conn
	s.connect(nil)
	c.stop()
}

// wrap says of an error whether asking again can help.
func (s *Source) wrap(err error) error {
	if errors.Is(err, follow.ErrUnreachable) {
		return err
	}
	if errors.Is(err, follow.ErrNotReady) {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	for _, final := range []error{
		journal.ErrForeign, journal.ErrVersion, journal.ErrNotFound, journal.ErrRange, serve.ErrDenied,
	} {
		if errors.Is(err, final) {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if s.web == nil { // there is no other connection to be had
		return fmt.Errorf("%s: %w", s.name, err)
	}
	if errors.Is(err, serve.ErrNoBase) {
		return fmt.Errorf("%s: %w: %w", s.name, err, follow.ErrNotReady)
	}
	return fmt.Errorf("%s: %w: %w", s.name, err, follow.ErrUnreachable)
}

// Refresh returns the last transaction that the server is known to have: what the open stream said, else what the
// server answers.
func (s *Source) Refresh(ctx context.Context) (journal.Tx, error) {
	if err := s.failed; err != nil {
		s.failed = nil
		return journal.Tx{}, err
	}
	if s.conn == nil {
		st, err := s.web.status(ctx)
		if err == nil {
			err = s.recognise(st.Position.Database, st.Position.Timeline)
		}
		if err != nil {
			return journal.Tx{}, s.wrap(err)
		}
		s.known = st.Position.TXID
		return journal.Tx{
			TXID: st.Position.TXID, Time: st.Time, PageSize: st.PageSize, PageCount: st.PageCount,
			Sum: st.Position.Sum, SumKnown: true, SumCut: st.Position.Sum.Cut(),
		}, nil
	}
	for {
		h, news := s.conn.listen()
		if s.over() {
			return journal.Tx{}, s.lost()
		}
		if !h.At.IsZero() {
			s.known = h.Last
			return journal.Tx{TXID: h.Last, Time: h.Time}, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return journal.Tx{}, context.Cause(ctx)
		}
	}
}

// over says that the open stream has ended, and all that came was taken. The end of a pipe that says so is none: what
// was known then stays known.
func (s *Source) over() bool {
	select {
	case <-s.conn.done:
		return len(s.conn.items) == 0 && !(s.web == nil && s.conn.err == io.EOF)
	default:
		return false
	}
}

// lost gives up a stream that has ended, and says why it did.
func (s *Source) lost() error {
	c := s.conn
	err := c.err
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if s.web != nil { // of a pipe there is no other
		s.drop()
	}
	return s.wrap(err)
}

// ended says that a pipe has ended, as it was to, and all of it was read.
func (s *Source) ended() bool {
	select {
	case <-s.conn.done:
		return s.web == nil && s.conn.err == io.EOF && len(s.conn.items) == 0 && (s.cur == nil || s.next > s.cur.seg.Info().Last)
	default:
		return false
	}
}

// Await returns when there is something new. For that there has to be a stream: it is opened after what was read last.
// At the end of a pipe it returns io.EOF, with which Run ends as well.
func (s *Source) Await(ctx context.Context, d time.Duration) error {
	if s.conn == nil && s.web != nil && s.next > 0 && s.failed == nil {
		if s.failed = s.dial(ctx, s.next); s.failed != nil {
			return ctx.Err()
		}
	}
	t := time.NewTimer(d)
	defer t.Stop()
	var news, done chan struct{}
	if s.conn != nil {
		if s.ended() {
			return io.EOF
		}
		var h Heard
		h, news = s.conn.listen()
		done = s.conn.done
		if !h.At.IsZero() && h.Last != s.known {
			return ctx.Err()
		}
	}
	select {
	case <-news:
	case <-done:
	case <-t.C:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// dial opens a stream that begins with transaction from.
func (s *Source) dial(ctx context.Context, from journal.TXID) error {
	s.drop()
	c, err := s.web.stream(ctx, s, from-1, true, 0)
	if err != nil {
		return s.wrap(err)
	}
	s.connect(c)
	return nil
}

// Records yields the transactions from TXID from on, up to the last that Refresh returned.
func (s *Source) Records(ctx context.Context, from journal.TXID) iter.Seq2[*journal.Record, error] {
	return func(yield func(*journal.Record, error) bool) {
		from := max(from, 1)
		if from > s.known+1 {
			yield(nil, &journal.RangeError{Want: from, First: 1, Last: s.known})
			return
		}
		for to := s.known; from <= to; {
			if err := s.advance(ctx, from); err != nil {
				yield(nil, err)
				return
			}
			for rec, err := range s.cur.seg.Records(ctx, from) {
				if err != nil {
					yield(nil, s.wrapDamage(err))
					return
				}
				if rec.TXID > to {
					break
				}
				s.next = rec.TXID + 1
				if !yield(rec, nil) {
					return
				}
			}
			from = s.cur.seg.Info().Last + 1
		}
		s.next = max(s.next, from)
	}
}

// forget lets the batch go that was read last.
func (s *Source) forget() {
	s.cur.close()
	s.cur = nil
}

// has says that the batch that was read last holds a transaction.
func (s *Source) has(id journal.TXID) bool {
	return s.cur != nil && s.cur.seg.Info().First <= id && id <= s.cur.seg.Info().Last
}

// advance reads on until the batch that was read last holds a transaction.
func (s *Source) advance(ctx context.Context, id journal.TXID) error {
	for !s.has(id) {
		if s.web != nil && (s.conn == nil || s.conn.pos != id) {
			if err := s.dial(ctx, id); err != nil {
				return err
			}
		}
		if s.conn.pos > id { // of a pipe
			return &journal.RangeError{Want: id, First: s.conn.pos, Last: s.known}
		}
		i, err := s.receive(ctx)
		if err != nil {
			return err
		}
		if i.base != nil {
			s.base.close()
			s.base = i
			if s.web == nil && s.conn.pos == 0 {
				s.conn.pos = i.base.Position().TXID + 1
			}
			continue
		}
		if err := s.accept(i, id); err != nil {
			return err
		}
	}
	return nil
}

// accept takes a batch in, on the way to transaction id. What holds only transactions before is passed over: sealed
// segments begin before what is wanted, and a proxy may send something twice.
func (s *Source) accept(i *item, id journal.TXID) error {
	info := i.seg.Info()
	if info.First > id {
		first := s.conn.pos == 0 // of a pipe, which may begin anywhere
		if first {
			s.forget()
			s.cur, s.conn.pos = i, info.First
			return &journal.RangeError{Want: id, First: info.First, Last: s.known}
		}
		i.close()
		if s.web != nil {
			s.drop()
		}
		return s.wrap(fmt.Errorf("transactions %d to %d came where %d is next: %w", info.First, info.Last, id, journal.ErrCorrupt))
	}
	if info.Last < id {
		i.close()
		return nil
	}
	s.forget()
	s.cur, s.conn.pos = i, info.Last+1
	return nil
}

// receive waits for what comes next.
func (s *Source) receive(ctx context.Context) (*item, error) {
	select {
	case i, ok := <-s.conn.items:
		if !ok {
			return nil, s.lost()
		}
		return i, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// State makes the database of one transaction: from the base that came last where it is that, else from a stream of
// its own that begins with a base, or from what a pipe brings.
func (s *Source) State(ctx context.Context, id journal.TXID) (*apply.State, error) {
	if s.base != nil && s.base.base.Position().TXID == id || s.web == nil {
		return s.build(ctx, id)
	}
	side := &Source{o: s.o, name: s.name, web: s.web, id: s.Identity(), known: id}
	c, err := s.web.stream(ctx, side, 0, false, id)
	if err != nil {
		return nil, s.wrap(err)
	}
	side.connect(c)
	state, err := side.build(ctx, id)
	return state, errors.Join(err, side.Close())
}

// build makes a state from what comes on the open stream, and the base that came before.
func (s *Source) build(ctx context.Context, id journal.TXID) (*apply.State, error) {
	state, err := apply.OpenState(&apply.StateOptions{Dir: s.o.TempDir, Bases: bases{s}})
	if err != nil {
		return nil, err
	}
	if err := s.fill(ctx, state, id); err != nil {
		return nil, errors.Join(err, state.Close())
	}
	return state, nil
}

func (s *Source) fill(ctx context.Context, state *apply.State, id journal.TXID) error {
	load := func() error {
		if s.base == nil || state.TXID() > 0 || s.base.base.Position().TXID > id {
			return nil
		}
		return s.wrapDamage(state.Load(ctx, s.base.base))
	}
	if err := load(); err != nil {
		return err
	}
	for state.TXID() < id {
		if !s.has(state.TXID() + 1) {
			i, err := s.receive(ctx)
			if err != nil {
				return err
			}
			if i.base != nil {
				s.base.close()
				if s.base = i; s.conn.pos == 0 {
					s.conn.pos = i.base.Position().TXID + 1
				}
				if err := load(); err != nil {
					return err
				}
				continue
			}
			if err := s.accept(i, state.TXID()+1); err != nil {
				return err
			}
			continue
		}
		for rec, err := range s.cur.seg.Records(ctx, state.TXID()+1) {
			if err == nil && rec.TXID <= id {
				err = state.Apply(ctx, rec)
			}
			if err != nil {
				return s.wrapDamage(err)
			}
			if rec.TXID >= id {
				break
			}
		}
	}
	return nil
}

// wrapDamage is wrap for what came and could not be used, but leaves the context's errors alone.
func (s *Source) wrapDamage(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return s.wrap(err)
}

// bases hands out the base that came last.
type bases struct{ s *Source }

func (b bases) OpenBase(id journal.TXID) (*journal.BaseReader, error) {
	if b.s.base == nil || b.s.base.base.Position().TXID != id {
		return nil, fmt.Errorf("the base of transaction %d did not come before it: %w", id, journal.ErrNotFound)
	}
	return b.s.base.base, nil
}
