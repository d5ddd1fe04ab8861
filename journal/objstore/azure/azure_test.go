package azure_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/azure"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

// serve starts a fake service in this process.
func serve(t *testing.T, around func(http.Handler) http.Handler) (endpoint string) {
	t.Helper()
	var handler http.Handler = &fake{objects: map[string]object{}, blocks: map[string][]byte{}}
	if around != nil {
		handler = around(handler)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/account"
}

func open(t *testing.T, endpoint string) *azure.Store {
	t.Helper()
	s, err := azure.Open(azure.Options{Account: "account", Container: "trails", Endpoint: endpoint, Key: "c2VjcmV0"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return open(t, serve(t, nil)) })
}

// A large object goes up in blocks, and keeps the promises of a small one.
func TestConformanceInBlocks(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store {
		s := open(t, serve(t, nil))
		s.SetOnePut(3)
		return s
	}, "many", "put and get", "swap at once", "large head") // heads are never so large
	s := open(t, serve(t, nil))
	s.SetOnePut(1000)
	want := strings.Repeat("0123456789", 1234)
	if err := s.Create(t.Context(), "k", strings.NewReader(want), int64(len(want))); err != nil {
		t.Fatal(err)
	}
	body, size, err := s.Get(t.Context(), "k", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || string(got) != want || size != int64(len(want)) {
		t.Errorf("%d bytes came back, %v", len(got), err)
	}
}

// TestService is the suite at a running service, see objstoretest.ServiceEnv, with its container made if need be.
func TestService(t *testing.T) {
	objstoretest.RunService(t, "azure", func(ctx context.Context, u *url.URL) (objstore.Store, error) {
		name, _, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
		cred, err := container.NewSharedKeyCredential(u.Host, os.Getenv("AZURE_STORAGE_KEY"))
		if err != nil {
			return nil, err
		}
		c, err := container.NewClientWithSharedKeyCredential(u.Query().Get("endpoint")+"/"+name, cred, nil)
		if err != nil {
			return nil, err
		}
		if _, err := c.Create(ctx, nil); err != nil && !strings.Contains(err.Error(), "ContainerAlreadyExists") {
			return nil, err
		}
		return azure.OpenURL(ctx, u)
	})
}

func TestProbeFindsAStoreThatLies(t *testing.T) {
	for _, header := range []string{"If-None-Match", "If-Match"} {
		s := open(t, serve(t, func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Header.Del(header)
				h.ServeHTTP(w, r)
			})
		}))
		objstoretest.Lies(t, "without "+header, s)
	}
}

func TestClearAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		want   error
		hint   string
	}{
		{403, "AuthenticationFailed", objstore.ErrDenied, "clock"},
		{403, "AuthorizationPermissionMismatch", objstore.ErrDenied, "Storage Blob Data Contributor"},
		{403, "KeyBasedAuthenticationNotPermitted", objstore.ErrDenied, "AZURE_STORAGE_KEY"},
		{401, "SomethingNew", objstore.ErrDenied, "credentials"},
		{404, "ContainerNotFound", objstore.ErrNoBucket, "make the container"},
	} {
		s := open(t, serve(t, func(http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, c.code) })
		}))
		objstoretest.Refused(t, c.code, s, c.want, c.hint)
	}
}

// What is no clear answer is tried again by Retry and by nobody else, and a write that was carried out all the same is
// recognised.
func TestServerErrorsAreTriedAgain(t *testing.T) {
	puts := 0
	s := open(t, serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPut {
				if puts++; puts == 1 {
					h.ServeHTTP(httptest.NewRecorder(), r)
					refuse(w, http.StatusServiceUnavailable, "ServerBusy")
					return
				}
			}
			h.ServeHTTP(w, r)
		})
	}))
	retried := objstore.Retry(s, &objstore.RetryOptions{Pause: 1, Most: 1})
	if err := retried.Create(t.Context(), "k", strings.NewReader("mine"), 4); err != nil || puts != 2 {
		t.Fatalf("create: %v, %d tries", err, puts)
	}
}

// A list in another order would hide objects from those who go on after the last.
func TestHierarchicalNamespace(t *testing.T) {
	s := open(t, serve(t, func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			_, _ = io.WriteString(w, `<?xml version="1.0"?><EnumerationResults><Blobs><Blob><Name>a/b</Name><Properties><Content-Length>1</Content-Length></Properties></Blob>`+
				`<Blob><Name>a-b</Name><Properties><Content-Length>1</Content-Length></Properties></Blob></Blobs><NextMarker /></EnumerationResults>`)
		})
	}))
	var last error
	for _, err := range s.List(t.Context(), "", "") {
		last = err
	}
	if !errors.Is(last, objstore.ErrLies) || !strings.Contains(last.Error(), "hierarchical") {
		t.Errorf("list: %v", last)
	}
}

func TestURLs(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", "c2VjcmV0")
	stores := objstore.Registry{"azure": azure.OpenURL}
	for raw, ok := range map[string]bool{
		"azure://account/trails":                           true,
		"azure://account/trails/a/b/":                      true,
		"azure://account/trails?endpoint=http://h/account": true,
		"azure://account":                                  false,
		"azure:///trails":                                  false,
		"azure://account/trails?region=x":                  false,
		"azure://account/trails/../other":                  false,
		"azure://account/trails?endpoint=h":                false,
		"azure://account:secret@trails/a":                  false,
	} {
		s, err := stores.Open(t.Context(), raw)
		if ok != (err == nil) || !ok && !errors.Is(err, objstore.ErrKey) {
			t.Errorf("%s: %v %v", raw, s, err)
		}
	}
	t.Setenv("AZURE_STORAGE_KEY", "secret no base64")
	if _, err := stores.Open(t.Context(), "azure://account/trails"); !errors.Is(err, objstore.ErrDenied) || strings.Contains(err.Error(), "secret") {
		t.Errorf("a key that is none: %v", err)
	}
}
