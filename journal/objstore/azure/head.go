package azure

import (
	"bytes"
	"context"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

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
	r, err := h.s.container.NewBlobClient(h.key).DownloadStream(ctx, nil)
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	data, err := objstore.ReadHead(r.Body)
	if err != nil {
		return nil, "", h.s.fail(objstore.OpLoad, h.key, err)
	}
	return data, tagOf(r.ETag), nil
}

func (h *head) Swap(ctx context.Context, old objstore.Tag, data []byte) (objstore.Tag, error) {
	err := h.s.check(ctx, objstore.OpSwap, h.key)
	if err == nil && len(data) > objstore.MaxHead {
		err = h.s.fail(objstore.OpSwap, h.key, objstore.ErrTooLarge)
	}
	if err != nil {
		return "", err
	}
	when := absent()
	if old != "" {
		etag := azcore.ETag(`"` + string(old) + `"`)
		when = &blob.ModifiedAccessConditions{IfMatch: &etag}
	}
	tag, err := h.s.put(ctx, h.key, bytes.NewReader(data), int64(len(data)), when)
	if unmet(err) || gone(err) { // if-match, and there is none
		err = objstore.ErrConflict
	}
	return tag, h.s.fail(objstore.OpSwap, h.key, err)
}
