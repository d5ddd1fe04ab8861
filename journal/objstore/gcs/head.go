package gcs

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Head implements objstore.Store. The tag is the service's generation of the object.
func (s *Store) Head(key string) objstore.Head { return &head{s, key} }

type head struct {
	s   *Store
	key string
}

func (h *head) Load(ctx context.Context) ([]byte, objstore.Tag, error) {
	if err := h.s.check(ctx, objstore.OpLoad, h.key); err != nil {
		return nil, "", err
	}
	r, err := h.s.get(ctx, h.key, 0, -1)
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	data, err := objstore.ReadHead(r.Body)
	tag := r.Header.Get("x-goog-generation")
	if err == nil && tag == "" {
		err = errors.New("the service does not say which generation the object is")
	}
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	return data, objstore.Tag(tag), nil
}

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	err := h.s.check(ctx, objstore.OpSwap, h.key)
	if err == nil && len(data) > objstore.MaxHead {
		err = h.s.fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	if err != nil {
		return "", err
	}
	if old == "" {
		old = "0" // there is none
	} else if n, err := strconv.ParseInt(string(old), 10, 64); err != nil || n <= 0 { // no content ever had that tag
		return "", h.s.fail(objstore.OpSwap, h.key, objstore.ErrConflict)
	}
	tag, err := h.s.put(ctx, h.key, bytes.NewReader(data), int64(len(data)), string(old))
	if status(err) == http.StatusPreconditionFailed {
		err = objstore.ErrConflict
	}
	return tag, h.s.fail(objstore.OpSwap, h.key, err)
}
