package gcs_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/oauth2"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/gcs"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

// serve starts a fake service in this process.
func serve(t *testing.T, around func(http.Handler) http.Handler) (endpoint string) {
	t.Helper()
	var handler http.Handler = &fake{objects: map[string]object{}}
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func open(t *testing.T, o gcs.Options) *gcs.Store {
	t.Helper()
	if o.Bucket == "" {
		o.Bucket = "trails"
	}
	s, err := gcs.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, gcs.Options{Endpoint: serve(t, nil)}) })
}

// TestService is the suite at a running service, see objstoretest.ServiceEnv, with its bucket made if need be.
func TestService(t *testing.T) {
	objstoretest.RunService(t, "gs", func(ctx context.Context, u *url.URL) (objstore.Store, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.Query().Get("endpoint")+"/storage/v1/b?project=test", strings.NewReader(`{"name":"`+u.Host+`"}`))
		if err != nil {
			return nil, err
		}
		r.Header.Set("Content-Type", "application/json")
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return nil, err
		}
		if err := answer.Body.Close(); err != nil {
			return nil, err
		}
		return gcs.OpenURL(ctx, u)
	})
}

func TestProbeFindsAStoreThatLies(t *testing.T) {
	for _, generations := range []bool{false, true} {
		s := open(t, gcs.Options{Endpoint: serve(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if q := r.URL.Query(); (q.Get("ifGenerationMatch") == "0") != generations {
					q.Del("ifGenerationMatch")
					r.URL.RawQuery = q.Encode()
				}
				h.ServeHTTP(w, r)
			})
		})})
		objstoretest.Lies(t, fmt.Sprint("generations ", generations), s)
	}
}

func TestClearAnswers(t *testing.T) {
	for _, c := range []struct {
		status          int
		reason, message string
		want            error
		hint            string
	}{
		{401, "authError", "Invalid Credentials", objstore.ErrDenied, "log in"},
		{403, "forbidden", "robot@x does not have storage.objects.create access", objstore.ErrDenied, "Storage Object User"},
		{404, "notFound", "The specified bucket does not exist.", objstore.ErrNoBucket, "trails"},
		{403, "rateLimitExceeded", "slow down", nil, "slow down"},
		{429, "rateLimitExceeded", "slow down", nil, "429"},
		{503, "backendError", "try again", nil, "503"},
	} {
		s := open(t, gcs.Options{Endpoint: serve(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.reason, c.message) })
		})})
		objstoretest.Refused(t, fmt.Sprint(c.status, " ", c.reason), s, c.want, c.hint)
	}
}

func TestServerErrorsAreTriedAgain(t *testing.T) {
	puts := 0
	s := open(t, gcs.Options{Endpoint: serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				if puts++; puts == 1 {
					h.ServeHTTP(httptest.NewRecorder(), r)
					refuse(w, http.StatusServiceUnavailable, "backendError", "try again")
					return
				}
			}
			h.ServeHTTP(w, r)
		})
	})})
	retried := objstore.Retry(s, &objstore.RetryOptions{Pause: 1, Most: 1})
	if err := retried.Create(t.Context(), "k", strings.NewReader("mine"), 4); err != nil || puts != 2 {
		t.Fatalf("create: %v, %d tries", err, puts)
	}
}

// refusing is a source that has no tokens to give.
type refusing struct{ err error }

func (r refusing) Token() (*oauth2.Token, error) { return nil, r.err }

func TestTokens(t *testing.T) {
	var seen string
	endpoint := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("Authorization")
			h.ServeHTTP(w, r)
		})
	})
	s := open(t, gcs.Options{Endpoint: endpoint, Tokens: oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "mine"})})
	if err := s.Create(t.Context(), "k", strings.NewReader("x"), 1); err != nil || seen != "Bearer mine" {
		t.Errorf("asked by %q, %v", seen, err)
	}
	expired := &oauth2.RetrieveError{Response: &http.Response{StatusCode: 400}, ErrorCode: "invalid_grant"}
	for _, c := range []struct {
		err   error
		final bool
	}{{expired, true}, {&oauth2.RetrieveError{Response: &http.Response{StatusCode: 503}}, false}, {errors.New("no network"), false}} {
		s := open(t, gcs.Options{Endpoint: endpoint, Tokens: refusing{c.err}})
		if err := s.Delete(t.Context(), "k"); objstore.Final(err) != c.final || c.final != errors.Is(err, objstore.ErrDenied) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "none.json"))
	s = open(t, gcs.Options{Endpoint: "https://127.0.0.1:1"})
	if err := s.Delete(t.Context(), "k"); !errors.Is(err, objstore.ErrDenied) || !strings.Contains(err.Error(), "gcloud auth application-default login") {
		t.Errorf("no credentials: %v", err)
	}
}

func TestURLs(t *testing.T) {
	stores := objstore.Registry{"gs": gcs.OpenURL}
	for raw, ok := range map[string]bool{
		"gs://trails":                         true,
		"gs://trails/a/b/":                    true,
		"gs://trails?endpoint=http://h:4443":  true,
		"gs:///trails":                        false,
		"gs://trails?region=x":                false,
		"gs://trails/../other":                false,
		"gs://trails?endpoint=h":              false,
		"gs://trails?endpoint=https://h/path": false,
		"gs://account:secret@trails/a":        false,
	} {
		s, err := stores.Open(t.Context(), raw)
		if ok != (err == nil) || !ok && !errors.Is(err, objstore.ErrKey) {
			t.Errorf("%s: %v %v", raw, s, err)
		}
	}
}
