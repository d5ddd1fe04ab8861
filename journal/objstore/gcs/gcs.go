// Package gcs is an object store in Google Cloud Storage.
//
//	gs://bucket/prefix
//	gs://bucket/prefix?endpoint=http://127.0.0.1:4443
//
// It speaks the service's JSON API itself, which is a handful of requests, because Google's own client would make a
// program larger by half. Tokens come from Google's library.
//
// # Who asks
//
// Whoever Google's own programs would be (Application Default Credentials): the file that
// GOOGLE_APPLICATION_CREDENTIALS names, who logged in with gcloud, or the service account of the machine. That one
// needs the role Storage Object User. With STORAGE_EMULATOR_HOST, or an endpoint of http, nobody is asked.
//
// # Conditional writes
//
// Create is an upload with ifGenerationMatch=0, Swap one with the generation that was loaded; the service has always
// had both. It takes about one write a second of the same name, more are answered with 429 and tried again; an archive's
// head changes less often.
//
// # Sizes
//
// An object is one request, whatever its size; when that breaks off it begins anew.
package gcs

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Open. Only Bucket is needed.
type Options struct {
	Bucket   string
	Endpoint string // URL of the service; default that of STORAGE_EMULATOR_HOST, else https://storage.googleapis.com
	// Tokens say who asks; default: looked for, see the package comment.
	Tokens oauth2.TokenSource
	// Transport for the requests; default http.DefaultTransport.
	Transport http.RoundTripper
}

// Store is a bucket of Cloud Storage. Safe for concurrent use.
type Store struct {
	bucket, endpoint string
	transport        http.RoundTripper
	login            func() (oauth2.TokenSource, error) // nil: nobody asks
}

var _ objstore.Store = (*Store)(nil)

// scope is what tokens are good for.
const scope = "https://www.googleapis.com/auth/devstorage.read_write"

// OpenURL opens gs://BUCKET/PREFIX with the parameter endpoint, and credentials of the environment.
func OpenURL(_ context.Context, u *url.URL) (objstore.Store, error) {
	q, err := objstore.Query(u, "endpoint")
	if err != nil {
		return nil, err
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := objstore.CheckKey(prefix); err != nil {
			return nil, fmt.Errorf("store %s: %w", u, err)
		}
	}
	s, err := Open(Options{Bucket: u.Host, Endpoint: q.Get("endpoint")})
	if err != nil {
		return nil, err
	}
	return objstore.Sub(s, prefix), nil
}

// Open opens a bucket. Nothing is asked of the service yet.
func Open(o Options) (*Store, error) {
	if o.Bucket == "" || strings.ContainsAny(o.Bucket, "/?#%") {
		return nil, fmt.Errorf("store gs: no bucket, want gs://BUCKET/PREFIX: %w", objstore.ErrKey)
	}
	s := &Store{bucket: o.Bucket, endpoint: o.Endpoint, transport: o.Transport}
	if s.transport == nil {
		s.transport = http.DefaultTransport
	}
	if host := os.Getenv("STORAGE_EMULATOR_HOST"); s.endpoint == "" && host != "" {
		if s.endpoint = host; !strings.Contains(host, "://") {
			s.endpoint = "http://" + host
		}
	}
	if s.endpoint == "" {
		s.endpoint = "https://storage.googleapis.com"
	}
	u, err := url.Parse(s.endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("store gs://%s: endpoint %.200q, want https://HOST: %w", o.Bucket, s.endpoint, objstore.ErrKey)
	}
	s.endpoint = strings.TrimSuffix(s.endpoint, "/")
	switch {
	case o.Tokens != nil:
		s.login = func() (oauth2.TokenSource, error) { return o.Tokens, nil }
	case u.Scheme == "https":
		s.login = sync.OnceValues(func() (oauth2.TokenSource, error) {
			c, err := google.FindDefaultCredentials(context.Background(), scope)
			if err != nil {
				return nil, err
			}
			return c.TokenSource, nil
		})
	}
	return s, nil
}

// do makes a request of a method and a path with parameters, and returns an answer of 2xx.
func (s *Store) do(ctx context.Context, method, path string, q url.Values, header http.Header, body io.Reader, size int64) (*http.Response, error) {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, s.endpoint+path, body)
	if err != nil {
		return nil, err
	}
	for name, values := range header {
		r.Header[name] = values
	}
	r.Header.Set("User-Agent", "pagetrail/1")
	r.Header.Set("Accept-Encoding", "identity") // sizes and ranges are those of what is stored
	if body != nil {
		r.ContentLength = size
	}
	if s.login != nil {
		tokens, err := s.login()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", errLogin, err)
		}
		token, err := tokens.Token()
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		token.SetAuthHeader(r)
	}
	answer, err := s.transport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode < 200 || answer.StatusCode > 299 {
		return nil, refused(answer)
	}
	return answer, nil
}

// path of an object, or of the list without a key.
func (s *Store) path(key string) string {
	p := "/storage/v1/b/" + s.bucket + "/o"
	if key != "" {
		p += "/" + url.PathEscape(key)
	}
	return p
}

func (s *Store) check(ctx context.Context, op objstore.Op, key string) error {
	err := ctx.Err()
	if err == nil {
		err = objstore.CheckKey(key)
	}
	return s.fail(op, key, err)
}

// get asks for the content of an object, from off on and n bytes of it; n < 0 means to the end.
func (s *Store) get(ctx context.Context, key string, off, n int64) (*http.Response, error) {
	header := http.Header{}
	switch {
	case n > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", off, max(off+n-1, off)))
	case off > 0:
		header.Set("Range", fmt.Sprintf("bytes=%d-", off))
	}
	return s.do(ctx, http.MethodGet, s.path(key), url.Values{"alt": {"media"}}, header, nil, 0)
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := s.check(ctx, objstore.OpGet, key); err != nil {
		return nil, 0, err
	}
	if n == 0 {
		return s.nothing(ctx, key)
	}
	r, err := s.get(ctx, key, off, n)
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return s.nothing(ctx, key)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	size := r.ContentLength
	if r.StatusCode == http.StatusPartialContent {
		_, whole, _ := strings.Cut(r.Header.Get("Content-Range"), "/")
		if size, err = strconv.ParseInt(whole, 10, 64); err != nil {
			err = fmt.Errorf("Content-Range %q", r.Header.Get("Content-Range"))
		}
	} else if size < 0 || size > 0 && (off > 0 || n > 0 && size > n) { // of an empty object there are no parts
		err = fmt.Errorf("the service answers %d, with %d bytes, to a part", r.StatusCode, size)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, errors.Join(err, r.Body.Close()))
	}
	return r.Body, size, nil
}

// resource is what the service says of an object. Its 64-bit numbers are texts.
type resource struct {
	Name       string    `json:"name"`
	Size       int64     `json:"size,string"`
	Updated    time.Time `json:"updated"` // zero where it was not asked for
	Generation string    `json:"generation"`
}

// nothing is an empty part of an object.
func (s *Store) nothing(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	var o resource
	r, err := s.do(ctx, http.MethodGet, s.path(key), url.Values{"fields": {"name,size,generation"}}, nil, nil, 0)
	if err == nil {
		err = decode(r, &o)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	return io.NopCloser(bytes.NewReader(nil)), o.Size, nil
}

// maxAnswer limits an answer that is not an object, in bytes: a list of 1000 has some hundred thousand.
const maxAnswer = 16 << 20

func decode(r *http.Response, into any) error {
	err := json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(into)
	return errors.Join(err, r.Body.Close())
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpPut, key); err != nil {
		return err
	}
	_, err := s.put(ctx, key, body, size, "")
	return s.fail(objstore.OpPut, key, err)
}

// Create implements objstore.Bucket.
func (s *Store) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpCreate, key); err != nil {
		return err
	}
	_, err := s.put(ctx, key, body, size, "0")
	if status(err) == http.StatusPreconditionFailed {
		err = objstore.ErrExists
	}
	return s.fail(objstore.OpCreate, key, err)
}

// boundary stands between the parts of an upload. It is not looked for in them, since their lengths are known.
const boundary = "pagetrail-1f0c7b9ae53d42868d1e"

// put uploads an object, if the generation there is the one given; empty: whatever there is. What was damaged on the
// way is refused by the service, for the checksum.
func (s *Store) put(ctx context.Context, key string, body io.ReaderAt, size int64, generation string) (objstore.Tag, error) {
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, io.NewSectionReader(body, 0, size)); err != nil {
		return "", err
	}
	meta, err := json.Marshal(map[string]string{
		"name": key, "contentType": "application/octet-stream",
		"crc32c": base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, sum.Sum32())),
	})
	if err != nil {
		return "", err
	}
	before := fmt.Sprintf("--%s\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n%s\r\n--%s\r\nContent-Type: application/octet-stream\r\n\r\n",
		boundary, meta, boundary)
	after := "\r\n--" + boundary + "--\r\n"
	q := url.Values{"uploadType": {"multipart"}, "fields": {"name,size,generation"}}
	if generation != "" {
		q.Set("ifGenerationMatch", generation)
	}
	header := http.Header{"Content-Type": {"multipart/related; boundary=" + boundary}}
	r, err := s.do(ctx, http.MethodPost, "/upload/storage/v1/b/"+s.bucket+"/o", q, header,
		io.MultiReader(strings.NewReader(before), io.NewSectionReader(body, 0, size), strings.NewReader(after)),
		int64(len(before))+size+int64(len(after)))
	if err != nil {
		return "", err
	}
	var o resource
	if err := decode(r, &o); err != nil {
		return "", err
	}
	return objstore.Tag(o.Generation), nil
}

// List implements objstore.Bucket: a request for each 1000 objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		q := url.Values{"prefix": {prefix}, "fields": {"items(name,size,updated),nextPageToken"}}
		if after > prefix {
			q.Set("startOffset", after)
		}
		for {
			var page struct {
				Items []resource `json:"items"`
				Next  string     `json:"nextPageToken"`
			}
			r, err := s.do(ctx, http.MethodGet, s.path(""), q, nil, nil, 0)
			if err == nil {
				err = decode(r, &page)
			}
			if err != nil {
				yield(objstore.Object{}, s.fail(objstore.OpList, prefix, err))
				return
			}
			for _, o := range page.Items {
				if strings.HasSuffix(o.Name, "/") || o.Name <= after { // what consoles show as folders
					continue
				}
				if !yield(objstore.Object{Key: o.Name, Size: o.Size, Modified: o.Updated}, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			q.Set("pageToken", page.Next)
		}
	}
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, objstore.OpDelete, key); err != nil {
		return err
	}
	r, err := s.do(ctx, http.MethodDelete, s.path(key), nil, nil, nil, 0)
	if err == nil {
		err = r.Body.Close()
	}
	if err = s.fail(objstore.OpDelete, key, err); errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	return err
}

// Close does nothing: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }
