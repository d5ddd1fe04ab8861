package serve

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Event is what a transaction changed, as it is told.
type Event struct {
	Position journal.Position // of the transaction
	Data     []byte           // JSON, in one line
}

// changes answers with server-sent events.
func (h *Handler) changes(w http.ResponseWriter, r *http.Request, _ *Token) error {
	f, err := h.feed(r.PathValue("name"))
	if err != nil {
		return err
	}
	if h.o.Changes == nil {
		return problemf(journal.ErrNotFound, "the server does not tell changes")
	}
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	if err := f.trail.Refresh(); err != nil {
		return err
	}
	last, err := f.trail.Last()
	if err != nil {
		return err
	}
	after, err := f.since(r, last.TXID)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	t := h.tells[f.name]
	t.join(after, last.TXID)
	defer t.leave()
	out := &patient{w: w, rc: http.NewResponseController(w), timeout: h.o.WriteTimeout}
	_ = (&listener{t: t, w: out, next: after + 1}).run(ctx) // what could be said of an error was said
	return nil
}

// since is the transaction after which a listener is to be told. A position is compared with the history, as far as that
// is still held: who was told of another one is not told on as if nothing had happened.
func (f *feed) since(r *http.Request, last journal.TXID) (journal.TXID, error) {
	q := r.URL.Query()
	for name := range q {
		if name != "after" {
			return 0, problemf(errUsage, "there is no parameter %.50q", name)
		}
	}
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		if text = q.Get("after"); !q.Has("after") {
			return last, nil
		}
	}
	held := f.extent()
	held.Last = max(held.Last, last)
	if n, err := strconv.ParseUint(text, 10, 63); err == nil {
		if held.Want = journal.TXID(n); held.Want > held.Last {
			return 0, held
		}
		return held.Want, nil
	}
	pos, err := journal.ParseToken(text)
	if err != nil {
		return 0, problemf(errUsage, "%.100q is neither a position nor a transaction", text)
	}
	if id := f.trail.Identity(); pos.Database != id.Database {
		return 0, problemf(journal.ErrForeign, "the position is of database %v, and this is %v", pos.Database, id.Database)
	}
	if held.Want = pos.TXID; pos.TXID > held.Last {
		return 0, held
	}
	tx, err := f.trail.Find(r.Context(), pos.TXID)
	if err == nil && (tx.SumKnown && tx.Sum != pos.Sum || tx.SumCut != pos.Sum.Cut()) {
		return 0, problemf(journal.ErrDiverged, "transaction %d is another one here than the position's", pos.TXID)
	}
	return pos.TXID, nil // what is folded, or no longer held, cannot be compared
}

// listener is told what changed.
type listener struct {
	t    *telling
	w    *patient
	next journal.TXID // the first transaction that it was not told of
	buf  []byte
}

// run tells until the context ends, the listener goes or there is nothing more to be had.
func (l *listener) run(ctx context.Context) error {
	// Whoever reads it knows that it is connected, and comes back in a second after a connection that broke.
	l.buf = fmt.Appendf(l.buf[:0], ": heartbeat every %v\nretry: 1000\n\n", l.t.h.o.Heartbeat)
	if err := l.send(); err != nil {
		return err
	}
	beat := time.NewTicker(l.t.h.o.Heartbeat)
	defer beat.Stop()
	for {
		events, news, err := l.t.find(l.next)
		if err == errMissed {
			err = l.alone(ctx, beat.C)
			news = closed
		}
		if err == nil && len(events) > 0 {
			err, news = l.tell(events...), closed
		}
		if err != nil {
			return l.fail(ctx, err)
		}
		select {
		case <-news:
		case <-beat.C:
			err = l.heartbeat()
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// closed is news of what is there already.
var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// alone tells what is not in memory any more, by a walk of its own, until what follows is.
func (l *listener) alone(ctx context.Context, beat <-chan time.Time) error {
	w := l.t.walk(ctx, l.next-1, l.t.turn)
	defer w.end()
	for {
		select {
		case e, ok := <-w.events:
			if !ok {
				return w.err
			}
			if err := l.tell(e); err != nil {
				return err
			}
			if l.t.has(l.next) {
				return nil
			}
		case <-beat:
			if err := l.heartbeat(); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// tell sends events, save those that were told before.
func (l *listener) tell(events ...Event) error {
	l.buf = l.buf[:0]
	for _, e := range events {
		if e.Position.TXID < l.next {
			continue
		}
		l.next = e.Position.TXID + 1
		l.buf = fmt.Appendf(l.buf, "id: %s\ndata: %s\n\n", e.Position.Token(), e.Data)
		if len(l.buf) >= 32<<10 {
			if err := l.send(); err != nil {
				return err
			}
		}
	}
	return l.send()
}

func (l *listener) heartbeat() error {
	l.buf = append(l.buf[:0], ":\n\n"...)
	return l.send()
}

// fail says why nothing more comes. The end of the server is said by the end.
func (l *listener) fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	p, _ := problemOf(err)
	l.buf = fmt.Appendf(l.buf[:0], "event: problem\ndata: %s\n\n", p.encode())
	_ = l.send() // the reason is the error
	return err
}

func (l *listener) send() error {
	if len(l.buf) == 0 {
		return nil
	}
	_, err := l.w.Write(l.buf)
	if l.buf = l.buf[:0]; err != nil {
		return err
	}
	return l.w.flush()
}

// sinceMemory are the events from a transaction on, of those that are kept in order.
func sinceMemory(events []Event, next journal.TXID) []Event {
	i, _ := slices.BinarySearchFunc(events, next, func(e Event, id journal.TXID) int {
		return int(min(max(int64(e.Position.TXID)-int64(id), -1), 1))
	})
	return events[i:]
}
