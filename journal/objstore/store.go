package objstore

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// Object describes an object in a list.
type Object struct {
	Key  string
	Size int64 // bytes
	// Modified is when it was written by the store's clock, often in whole seconds; zero where the store does not say.
	Modified time.Time
}

// Bucket holds objects that do not change. Keys are as [CheckKey] says. All methods may be called concurrently.
//
// Errors are an [*Error] that wraps one of the sentinels where the store gave a clear answer, or the context's. After
// any other error of Put, Create and Delete it is not known whether they were carried out.
type Bucket interface {
	// Get reads n bytes from off on; n < 0 means to the end. Fewer come when the object ends before. size is that of
	// the whole object. The caller closes the body; an error of reading it may be any. ErrNotFound. off beyond the
	// end gives an empty body.
	Get(ctx context.Context, key string, off, n int64) (body io.ReadCloser, size int64, err error)
	// Put writes an object, whatever had that key. body is read from 0 to size, perhaps several times.
	Put(ctx context.Context, key string, body io.ReaderAt, size int64) error
	// Create is Put that fails with ErrExists when there is an object of that key.
	Create(ctx context.Context, key string, body io.ReaderAt, size int64) error
	// List yields the objects whose key begins with prefix and is greater than after, in the order of their bytes.
	// After an error nothing more comes.
	List(ctx context.Context, prefix, after string) iter.Seq2[Object, error]
	// Delete removes an object; one that is not there is no error.
	Delete(ctx context.Context, key string) error
	// Close releases what the store holds on to. It deletes nothing.
	Close() error
}

// Tag says which content of a head is meant. The empty Tag means that there is none. Contents that are equal may have
// equal tags, so a head that could come back to an earlier content should hold a counter.
type Tag string

// Head is one small object that is only ever replaced by compare-and-swap. Safe for concurrent use.
type Head interface {
	// Load returns the content and its tag. ErrNotFound when there is none yet.
	Load(ctx context.Context) ([]byte, Tag, error)
	// Swap replaces the content that has the tag old, or with the empty tag makes the first, and returns the new
	// tag. ErrConflict when the content is another by now.
	Swap(ctx context.Context, old Tag, data []byte) (Tag, error)
}

// Store is a bucket that can also have heads: objects among the others, which Get, List and Delete see.
type Store interface {
	Bucket
	// Head is the head of that key, whether it exists yet or not.
	Head(key string) Head
}

// MaxHead limits the content of a head, in bytes: a reader never allocates more for one.
const MaxHead = 1 << 20

// ReadHead is for those who implement Load: it reads the content of a head, and closes it. More than [MaxHead] is
// [ErrTooLarge].
func ReadHead(body io.ReadCloser) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, MaxHead+1))
	if err = errors.Join(err, body.Close()); err == nil && len(data) > MaxHead {
		err = ErrTooLarge
	}
	return data, err
}
