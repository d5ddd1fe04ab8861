package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/serve"
)

// Options for Open and Pipe; nil means defaults.
type Options struct {
	// Token is sent as a bearer token; default none.
	Token string
	// Client makes the requests; default one of its own, without a limit for whole requests. Certificates are its
	// transport's.
	Client *http.Client
	// Silence is how long the server may take to answer; default 30 s. Once it has, it says itself how often it will
	// be heard.
	Silence time.Duration
	// TempDir is for bases and batches that are too large for memory, and for the state that a replica begins with;
	// default os.TempDir().
	TempDir string
}

func (o *Options) filled() Options {
	var f Options
	if o != nil {
		f = *o
	}
	if f.Silence <= 0 {
		f.Silence = 30 * time.Second
	}
	if f.Client == nil {
		f.Client = &http.Client{Transport: http.DefaultTransport}
	}
	return f
}

// web is a server's database.
type web struct {
	url string // without a slash at the end
	o   *Options
}

// statusBytes bounds what is read of an answer that is not a stream.
const statusBytes = 64 << 10

// Open asks the server whose database it has at url, which is http or https, and a name at its end. Nothing is
// streamed yet. ctx is for this request.
func Open(ctx context.Context, at string, o *Options) (*Source, error) {
	u, err := url.Parse(at)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("%q is no URL of a database that is served: want https://HOST/NAME", at)
	}
	if u.User != nil {
		return nil, errors.New("a password in the URL is not used: give a token")
	}
	s := &Source{o: o.filled(), name: u.Host + u.Path}
	s.web = &web{url: strings.TrimRight(u.String(), "/"), o: &s.o}
	if _, err := s.Refresh(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Pipe reads a stream from r: what serve.Send wrote. It waits for the stream's head. r is closed by Close.
func Pipe(ctx context.Context, r io.ReadCloser, o *Options) (*Source, error) {
	s := &Source{o: o.filled(), name: "the stream"}
	ctx, cancel := context.WithCancelCause(ctx)
	context.AfterFunc(ctx, func() { _ = r.Close() }) // which ends a read that waits
	s.o.Silence = 1<<63 - 1                          // nobody promised anything before the head
	s.connect(s.start(ctx, cancel, r, 0, false))
	if _, err := s.Refresh(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (w *web) get(ctx context.Context, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.url+path, nil)
	if err != nil {
		return nil, err
	}
	if w.o.Token != "" {
		req.Header.Set("Authorization", "Bearer "+w.o.Token)
	}
	resp, err := w.o.Client.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, statusBytes))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return nil, err
	}
	p := serve.ParseProblem(text)
	if p.Code == "" {
		p.Text = fmt.Sprintf("the server answers %s: %s", resp.Status, p.Text)
	}
	if p.Code == "range" {
		return nil, &journal.RangeError{First: p.First, Last: p.Last}
	}
	return nil, p
}

func (w *web) status(ctx context.Context) (serve.Status, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, w.o.Silence, errSilent)
	defer cancel()
	resp, err := w.get(ctx, "")
	if err != nil {
		return serve.Status{}, err
	}
	defer resp.Body.Close()
	var st struct {
		serve.Status
		Databases []string `json:"databases"` // of the answer at the root
	}
	err = json.NewDecoder(io.LimitReader(resp.Body, statusBytes)).Decode(&st)
	switch {
	case err == nil && st.Databases != nil:
		return st.Status, fmt.Errorf("no database is named; there are %q, as in %s/NAME: %w", st.Databases, w.url, journal.ErrNotFound)
	case err != nil, st.Position.Database == (journal.DatabaseID{}):
		return st.Status, fmt.Errorf("the answer is not that of pagetrail serve: %w", errors.Join(err, errAnswer))
	}
	return st.Status, nil
}

var errAnswer = errors.New("no database in it")

// stream opens a stream: after a transaction, or with a base and up to transaction to.
func (w *web) stream(ctx context.Context, s *Source, after journal.TXID, from bool, to journal.TXID) (*conn, error) {
	path := fmt.Sprintf("/stream?protocol=%d", serve.Version)
	if from {
		path += fmt.Sprintf("&after=%d", after)
	}
	if to > 0 {
		path += fmt.Sprintf("&to=%d", to)
	}
	asking := ctx
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	silent := time.AfterFunc(w.o.Silence, func() { cancel(errSilent) })
	gone := context.AfterFunc(asking, func() { cancel(context.Cause(asking)) })
	resp, err := w.get(ctx, path)
	silent.Stop()
	gone() // the stream may live longer than what opened it
	if err != nil {
		cancel(nil)
		if r, ok := errors.AsType[*journal.RangeError](err); ok {
			if want := max(after, to); r.Last < want { // another server answered than the one that had it
				return nil, &follow.BehindError{Replica: want, Source: r.Last}
			}
			r.Want = after + 1
		}
		return nil, err
	}
	return s.start(ctx, cancel, &body{ctx, resp.Body}, after, from), nil
}

// body is a response's whose reads fail with what cancelled them.
type body struct {
	ctx context.Context
	io.ReadCloser
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		if cause := context.Cause(b.ctx); cause != nil {
			err = cause
		}
	}
	return n, err
}
