// Package azure is an object store in Azure Blob Storage.
//
//	azure://account/container/prefix
//	azure://devstoreaccount1/container?endpoint=http://127.0.0.1:10000/devstoreaccount1
//
// # Who asks
//
// The account's key is taken from AZURE_STORAGE_KEY, a shared access signature from AZURE_STORAGE_SAS_TOKEN. Without
// either it is whoever Microsoft's own programs would be: a service principal in the environment (AZURE_CLIENT_ID and
// its companions), the workload's or the machine's managed identity, or who logged in with az. That one needs the role
// Storage Blob Data Contributor.
//
// # Conditional writes
//
// Create is a write with if-none-match, Swap one with if-match on the ETag; the service has always had both.
//
// # Sizes
//
// An object of up to 64 MiB is one call; a larger one goes up in blocks, with the condition on the last call. Blocks
// that a crash left behind are not objects, and the service drops them after a week.
//
// # Not for
//
// Accounts with a hierarchical namespace: their lists are in another order, which List finds out and refuses.
package azure

import (
	"bytes"
	"context"
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/bloberror"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// onePut is the size up to which an object is sent in one call, and that of the blocks of a larger one, in bytes.
const onePut = 64 << 20

// Options for Open. Account and Container are needed.
type Options struct {
	Account, Container string
	Endpoint           string // URL of the account; default https://ACCOUNT.blob.core.windows.net
	// Key of the account, or a shared access signature; default: looked for, see the package comment.
	Key, SAS string
	// Transport for the requests; default that of the SDK.
	Transport http.RoundTripper
}

// Store is a container. Safe for concurrent use.
type Store struct {
	container *container.Client
	name      string // for messages
	onePut    int64  // tests have smaller blocks
}

var _ objstore.Store = (*Store)(nil)

// OpenURL opens azure://ACCOUNT/CONTAINER/PREFIX with the parameter endpoint, and credentials of the environment.
func OpenURL(_ context.Context, u *url.URL) (objstore.Store, error) {
	q, err := objstore.Query(u, "endpoint")
	if err != nil {
		return nil, err
	}
	name, prefix, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if prefix != "" {
		if err := objstore.CheckKey(prefix); err != nil {
			return nil, fmt.Errorf("store %s: %w", u, err)
		}
	}
	s, err := Open(Options{
		Account: u.Host, Container: name, Endpoint: q.Get("endpoint"), Key: os.Getenv("AZURE_STORAGE_KEY"), SAS: os.Getenv("AZURE_STORAGE_SAS_TOKEN"),
	})
	if err != nil {
		return nil, err
	}
	return objstore.Sub(s, prefix), nil
}

// Open opens a container. Nothing is asked of the service yet.
func Open(o Options) (*Store, error) {
	if o.Account == "" || o.Container == "" {
		return nil, fmt.Errorf("store azure: want azure://ACCOUNT/CONTAINER/PREFIX: %w", objstore.ErrKey)
	}
	s := &Store{name: "azure://" + o.Account + "/" + o.Container, onePut: onePut}
	if o.Endpoint == "" {
		o.Endpoint = "https://" + o.Account + ".blob.core.windows.net"
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("store %s: endpoint %.200q, want https://HOST: %w", s.name, o.Endpoint, objstore.ErrKey)
	}
	if s.container, err = client(&o); err != nil {
		return nil, fmt.Errorf("store %s: %w: %v", s.name, objstore.ErrDenied, err)
	}
	return s, nil
}

func client(o *Options) (*container.Client, error) {
	at := strings.TrimSuffix(o.Endpoint, "/") + "/" + o.Container
	opts := &container.ClientOptions{ClientOptions: policy.ClientOptions{
		Retry:     policy.RetryOptions{MaxRetries: -1}, // objstore.Retry knows what may be tried again and what then is to be looked at
		Telemetry: policy.TelemetryOptions{ApplicationID: "pagetrail"},
	}}
	if o.Transport != nil {
		opts.Transport = &http.Client{Transport: o.Transport}
	}
	switch {
	case o.Key != "":
		cred, err := container.NewSharedKeyCredential(o.Account, o.Key)
		if err != nil {
			return nil, fmt.Errorf("the key of the account is no base64; look at AZURE_STORAGE_KEY")
		}
		return container.NewClientWithSharedKeyCredential(at, cred, opts)
	case o.SAS != "":
		return container.NewClientWithNoCredential(at+"?"+strings.TrimPrefix(o.SAS, "?"), opts)
	}
	cred, err := azidentity.NewDefaultAzureCredential(nil)
	if err != nil {
		return nil, err
	}
	return container.NewClient(at, cred, opts)
}

func (s *Store) check(ctx context.Context, op objstore.Op, key string) error {
	err := ctx.Err()
	if err == nil {
		err = objstore.CheckKey(key)
	}
	return s.fail(op, key, err)
}

// Get implements objstore.Bucket.
func (s *Store) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	if err := s.check(ctx, objstore.OpGet, key); err != nil {
		return nil, 0, err
	}
	if n == 0 {
		return s.nothing(ctx, key)
	}
	r, err := s.container.NewBlobClient(key).DownloadStream(ctx, &blob.DownloadStreamOptions{
		Range: blob.HTTPRange{Offset: off, Count: max(n, 0)}, // 0: to the end
	})
	if status(err) == http.StatusRequestedRangeNotSatisfiable {
		return s.nothing(ctx, key)
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	if r.ContentRange != nil {
		_, whole, _ := strings.Cut(*r.ContentRange, "/")
		size, err := strconv.ParseInt(whole, 10, 64)
		if err != nil {
			return nil, 0, s.fail(objstore.OpGet, key, errors.Join(fmt.Errorf("Content-Range %q", *r.ContentRange), r.Body.Close()))
		}
		return r.Body, size, nil
	}
	if r.ContentLength == nil {
		return nil, 0, s.fail(objstore.OpGet, key, errors.Join(errors.New("an answer without a length"), r.Body.Close()))
	}
	return r.Body, *r.ContentLength, nil
}

// nothing is an empty part of an object.
func (s *Store) nothing(ctx context.Context, key string) (io.ReadCloser, int64, error) {
	r, err := s.container.NewBlobClient(key).GetProperties(ctx, nil)
	if err == nil && r.ContentLength == nil {
		err = errors.New("an answer without a length")
	}
	if err != nil {
		return nil, 0, s.fail(objstore.OpGet, key, err)
	}
	return io.NopCloser(bytes.NewReader(nil)), *r.ContentLength, nil
}

// Put implements objstore.Bucket.
func (s *Store) Put(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpPut, key); err != nil {
		return err
	}
	_, err := s.put(ctx, key, body, size, nil)
	return s.fail(objstore.OpPut, key, err)
}

// absent is the condition that there is no object of that name.
func absent() *blob.ModifiedAccessConditions {
	star := azcore.ETagAny
	return &blob.ModifiedAccessConditions{IfNoneMatch: &star}
}

// Create implements objstore.Bucket.
func (s *Store) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if err := s.check(ctx, objstore.OpCreate, key); err != nil {
		return err
	}
	_, err := s.put(ctx, key, body, size, absent())
	if bloberror.HasCode(err, bloberror.InvalidBlockList) { // another's commit of that name dropped our blocks
		if _, e := s.container.NewBlobClient(key).GetProperties(ctx, nil); e == nil {
			err = objstore.ErrExists
		}
	}
	if unmet(err) {
		err = objstore.ErrExists
	}
	return s.fail(objstore.OpCreate, key, err)
}

// section is a part of a body as the SDK wants to have it.
func section(body io.ReaderAt, off, n int64) io.ReadSeekCloser {
	return streaming.NopCloser(io.NewSectionReader(body, off, n))
}

// sumOf is the checksum of a part, so that the service refuses what was damaged on the way.
func sumOf(body io.ReaderAt, off, n int64) (blob.TransferValidationType, error) {
	sum := md5.New()
	if _, err := io.Copy(sum, io.NewSectionReader(body, off, n)); err != nil {
		return nil, err
	}
	return blob.TransferValidationTypeMD5(sum.Sum(nil)), nil
}

func (s *Store) put(ctx context.Context, key string, body io.ReaderAt, size int64, only *blob.ModifiedAccessConditions) (objstore.Tag, error) {
	c := s.container.NewBlockBlobClient(key)
	kind := "application/octet-stream"
	headers := &blob.HTTPHeaders{BlobContentType: &kind}
	when := &blob.AccessConditions{ModifiedAccessConditions: only}
	if size <= s.onePut {
		sum, err := sumOf(body, 0, size)
		if err != nil {
			return "", err
		}
		r, err := c.Upload(ctx, section(body, 0, size), &blockblob.UploadOptions{
			HTTPHeaders: headers, AccessConditions: when, TransactionalValidation: sum,
		})
		return tagOf(r.ETag), err
	}
	// Blocks that are not committed yet are shared by all who write that name: theirs must not be taken for ours.
	var upload [8]byte
	_, _ = rand.Read(upload[:]) // documented never to fail
	var ids []string
	for off := int64(0); off < size; off += s.onePut {
		id := base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(upload[:], uint64(len(ids))))
		n := min(s.onePut, size-off)
		sum, err := sumOf(body, off, n)
		if err != nil {
			return "", err
		}
		if _, err := c.StageBlock(ctx, id, section(body, off, n), &blockblob.StageBlockOptions{TransactionalValidation: sum}); err != nil {
			return "", err
		}
		ids = append(ids, id)
	}
	r, err := c.CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{HTTPHeaders: headers, AccessConditions: when})
	return tagOf(r.ETag), err
}

func tagOf(etag *azcore.ETag) objstore.Tag {
	if etag == nil {
		return ""
	}
	return objstore.Tag(strings.Trim(string(*etag), `"`))
}

// List implements objstore.Bucket: a request for each 5000 objects.
func (s *Store) List(ctx context.Context, prefix, after string) iter.Seq2[objstore.Object, error] {
	return func(yield func(objstore.Object, error) bool) {
		opts := &container.ListBlobsFlatOptions{Prefix: &prefix}
		if after > prefix {
			opts.StartFrom = &after
		}
		last := ""
		for pages := s.container.NewListBlobsFlatPager(opts); pages.More(); {
			page, err := pages.NextPage(ctx)
			if err == nil && page.Segment == nil {
				err = errors.New("a list without a list in it")
			}
			if err != nil {
				yield(objstore.Object{}, s.fail(objstore.OpList, prefix, err))
				return
			}
			for _, item := range page.Segment.BlobItems {
				if item.Name == nil || item.Properties == nil || item.Properties.ContentLength == nil || *item.Name <= after {
					continue
				}
				if *item.Name <= last {
					yield(objstore.Object{}, s.fail(objstore.OpList, prefix, fmt.Errorf(
						"%s comes after %s: the account has a hierarchical namespace, use one without: %w", *item.Name, last, objstore.ErrLies)))
					return
				}
				last = *item.Name
				o := objstore.Object{Key: last, Size: *item.Properties.ContentLength}
				if at := item.Properties.LastModified; at != nil {
					o.Modified = *at
				}
				if !yield(o, nil) {
					return
				}
			}
		}
	}
}

// Delete implements objstore.Bucket.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := s.check(ctx, objstore.OpDelete, key); err != nil {
		return err
	}
	_, err := s.container.NewBlobClient(key).Delete(ctx, nil)
	if gone(err) {
		err = nil
	}
	return s.fail(objstore.OpDelete, key, err)
}

// Close does nothing: connections that are idle end by themselves.
func (s *Store) Close() error { return nil }
