package objstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/pagetrail/pagetrail/internal/pause"
)

// RetryOptions for Retry; nil means defaults.
type RetryOptions struct {
	Tries int           // of each call; default 6
	Pause time.Duration // before the second try, about; default 100 ms. It doubles from try to try
	Most  time.Duration // a pause is no longer; default 10 s
	// Notify, if set, is called before each pause.
	Notify func(c Call, try int, pause time.Duration, err error)
}

func (o *RetryOptions) filled() RetryOptions {
	var f RetryOptions
	if o != nil {
		f = *o
	}
	if f.Tries <= 0 {
		f.Tries = 6
	}
	if f.Pause <= 0 {
		f.Pause = 100 * time.Millisecond
	}
	if f.Most <= 0 {
		f.Most = 10 * time.Second
	}
	return f
}

// Pause is how long to wait before try number try, from 2 on: doubling from first to most, and between half of that
// and all of it at random, so that many who failed together do not come back together.
func Pause(try int, first, most time.Duration) time.Duration {
	d := most
	if shift := try - 2; shift < 40 && first<<shift < most && first<<shift > 0 {
		d = first << shift
	}
	return d/2 + rand.N(d/2+1)
}

// Retry carries out again what failed without a clear answer (see Final). A call whose failed try was carried out
// after all looks to the next try like another's doing: a Create that finds the key taken, a Swap that finds the tag
// gone. Then what is there is compared with what was to be written, and if it is that, the call succeeded. So what two
// writers must not both believe to have written has to differ between them: a head names its writer. A body that breaks
// off while it is read is continued where it broke.
func Retry(s Store, o *RetryOptions) Store {
	r := &retry{opt: o.filled()}
	r.around = around{s, r.hook}
	return r
}

type retry struct {
	around
	opt RetryOptions
}

var _ Store = (*retry)(nil)

func (r *retry) hook(ctx context.Context, c Call, do func(context.Context) error) error {
	for try := 1; ; try++ {
		err := do(ctx)
		if err == nil || Final(err) {
			return err
		}
		if cause := context.Cause(ctx); cause != nil {
			return fmt.Errorf("%w (the last error: %w)", cause, err)
		}
		if try >= r.opt.Tries {
			return fmt.Errorf("%w (after %d tries)", err, try)
		}
		wait := Pause(try+1, r.opt.Pause, r.opt.Most)
		if r.opt.Notify != nil {
			r.opt.Notify(c, try, wait, err)
		}
		if err := pause.For(ctx, wait); err != nil {
			return err
		}
	}
}

func (r *retry) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	failed := false
	return r.hook(ctx, Call{OpCreate, key, size}, func(ctx context.Context) error {
		err := r.store.Create(ctx, key, body, size)
		if failed && errors.Is(err, ErrExists) {
			same, e := Same(ctx, r.store, key, body, size)
			if e != nil {
				return e
			}
			if same {
				return nil
			}
		}
		failed = failed || err != nil
		return err
	})
}

// Same says whether an object has that content.
func Same(ctx context.Context, b Bucket, key string, body io.ReaderAt, size int64) (bool, error) {
	got, have, err := b.Get(ctx, key, 0, -1)
	if err != nil {
		return false, err
	}
	defer got.Close()
	if have != size {
		return false, nil
	}
	want := io.NewSectionReader(body, 0, size)
	var a, c [32 << 10]byte
	for {
		n, err := io.ReadFull(want, a[:])
		m, gotErr := io.ReadFull(got, c[:])
		if gotErr != nil && gotErr != io.EOF && gotErr != io.ErrUnexpectedEOF {
			return false, gotErr
		}
		if !bytes.Equal(a[:n], c[:m]) {
			return false, nil
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
}

func (r *retry) Head(key string) Head { return &retryHead{r, key, r.store.Head(key)} }

type retryHead struct {
	r    *retry
	key  string
	head Head
}

func (h *retryHead) Load(ctx context.Context) ([]byte, Tag, error) {
	return (&aroundHead{&h.r.around, h.key, h.head}).Load(ctx)
}

func (h *retryHead) Swap(ctx context.Context, old Tag, data []byte) (tag Tag, err error) {
	failed := false
	err = h.r.hook(ctx, Call{OpSwap, h.key, int64(len(data))}, func(ctx context.Context) error {
		var err error
		tag, err = h.head.Swap(ctx, old, data)
		if failed && errors.Is(err, ErrConflict) {
			now, nowTag, e := h.head.Load(ctx)
			if errors.Is(e, ErrNotFound) { // there is none, so the conflict is none of our making
				return err
			}
			if e != nil {
				return e
			}
			if bytes.Equal(now, data) {
				tag = nowTag
				return nil
			}
		}
		failed = failed || err != nil
		return err
	})
	return tag, err
}

func (r *retry) Get(ctx context.Context, key string, off, n int64) (io.ReadCloser, int64, error) {
	body, size, err := r.around.Get(ctx, key, off, n)
	if err != nil {
		return nil, 0, err
	}
	end := size
	if n >= 0 {
		end = min(size, off+n)
	}
	return &retryBody{r: r, ctx: ctx, key: key, body: body, off: off, end: end, size: size, left: r.opt.Tries - 1}, size, nil
}

// retryBody opens the object again where reading it broke off.
type retryBody struct {
	r        *retry
	ctx      context.Context // of the Get
	key      string
	body     io.ReadCloser
	off, end int64
	size     int64
	left     int // tries
}

func (b *retryBody) Read(p []byte) (int, error) {
	for {
		n, err := b.body.Read(p)
		b.off += int64(n)
		if n > 0 || err == nil {
			return n, nil
		}
		if err == io.EOF && b.off >= b.end {
			return 0, io.EOF
		}
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if b.left--; b.left < 0 || b.ctx.Err() != nil {
			return 0, &Error{Op: OpGet, Store: "store", Key: b.key, Err: err}
		}
		_ = b.body.Close()
		body, size, err := b.r.around.Get(b.ctx, b.key, b.off, b.end-b.off)
		if err != nil {
			b.body = io.NopCloser(bytes.NewReader(nil))
			return 0, err
		}
		if b.body = body; size != b.size {
			return 0, &Error{Op: OpGet, Store: "store", Key: b.key, Err: fmt.Errorf("%d bytes became %d while it was read: %w", b.size, size, ErrConflict)}
		}
	}
}

func (b *retryBody) Close() error { return b.body.Close() }
