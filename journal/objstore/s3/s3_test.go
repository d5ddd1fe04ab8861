package s3_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
	"github.com/pagetrail/pagetrail/journal/objstore/s3"
)

// serve starts a service with the bucket "trails" in this process.
func serve(t *testing.T, around func(http.Handler) http.Handler) (endpoint string) {
	t.Helper()
	backend := s3mem.New()
	if err := backend.CreateBucket("trails"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(backend).Server()
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Length") == "" && r.Method == http.MethodPut { // an empty body in chunks, which it does not know
			r.Header.Set("Content-Length", "0")
		}
		fake.ServeHTTP(w, r)
	})
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func open(t *testing.T, endpoint string) *s3.Store {
	t.Helper()
	s, err := s3.Open(s3.Options{Bucket: "trails", Endpoint: endpoint, Region: "us-east-1", PathStyle: true, AccessKey: "key", SecretKey: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, serve(t, nil)) })
}

// TestService is the suite at a real service, see objstoretest.ServiceEnv.
func TestService(t *testing.T) { objstoretest.RunService(t, "s3", s3.OpenURL) }

// A store that lies takes conditions off the requests before it looks at them, as services do that never heard of
// them.
func TestProbeFindsAStoreThatLies(t *testing.T) {
	for _, header := range []string{"If-None-Match", "If-Match"} {
		forget := func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del(header)
				h.ServeHTTP(w, r)
			})
		}
		s := open(t, serve(t, forget))
		objstoretest.Lies(t, "without "+header, s)
	}
}

// TestNoCredentials: where none are found requests are not signed, and it is not said that they are known.
func TestNoCredentials(t *testing.T) {
	endpoint := serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "" {
				t.Errorf("%s %s is signed", r.Method, r.URL)
			}
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>AccessDenied</Code><Message>no</Message></Error>"))
		})
	})
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_ACCESS_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SECRET_KEY", "MINIO_ROOT_USER", "MINIO_ACCESS_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", endpoint+"/role") // instead of the machine's
	s, err := s3.Open(s3.Options{Bucket: "trails", Endpoint: endpoint, Region: "us-east-1", PathStyle: true})
	if err != nil {
		t.Fatal(err)
	}
	objstoretest.Refused(t, "AccessDenied", s, objstore.ErrDenied, "no credentials were found")
}

func TestClearAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
		hint   string
	}{
		{403, "AccessDenied", objstore.ErrDenied, "policy"},
		{403, "InvalidAccessKeyId", objstore.ErrDenied, "AWS_ACCESS_KEY_ID"},
		{404, "XAdminUserNotFound", objstore.ErrDenied, "AWS_ACCESS_KEY_ID"},
		{403, "SignatureDoesNotMatch", objstore.ErrDenied, "secret key"},
		{400, "ExpiredToken", objstore.ErrDenied, "expired"},
		{403, "RequestTimeTooSkewed", objstore.ErrDenied, "clocks"},
		{403, "SomethingNew", objstore.ErrDenied, "credentials"},
		{404, "NoSuchBucket", objstore.ErrNoBucket, "trails"},
	} {
		endpoint := serve(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/xml")
				w.WriteHeader(c.status)
				_, _ = w.Write([]byte("<Error><Code>" + c.code + "</Code><Message>no</Message></Error>"))
			})
		})
		objstoretest.Refused(t, c.code, open(t, endpoint), c.want, c.hint)
	}
}

// What is no clear answer is tried again, and a write that was carried out all the same is recognised.
func TestServerErrorsAreTriedAgain(t *testing.T) {
	failed := false
	s := open(t, serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut && !failed {
				failed = true
				h.ServeHTTP(httptest.NewRecorder(), r)
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			h.ServeHTTP(w, r)
		})
	}))
	retried := objstore.Retry(s, &objstore.RetryOptions{Pause: 1, Most: 1})
	if err := retried.Create(t.Context(), "k", strings.NewReader("mine"), 4); err != nil || !failed {
		t.Fatalf("create: %v, failed once: %v", err, failed)
	}
	if err := retried.Create(t.Context(), "k", strings.NewReader("mine"), 4); !errors.Is(err, objstore.ErrExists) {
		t.Errorf("second create: %v", err)
	}
}

func TestURLs(t *testing.T) {
	stores := objstore.Registry{"s3": s3.OpenURL}
	for raw, ok := range map[string]bool{
		"s3://trails": true,
		"s3://trails/a/b/?region=eu-central-1&endpoint=https://s3.example&path-style=true": true,
		"s3:///prefix":                      false,
		"s3://b/prefix":                     false,
		"s3://no..name":                     false,
		"s3://trails?regoin=eu-central-1":   false,
		"s3://trails?endpoint=minio:9000":   false,
		"s3://trails?path-style=perhaps":    false,
		"s3://key:secret@trails":            false,
		"s3://trails/../other":              false,
		"gs://trails":                       false,
		"s3://trails?region=a&region=b":     false,
		"s3://trails?endpoint=https://h/pa": false,
	} {
		s, err := stores.Open(t.Context(), raw)
		if ok != (err == nil) || !ok && !errors.Is(err, objstore.ErrKey) {
			t.Errorf("%s: %v %v", raw, s, err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the error tells the secret: %v", raw, err)
		}
	}
}

func TestCredentialsOfTheEnvironment(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "from-the-environment")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	var seen string
	endpoint := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Get("Authorization")
			h.ServeHTTP(w, r)
		})
	})
	u, err := url.Parse("s3://trails/app?region=us-east-1&path-style=true&endpoint=" + endpoint)
	if err != nil {
		t.Fatal(err)
	}
	s, err := s3.OpenURL(t.Context(), u)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "k", strings.NewReader("x"), 1); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(seen, "from-the-environment") {
		t.Errorf("signed by %q", seen)
	}
	if _, _, err := open(t, endpoint).Get(t.Context(), "app/k", 0, -1); err != nil {
		t.Errorf("the prefix of the URL is not that of the key: %v", err)
	}
}
