// Package session lets the users of a web service read what they wrote, when writes go to a primary and reads to
// replicas of it: the position of the last write travels with the user, in a header or a cookie, and a replica that is
// not there yet waits for it.
//
//	// on the primary
//	handler = session.Handler(handler, &session.Options{Position: func(ctx context.Context) (journal.Position, error) { … }})
//	// on the follower
//	handler = session.Handler(handler, &session.Options{Wait: func(ctx context.Context, p journal.Position) error {
//		_, err := follow.Wait(ctx, "replica.db", p)
//		return err
//	}})
//
// The position is no secret and gives no access. One that a user made up makes that user wait.
package session

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/pagetrail/pagetrail/journal"
)

// Options for Handler; nil and the zero value do nothing.
type Options struct {
	// Position is that of the last transaction of the primary, the request's own included. If it is set, answers to
	// requests other than GET, HEAD and OPTIONS carry it. It is called when the answer's header is written, so a
	// request must have committed by then.
	Position func(ctx context.Context) (journal.Position, error)
	// Wait waits until a reader of the replica sees a position. If it is set, requests that carry one wait.
	Wait func(ctx context.Context, p journal.Position) error
	// Timeout bounds that wait; default 2 s.
	Timeout time.Duration
	// Late is what answers when the replica is not there in time; default 503 with Retry-After: 1. The error is that
	// of Wait: a [context.DeadlineExceeded], or for a replica of another history a [journal.ErrForeign] or
	// [journal.ErrDiverged].
	Late func(w http.ResponseWriter, r *http.Request, err error)
	// Header is the name of the header that carries the position; default "Pagetrail-Position".
	Header string
	// Cookie, if set, carries it as well, for browsers: its name and attributes. The value is filled in.
	Cookie *http.Cookie
}

// Handler carries positions for next, which need not know of it.
func Handler(next http.Handler, o *Options) http.Handler {
	var opt Options
	if o != nil {
		opt = *o
	}
	opt.Timeout = cmp.Or(opt.Timeout, 2*time.Second)
	opt.Header = cmp.Or(opt.Header, "Pagetrail-Position")
	if opt.Late == nil {
		opt.Late = late
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if opt.Wait != nil {
			if err := opt.await(r); err != nil {
				opt.Late(w, r, err)
				return
			}
		}
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodOptions:
			next.ServeHTTP(w, r)
			return
		}
		if opt.Position == nil {
			next.ServeHTTP(w, r)
			return
		}
		s := &stamped{ResponseWriter: w, r: r, o: &opt}
		next.ServeHTTP(s, r)
		s.stamp()
	})
}

func late(w http.ResponseWriter, _ *http.Request, _ error) {
	w.Header().Set("Retry-After", "1")
	http.Error(w, "the replica is not up to date yet", http.StatusServiceUnavailable)
}

// await waits for the position that a request carries. What is no position is nobody's.
func (o *Options) await(r *http.Request) error {
	token := r.Header.Get(o.Header)
	if token == "" && o.Cookie != nil {
		if c, err := r.Cookie(o.Cookie.Name); err == nil {
			token = c.Value
		}
	}
	p, err := journal.ParseToken(token)
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(r.Context(), o.Timeout)
	defer cancel()
	return o.Wait(ctx, p)
}

// stamped puts the position on an answer before its header is written.
type stamped struct {
	http.ResponseWriter
	r    *http.Request
	o    *Options
	done bool
}

func (s *stamped) stamp() {
	if s.done {
		return
	}
	s.done = true
	p, err := s.o.Position(s.r.Context())
	if err != nil {
		return // without it the answer is right, and the next reader may see an older state
	}
	s.Header().Set(s.o.Header, p.Token())
	if s.o.Cookie != nil {
		c := *s.o.Cookie
		c.Value = p.Token()
		http.SetCookie(s, &c)
	}
}

// WriteHeader is the last moment for a header. Informational ones come before.
func (s *stamped) WriteHeader(code int) {
	if code >= 200 || code == http.StatusSwitchingProtocols {
		s.stamp()
	}
	s.ResponseWriter.WriteHeader(code)
}

func (s *stamped) Write(b []byte) (int, error) {
	s.stamp()
	return s.ResponseWriter.Write(b)
}

// Flush writes the header, if nothing did.
func (s *stamped) Flush() {
	s.stamp()
	if err := http.NewResponseController(s.ResponseWriter).Flush(); errors.Is(err, http.ErrNotSupported) {
		return // as a handler that asks for a Flusher and finds none
	}
}

// Unwrap is for http.ResponseController.
func (s *stamped) Unwrap() http.ResponseWriter { return s.ResponseWriter }
