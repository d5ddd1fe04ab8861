package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// teller stands in for what knows whose pages are changed: it tells the TXID of each transaction, and size bytes more.
type teller struct {
	walks atomic.Int64
	size  int
	fails atomic.Pointer[error] // what the next walk ends with, when it has told what there is
}

func (c *teller) changes(ctx context.Context, trail *journal.Trail, after journal.TXID) iter.Seq2[serve.Event, error] {
	return func(yield func(serve.Event, error) bool) {
		c.walks.Add(1)
		for ctx.Err() == nil {
			if err := trail.Refresh(); err != nil {
				yield(serve.Event{}, err)
				return
			}
			for rec, err := range trail.Records(ctx, after+1) {
				if err != nil {
					yield(serve.Event{}, err)
					return
				}
				after = rec.TXID
				e := serve.Event{Position: journal.Position{Database: trail.Identity().Database, Timeline: 1, TXID: rec.TXID, Sum: rec.Sum}}
				e.Data = fmt.Appendf(nil, `{"n":%d,"pad":%q}`, rec.TXID, strings.Repeat("x", c.size))
				if !yield(e, nil) {
					return
				}
			}
			if err := c.fails.Swap(nil); err != nil {
				yield(serve.Event{}, *err)
				return
			}
			time.Sleep(time.Millisecond) // as one that asks again and again
		}
	}
}

// listen asks for the changes as curl does. last, if not empty, is the Last-Event-ID.
func listen(t testing.TB, url, token, last string) (*http.Response, *bufio.Reader) {
	t.Helper()
	resp := request(t, url, token, last)
	return resp, bufio.NewReader(resp.Body)
}

// event is the next one: its id and what it says.
func event(t testing.TB, r *bufio.Reader) (id, kind, data string) {
	t.Helper()
	id, kind, data, err := read(r)
	if err != nil {
		t.Fatal(err)
	}
	return id, kind, data
}

func read(r *bufio.Reader) (id, kind, data string, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", "", "", err
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			data = value
		case "":
			if data != "" {
				return id, kind, data, nil
			}
		}
	}
}

// told wants the next events to be of the transactions from first to last, and returns the id of the last.
func told(t testing.TB, r *bufio.Reader, first, last journal.TXID) (id string) {
	t.Helper()
	for want := first; want <= last; want++ {
		var got struct{ N journal.TXID }
		at, kind, data := event(t, r)
		if err := json.Unmarshal([]byte(data), &got); err != nil || got.N != want || kind != "" {
			t.Fatalf("event %q of kind %q, want transaction %d: %v", data, kind, want, err)
		}
		if pos, err := journal.ParseToken(at); err != nil || pos.TXID != want {
			t.Fatalf("transaction %d has id %q: %v", want, at, err)
		}
		id = at
	}
	return id
}

// TestChanges: who listens is told of each transaction once and in order, and is told on after the one it names; one
// walk is enough for all who listen.
func TestChanges(t *testing.T) {
	w, c := newWriter(t), new(teller)
	w.add(5, 20)
	_, s := serverOf(t, w, &serve.Options{Changes: c.changes, Heartbeat: time.Millisecond})
	url := s.URL + "/app/changes"
	_, first := listen(t, url+"?after=0", "", "")
	id := told(t, first, 1, 5)
	resp, now := listen(t, url, "", "")
	if kind := resp.Header.Get("Content-Type"); kind != "text/event-stream" {
		t.Errorf("it is of type %q", kind)
	}
	_, resumed := listen(t, url+"?after=0", "", id) // what a browser says: the header is what it was told last
	w.add(3, 20)
	told(t, first, 6, 8)
	told(t, now, 6, 8)
	told(t, resumed, 6, 8)
	for beats := 0; beats < 3; beats++ { // nothing comes, and that is said
		if line, err := now.ReadString('\n'); err != nil || line != ":\n" && line != "\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if n := c.walks.Load(); n != 1 {
		t.Errorf("%d walks, want one", n)
	}
}

// TestChangesCut cuts the connection after every 53rd byte; who comes back with the last id it had whole misses
// nothing and is told nothing twice.
func TestChangesCut(t *testing.T) {
	w, c := newWriter(t), new(teller)
	w.add(12, 20)
	_, s := serverOf(t, w, &serve.Options{Changes: c.changes})
	url := s.URL + "/app/changes?after=0"
	whole, _ := listen(t, url, "", "")
	var all bytes.Buffer
	told(t, bufio.NewReader(io.TeeReader(whole.Body, &all)), 1, 12)
	for cut := 1; cut < all.Len()-1; cut += 53 {
		resp, r := listen(t, url, "", "")
		part := make([]byte, cut)
		if _, err := io.ReadFull(r, part); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		// An event is one once the empty line after it is there.
		text := string(part)
		text = text[:strings.LastIndex("\n\n"+text, "\n\n")]
		last, next := "", journal.TXID(1)
		if i := strings.LastIndex(text, "id: "); i >= 0 {
			last, _, _ = strings.Cut(text[i+4:], "\n")
			pos, err := journal.ParseToken(last)
			if err != nil {
				t.Fatalf("cut after %d: %q: %v", cut, text, err)
			}
			next = pos.TXID + 1
		}
		_, again := listen(t, url, "", last)
		told(t, again, next, 12)
	}
}

// TestChangesOfThePast: what is not in memory any more is told by a walk of its own, and what follows by the one for
// all: without a gap, and while the others are told on.
func TestChangesOfThePast(t *testing.T) {
	w, c := newWriter(t), &teller{size: 100_000}
	_, s := serverOf(t, w, &serve.Options{Changes: c.changes})
	url := s.URL + "/app/changes"
	_, first := listen(t, url, "", "")
	for id := journal.TXID(1); id <= 40; id++ { // more than is kept, of which the first listener misses none
		w.add(1, 20)
		told(t, first, id, id)
	}
	_, late := listen(t, url+"?after=3", "", "")
	told(t, late, 4, 40)
	w.add(2, 20)
	told(t, first, 41, 42)
	told(t, late, 41, 42)
	if n := c.walks.Load(); n != 2 {
		t.Errorf("%d walks, want one for all and one for the past", n)
	}
}

// TestChangesAnswers: who is not let in, and positions that nothing can be told after.
func TestChangesAnswers(t *testing.T) {
	w, other, c := newWriter(t), newWriter(t), new(teller)
	w.add(5, 20)
	other.add(5, 20)
	pos := journal.Position{Database: w.trail().Identity().Database, Timeline: 1, TXID: 5, Sum: w.sum}
	foreign, beside, ahead := pos, pos, pos
	foreign.Database = other.trail().Identity().Database
	beside.Sum = beside.Sum.Add(diff.PageSum(7, make([]byte, pageSize)))
	ahead.TXID = 6
	_, s := serverOf(t, w, &serve.Options{Changes: c.changes, Streams: 1, Tokens: []serve.Token{
		{Secret: "app", Databases: []string{"app"}}, {Secret: "none", Databases: []string{}},
	}})
	_, mute := serverOf(t, w, nil)
	url := s.URL + "/app/changes"
	for _, a := range []struct {
		url, token, last string
		status           int
		code             string
	}{
		{url, "", "", 401, "denied"},
		{url, "ap", "", 403, "denied"},
		{url, "none", "", 403, "denied"},
		{s.URL + "/other/changes", "app", "", 403, "denied"},
		{url + "?from=1", "app", "", 400, "usage"},
		{url + "?after=x", "app", "", 400, "usage"},
		{url + "?after=6", "app", "", 409, "range"},
		{url, "app", "x", 400, "usage"},
		{url, "app", "6", 409, "range"},
		{url, "app", ahead.Token(), 409, "range"},
		{url, "app", foreign.Token(), 409, "foreign"},
		{url, "app", beside.Token(), 409, "diverged"},
		{mute.URL + "/app/changes", "", "", 404, "not-found"},
	} {
		resp, r := listen(t, a.url, a.token, a.last)
		body, err := io.ReadAll(r)
		if p := serve.ParseProblem(body); err != nil || resp.StatusCode != a.status || p.Code != a.code {
			t.Errorf("%s with %q after %q: %d %s %v, want %d %s", a.url, a.token, a.last, resp.StatusCode, body, err, a.status, a.code)
		}
	}
	if n := c.walks.Load(); n != 0 {
		t.Errorf("%d walks for who was told nothing", n)
	}
	_, r := listen(t, url, "app", pos.Token())
	w.add(1, 20)
	told(t, r, 6, 6)
	if resp, _ := listen(t, url, "app", ""); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a listener too many: %d", resp.StatusCode)
	}
}

// TestChangesEnd: a walk that fails is said to all who listen, and the next listener begins another; the end of the
// server is the end of the events, after a whole one.
func TestChangesEnd(t *testing.T) {
	w, c := newWriter(t), new(teller)
	w.add(3, 20)
	h, s := serverOf(t, w, &serve.Options{Changes: c.changes})
	url := s.URL + "/app/changes?after=1"
	_, r := listen(t, url, "", "")
	id := told(t, r, 2, 3)
	err := fmt.Errorf("a segment: %w", journal.ErrCorrupt)
	c.fails.Store(&err)
	if _, kind, data := event(t, r); kind != "problem" || !errors.Is(serve.ParseProblem([]byte(data)), journal.ErrCorrupt) {
		t.Errorf("an event %q of kind %q", data, kind)
	}
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("and then %q, %v", rest, err)
	}
	_, r = listen(t, url, "", id)
	w.add(1, 20)
	told(t, r, 4, 4)
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(r)
	if text := strings.TrimLeft(string(rest), ":\n"); err != nil || text != "" {
		t.Errorf("at the end %q, %v", rest, err)
	}
	if resp, _ := listen(t, url, "", ""); resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("after the end: %d", resp.StatusCode)
	}
	if n := c.walks.Load(); n != 2 {
		t.Errorf("%d walks, want 2", n)
	}
}

// TestChangesSlow: a listener that takes nothing is cut off, and holds nobody up meanwhile.
func TestChangesSlow(t *testing.T) {
	w, c := newWriter(t), &teller{size: 500_000}
	h, s := serverOf(t, w, &serve.Options{Changes: c.changes, WriteTimeout: 100 * time.Millisecond})
	url := s.URL + "/app/changes?after=0"
	listen(t, url, "", "") // and then nothing is read
	w.add(60, 20)          // more than any socket holds
	for last, next := "", journal.TXID(1); next <= 60; {
		resp, r := listen(t, url, "", last) // again, if this machine was so slow that it was taken for such a one
		for next <= 60 {
			id, _, _, err := read(r)
			if err != nil {
				break
			}
			if pos, err := journal.ParseToken(id); err != nil || pos.TXID != next {
				t.Fatalf("told of %q, want transaction %d: %v", id, next, err)
			}
			last, next = id, next+1
		}
		resp.Body.Close()
	}
	for h.Streams() > 0 { // until the slow one is gone, and those that closed
		time.Sleep(time.Millisecond)
	}
}

// TestChangesDurable: nothing is told before it is durable, if that is wanted.
func TestChangesDurable(t *testing.T) {
	w, c := newWriter(t), new(teller)
	w.add(4, 20)
	var synced atomic.Int64
	_, s := serverOf(t, w, &serve.Options{Changes: c.changes, Sync: func(context.Context, string) error {
		synced.Add(1)
		return nil
	}})
	_, r := listen(t, s.URL+"/app/changes?after=0", "", "")
	told(t, r, 1, 4)
	if n := synced.Load(); n != 1 {
		t.Errorf("synced %d times for what was there", n)
	}
	w.add(1, 20)
	told(t, r, 5, 5)
	if n := synced.Load(); n != 2 {
		t.Errorf("synced %d times, want 2", n)
	}
}
