// Package s3 is an object store that speaks Amazon's S3: Amazon's own, or any other by its endpoint.
//
//	s3://bucket/prefix?region=eu-central-1
//	s3://bucket/prefix?endpoint=https://minio.example:9000&path-style=true
//
// # Who asks
//
// Credentials are looked for where every such program looks: the environment (AWS_ACCESS_KEY_ID and its companions,
// MINIO_ACCESS_KEY), the shared credentials file with AWS_PROFILE, and the role of the machine or the container. They
// are not part of the URL, which ends up in logs. A store that allows anybody works without.
//
// What must be allowed: GetObject, PutObject, DeleteObject (for [objstore.Probe] and retention) and ListBucket.
//
// # Conditional writes
//
// Create is a PUT with if-none-match, Swap one with if-match on the ETag. Amazon has them since 2024, and so have
// MinIO, R2, Ceph and others of that age; what does not know them may ignore them, and then two writers could
// overwrite each other: [objstore.Probe] finds that out.
//
// # Sizes
//
// An object of up to 64 MiB is one PUT; a larger one goes up in parts, with the condition on the last call. Parts
// that a crash left behind are not objects; a lifecycle rule of the bucket for incomplete uploads removes them.
package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// onePut is the size up to which an object is sent in one call, in bytes.
const onePut = 64 << 20

// Options for Open. Only Bucket is needed.
type Options struct {
	Bucket    string
	Endpoint  string // URL of the service; default https://s3.amazonaws.com
	Region    string // default: asked for, once
	PathStyle bool   // the bucket in the path, not in the host name; default: by the endpoint
	// AccessKey, SecretKey and Token are the credentials; default: looked for, see the package comment.
	AccessKey, SecretKey, Token string
	// Transport for the requests; default that of the SDK.
	Transport http.RoundTripper
}

// Store is a bucket of S3. Safe for concurrent use.
type Store struct {
	core   minio.Core
	bucket string
}

var _ objstore.Store = (*Store)(nil)

// OpenURL opens s3://BUCKET/PREFIX with the parameters endpoint, region and path-style.
func OpenURL(_ context.Context, u *url.URL) (objstore.Store, error) {
	q, err := objstore.Query(u, "endpoint", "region", "path-style")
	if err != nil {
		return nil, err
	}
	o := Options{Bucket: u.Host, Endpoint: q.Get("endpoint"), Region: q.Get("region")}
	if v := q.Get("path-style"); v != "" {
		if o.PathStyle, err = strconv.ParseBool(v); err != nil {
			return nil, fmt.Errorf("store %s: path-style=%s, want true or false: %w", u, v, objstore.ErrKey)
		}
	}
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		if err := objstore.CheckKey(prefix); err != nil {
			return nil, fmt.Errorf("store %s: %w", u, err)
		}
	}
	s, err := Open(o)
	if err != nil {
		return nil, err
	}
	return objstore.Sub(s, prefix), nil
}

// Open opens a bucket. Nothing is asked of the service yet.
func Open(o Options) (*Store, error) {
	if o.Bucket == "" {
		return nil, fmt.Errorf("store s3: no bucket, want s3://BUCKET/PREFIX: %w", objstore.ErrKey)
	}
	if err := s3utils.CheckValidBucketName(o.Bucket); err != nil { // else each call would say so, and be tried again
		return nil, fmt.Errorf("store s3://%s: %w: %v", o.Bucket, objstore.ErrKey, err)
	}
	endpoint := o.Endpoint
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" {
		return nil, fmt.Errorf("store s3://%s: endpoint %.200q, want https://HOST: %w", o.Bucket, endpoint, objstore.ErrKey)
	}
	lookup := minio.BucketLookupAuto
	if o.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(u.Host, &minio.Options{
		Creds: creds(&o), Secure: u.Scheme == "https", Region: o.Region, BucketLookup: lookup, Transport: o.Transport,
		MaxRetries: 1, // objstore.Retry knows what may be tried again and what then is to be looked at
	})
	if err != nil {
		return nil, fmt.Errorf("store s3://%s: %w: %v", o.Bucket, objstore.ErrKey, err)
	}
	client.SetAppInfo("pagetrail", "1")
	return &Store{core: minio.Core{Client: client}, bucket: o.Bucket}, nil
}

func creds(o *Options) *credentials.Credentials {
	if o.AccessKey != "" {
		return credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.Token)
	}
	return credentials.NewChainCredentials([]credentials.Provider{
		&credentials.EnvAWS{}, &credentials.EnvMinio{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
	})
}

func (s *Store) check(ctx context.Context, op objstore.Op, key string) error {
	err := ctx.Err()
	if err == nil {
		err = objstore.CheckKey(key)
	}
	if err != nil {
		return s.fail(op, key, err)
	}
	return nil
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := s.check(ctx, objstore.OpGet, key); err != nil {
		return nil, 0, err
	}
	if n == 0 {
		return s.nothing(ctx, key)
	}
	var opts minio.GetObjectOptions
	var err error
	switch {
	case n > 0:
		err = opts.SetRange(off, off+n-1)
	case off > 0:
		err = opts.SetRange(off, 0)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, key, opts)
	if r := minio.ToErrorResponse(err); r.StatusCode == http.StatusRequestedRangeNotSatisfiable || r.Code == minio.InvalidRange {
		return s.nothing(ctx, key)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	size := info.Size
	if r := header.Get("Content-Range"); r != "" {
		if _, whole, ok := strings.Cut(r, "/"); ok {
			if size, err = strconv.ParseInt(whole, 10, 64); err != nil {
				return nil, 0, s.fail(objstore.OpGet, key, errors.Join(fmt.Errorf("Content-Range %q", r), body.Close()))
			}
		}
	}
	return body, size, nil
}

// nothing is an empty part of an object.
func (s *Store) nothing(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	info, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	return io.NopCloser(bytes.NewReader(nil)), info.Size, nil
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpPut, key); err != nil {
		return err
	}
	_, err := s.put(ctx, key, body, size, minio.PutObjectOptions{})
	return s.fail(objstore.OpPut, key, err)
}

// Create implements objstore.Bucket.
func (s *Store) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpCreate, key); err != nil {
		return err
	}
	var opts minio.PutObjectOptions
	opts.SetMatchETagExcept("*")
	_, err := s.put(ctx, key, body, size, opts)
	if unmet(err) {
		err = objstore.ErrExists
	}
	return s.fail(objstore.OpCreate, key, err)
}

func (s *Store) put(ctx context.Context, key string, body io.ReaderAt, size int64, opts minio.PutObjectOptions) (objstore.Tag, error) {
	opts.ContentType = "application/octet-stream"
	opts.DisableMultipart = size <= onePut
	opts.SendContentMd5 = opts.DisableMultipart // so that the service refuses what was damaged on the way
	info, err := s.core.Client.PutObject(ctx, s.bucket, key, io.NewSectionReader(body, 0, size), size, opts)
	return objstore.Tag(strings.Trim(info.ETag, `"`)), err
}

// unmet says that a condition did not hold.
func unmet(err error) bool {
	return err != nil && minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed
}

// List implements objstore.Bucket: a request for each 1000 objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		opts := minio.ListObjectsOptions{Prefix: prefix, StartAfter: after, Recursive: true}
		for info := range s.core.ListObjectsIter(ctx, s.bucket, opts) {
			if info.Err != nil {
				yield(objstore.Object{}, s.fail(objstore.OpList, prefix, info.Err))
				return
			}
			if strings.HasSuffix(info.Key, "/") || info.Key <= after { // what consoles show as folders; a store that ignores start-after
				continue
			}
			if !yield(objstore.Object{Key: info.Key, Size: info.Size, Modified: info.LastModified}, nil) {
				return
			}
		}
	}
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, objstore.OpDelete, key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		err = nil
	}
	return s.fail(objstore.OpDelete, key, err)
}

// Close does nothing: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }

// Head implements objstore.Store. The tag is the ETag.
func (s *Store) Head(key string) objstore.Head { return &head{s, key} }

type head struct {
	s   *Store
	key string
}

func (h *head) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	if err := h.s.check(ctx, objstore.OpLoad, h.key); err != nil {
		return nil, "", err
	}
	body, info, _, err := h.s.core.GetObject(ctx, h.s.bucket, h.key, minio.GetObjectOptions{})
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	data, err := objstore.ReadHead(body)
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	return data, objstore.Tag(strings.Trim(info.ETag, `"`)), nil
}

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	err := h.s.check(ctx, objstore.OpSwap, h.key)
	if err == nil && len(data) > objstore.MaxHead {
		err = h.s.fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	if err != nil {
		return "", err
	}
	var opts minio.PutObjectOptions
	if old == "" {
		opts.SetMatchETagExcept("*")
	} else {
		opts.SetMatchETag(string(old))
	}
	tag, err := h.s.put(ctx, h.key, bytes.NewReader(data), int64(len(data)), opts)
	if unmet(err) || minio.ToErrorResponse(err).Code == minio.NoSuchKey { // if-match, and there is none
		err = objstore.ErrConflict
	}
	return tag, h.s.fail(objstore.OpSwap, h.key, err)
}
