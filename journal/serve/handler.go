package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Options for New; nil and the zero value mean the defaults.
type Options struct {
	// Databases are the trails by the names they are served under, which are one element of a path. The handler
	// refreshes them and does not close them. An archive's trail is one as well.
	Databases map[string]*journal.Trail
	// Tokens open databases. Default: everybody may read everything, which is for a listener that nobody else
	// reaches.
	Tokens []Token
	// Streams is how many there may be at a time, listeners to changes included; default 1000.
	Streams int
	// Heartbeat is how often a stream says that it is alive when nothing comes; default 5 s.
	Heartbeat time.Duration
	// WriteTimeout is how long a receiver may take nothing before it is cut off; default 1 minute.
	WriteTimeout time.Duration
	// MemoryBytes bounds the batches that are kept for all, for each database that somebody follows; default 16 MiB.
	MemoryBytes int64
	// TempDir is for batches that are too large for memory; default os.TempDir().
	TempDir string
	// Sync, if set, is called before transactions are sent, and makes the database of that name durable up to
	// them. Without it a primary that loses power may come back with fewer transactions than its followers have.
	Sync func(ctx context.Context, name string) error
	// Changes, if set, is told by GET /NAME/changes: an event for each transaction of the trail after the given one, in
	// order, until the context ends; changes.Served of package apply/follow/changes is one. Default: nothing is told.
	Changes func(ctx context.Context, trail *journal.Trail, after journal.TXID) iter.Seq2[Event, error]
	// PollMin, PollMax and PollError are how often a trail that is followed is looked at: after something came, when
	// nothing did for long, and after an error; default 500 µs, 50 ms and 1 s. On Linux a write to one of the first 16
	// wakes at once instead, though not more often than PollMin.
	PollMin, PollMax, PollError time.Duration
}

func (o *Options) filled() Options {
	var f Options
	if o != nil {
		f = *o
	}
	span := func(p *time.Duration, v time.Duration) {
		if *p <= 0 {
			*p = v
		}
	}
	span(&f.Heartbeat, 5*time.Second)
	span(&f.WriteTimeout, time.Minute)
	span(&f.PollMin, 500*time.Microsecond)
	span(&f.PollMax, 50*time.Millisecond)
	span(&f.PollError, time.Second)
	if f.Streams <= 0 {
		f.Streams = 1000
	}
	if f.MemoryBytes <= 0 {
		f.MemoryBytes = 16 << 20
	}
	return f
}

// Handler serves trails over HTTP; see the package comment for what it answers. Mount it with http.StripPrefix below
// the root.
type Handler struct {
	o      Options
	feeds  map[string]*feed
	tells  map[string]*telling
	mux    http.ServeMux
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	streams int            // under mu
	active  sync.WaitGroup // of streams
}

var _ http.Handler = (*Handler)(nil)

// New makes a handler. Nothing is read before somebody asks.
func New(o *Options) *Handler {
	h := &Handler{o: o.filled(), feeds: make(map[string]*feed), tells: make(map[string]*telling)}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for name, trail := range h.o.Databases {
		h.feeds[name] = &feed{name: name, trail: trail, o: &h.o, news: make(chan struct{})}
		h.tells[name] = &telling{h: h, f: h.feeds[name], turn: make(chan struct{}, 1)}
	}
	h.mux.HandleFunc("GET /{$}", h.answer(h.list))
	h.mux.HandleFunc("GET /{name}", h.answer(h.status))
	h.mux.HandleFunc("GET /{name}/stream", h.answer(h.stream))
	h.mux.HandleFunc("GET /{name}/changes", h.answer(h.changes))
	h.mux.HandleFunc("/", h.answer(func(_ http.ResponseWriter, r *http.Request, _ *Token) error {
		return problemf(journal.ErrNotFound, "there is nothing at %.200q", r.URL.Path)
	}))
	return h
}

// ServeHTTP answers a request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// Close ends all streams and waits for them. Later requests are refused.
func (h *Handler) Close() error {
	h.cancel()
	h.mu.Lock()
	h.streams = h.o.Streams // no other begins
	h.mu.Unlock()
	h.active.Wait()
	return nil
}

// Streams is how many there are.
func (h *Handler) Streams() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams
}

// answer lets in who may come in, and says what went wrong.
func (h *Handler) answer(fn func(http.ResponseWriter, *http.Request, *Token) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, err := h.authorize(r, r.PathValue("name"))
		status := 0
		if err != nil && r.Header.Get("Authorization") == "" {
			status = http.StatusUnauthorized
			w.Header().Set("WWW-Authenticate", "Bearer")
		}
		if err == nil {
			err = fn(w, r, token)
		}
		if err == nil {
			return
		}
		p, code := problemOf(err)
		if status == 0 {
			status = code
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write(append(p.encode(), '\n')) // who asked is gone, or reads it
	}
}

func (h *Handler) list(w http.ResponseWriter, _ *http.Request, token *Token) error {
	names := []string{}
	for name := range h.feeds {
		if token == nil || token.opens(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return writeJSON(w, map[string]any{"databases": names})
}

func writeJSON(w http.ResponseWriter, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	return json.NewEncoder(w).Encode(v)
}

// Status is what GET /NAME answers.
type Status struct {
	Position  journal.Position `json:"position"` // of the last transaction
	First     journal.TXID     `json:"first_txid"`
	Time      journal.Time     `json:"time_us"` // of the last transaction, µs since 1970
	PageSize  int              `json:"page_size"`
	PageCount uint32           `json:"page_count"`
}

func (h *Handler) feed(name string) (*feed, error) {
	f := h.feeds[name]
	if f == nil {
		return nil, problemf(journal.ErrNotFound, "there is no database %.100q here", name)
	}
	return f, nil
}

func (h *Handler) status(w http.ResponseWriter, r *http.Request, _ *Token) error {
	f, err := h.feed(r.PathValue("name"))
	if err != nil {
		return err
	}
	if err := f.trail.Refresh(); err != nil {
		return err
	}
	last, err := f.trail.Last()
	if err != nil {
		return err
	}
	id := f.trail.Identity()
	return writeJSON(w, Status{
		Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: last.TXID, Sum: last.Sum},
		First:    f.extent().First, Time: last.Time, PageSize: last.PageSize, PageCount: last.PageCount,
	})
}

// asked is what a request for a stream wants.
func asked(r *http.Request) (after, to journal.TXID, base bool, err error) {
	q := r.URL.Query()
	number := func(name string) journal.TXID {
		n, e := strconv.ParseUint(q.Get(name), 10, 63)
		if e != nil {
			err = problemf(errUsage, "%s=%.50q is no transaction", name, q.Get(name))
		}
		return journal.TXID(n)
	}
	for name := range q {
		if !slices.Contains([]string{"after", "to", "protocol"}, name) {
			return 0, 0, false, problemf(errUsage, "there is no parameter %.50q", name)
		}
	}
	if q.Has("protocol") && q.Get("protocol") != fmt.Sprint(Version) {
		return 0, 0, false, problemf(journal.ErrVersion, "the server speaks version %d of the stream, and not %.50q", Version, q.Get("protocol"))
	}
	if q.Has("after") {
		after = number("after")
	}
	if q.Has("to") {
		to = number("to")
	}
	return after, to, !q.Has("after"), err
}

// begin counts a stream in.
func (h *Handler) begin() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx.Err() != nil || h.streams >= h.o.Streams {
		return problemf(ErrBusy, "the server has as many streams as it is to have: %d", h.o.Streams)
	}
	h.streams++
	h.active.Add(1)
	return nil
}

func (h *Handler) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.streams--
	h.active.Done()
}

func (h *Handler) stream(w http.ResponseWriter, r *http.Request, _ *Token) error {
	f, err := h.feed(r.PathValue("name"))
	if err != nil {
		return err
	}
	after, to, base, err := asked(r)
	if err != nil {
		return err
	}
	if err := h.begin(); err != nil {
		return err
	}
	defer h.end()
	if err := f.trail.Refresh(); err != nil {
		return err
	}
	if held := f.extent(); !base && (after+1 < held.First || after > held.Last) || to > held.Last {
		held.Want = after + 1
		return held
	}
	if base {
		if _, err := f.newest(to); err != nil { // said by a status, which a proxy understands as well
			return err
		}
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	f.join(ctx)
	defer f.leave()
	f.mu.Lock()
	if last, err := f.trail.Last(); err == nil && last.TXID > f.last.TXID {
		f.last = last // the pump may not have looked yet
	}
	f.mu.Unlock()
	out := &patient{w: w, rc: http.NewResponseController(w), timeout: h.o.WriteTimeout}
	w.Header().Set("Content-Type", "application/vnd.pagetrail.stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	s := &stream{f: f, w: writer{w: out, flush: out.flush}, next: after + 1, to: to, base: base, beat: h.o.Heartbeat}
	_ = s.run(ctx) // what could be said of an error was said in the stream
	return nil
}

// patient is a writer that gives the receiver so long for every piece.
type patient struct {
	w       http.ResponseWriter
	rc      *http.ResponseController
	timeout time.Duration
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.more(); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

func (p *patient) flush() error {
	if err := p.more(); err != nil {
		return err
	}
	return p.rc.Flush()
}

func (p *patient) more() error {
	err := p.rc.SetWriteDeadline(time.Now().Add(p.timeout))
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}
