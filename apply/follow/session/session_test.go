package session_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow/session"
	"github.com/pagetrail/pagetrail/journal"
)

// A user writes, and reads elsewhere: the position goes along in the header and the cookie, the reader waits for it,
// and is told when it takes too long.
func TestReadYourWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at journal.TXID
		position := func(context.Context) (journal.Position, error) {
			return journal.Position{Database: journal.DatabaseID{1}, Timeline: 1, TXID: at}, nil
		}
		cookie := &http.Cookie{Name: "position", Path: "/", HttpOnly: true}
		primary := session.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			at++ // commits, and only then answers
			if r.URL.Path == "/body" {
				_, _ = w.Write([]byte("written"))
			}
		}), &session.Options{Position: position, Cookie: cookie})
		var seen atomic.Uint64
		follower := session.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(200 + int(seen.Load()))
		}), &session.Options{Cookie: cookie, Wait: func(ctx context.Context, p journal.Position) error {
			for seen.Load() < uint64(p.TXID) {
				select {
				case <-time.After(time.Millisecond):
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			return nil
		}})
		read := func(header string, cookies []*http.Cookie) *httptest.ResponseRecorder {
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			if header != "" {
				r.Header.Set("Pagetrail-Position", header)
			}
			for _, c := range cookies {
				r.AddCookie(c)
			}
			w := httptest.NewRecorder()
			follower.ServeHTTP(w, r)
			return w
		}
		for i, path := range []string{"/", "/body"} {
			w := httptest.NewRecorder()
			primary.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
			p, err := journal.ParseToken(w.Header().Get("Pagetrail-Position"))
			if err != nil || p.TXID != journal.TXID(i+1) {
				t.Fatalf("%s answers with position %+v, %v", path, p, err)
			}
			go func() {
				time.Sleep(time.Second)
				seen.Add(1)
			}()
			start := time.Now()
			answer := read(map[int]string{0: p.Token()}[i], map[int][]*http.Cookie{1: w.Result().Cookies()}[i])
			if answer.Code != 200+i+1 || time.Since(start) < time.Second || time.Since(start) > 1100*time.Millisecond {
				t.Errorf("%d after %v", answer.Code, time.Since(start))
			}
		}
		w := httptest.NewRecorder()
		primary.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Header().Get("Pagetrail-Position") != "" {
			t.Error("a GET is answered with a position")
		}
		at = 100
		p, _ := position(t.Context())
		start := time.Now()
		if late := read(p.Token(), nil); late.Code != 503 || late.Header().Get("Retry-After") == "" || time.Since(start) != 2*time.Second {
			t.Errorf("a replica that is late: %d after %v", late.Code, time.Since(start))
		}
		if answer := read("nonsense", nil); answer.Code != 202 {
			t.Errorf("what is no position: %d", answer.Code)
		}
	})
}
