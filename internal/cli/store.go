package cli

import (
	"context"
	"errors"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/azure"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/objstore/gcs"
	"github.com/pagetrail/pagetrail/journal/objstore/s3"
)

// stores are the object stores that URLs may name.
var stores = objstore.Registry{"file": file.OpenURL, "s3": s3.OpenURL, "azure": azure.OpenURL, "gs": gcs.OpenURL}

// isURL says that an argument names an object store and not a file.
func isURL(arg string) bool { return strings.Contains(arg, "://") }

// storeName is a store in messages: its URL without the parameters, or its directory, so that an output inside it is
// recognised.
func storeName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	if u.Scheme == "file" {
		return filepath.FromSlash(u.Path)
	}
	u.RawQuery = ""
	return u.String()
}

// openArchive opens an archive for reading. The store has nothing to close; ctx ends what is under way.
func openArchive(ctx context.Context, env *Env, raw string) (*openedTrail, error) {
	meter, began := new(objstore.Meter), time.Now()
	s, err := env.openStore(ctx, raw, func(s objstore.Store) objstore.Store { return objstore.Metered(objstore.Retry(s, nil), meter) })
	if err != nil {
		return nil, err
	}
	r, err := archive.Open(ctx, objstore.ReadOnly(s), &archive.Options{Name: storeName(raw)})
	if errors.Is(err, journal.ErrNotFound) && strings.HasPrefix(raw, "file:") && exists(filepath.Join(storeName(raw), "identity")) {
		return nil, withHint(err, "it is a trail and no archive: leave file:// away")
	}
	if err != nil {
		return nil, err
	}
	return &openedTrail{Trail: r.Trail, meter: meter, began: began}, nil
}

// isHeld says that another writer has the archive.
func isHeld(err error) bool {
	_, held := errors.AsType[*archive.HeldError](err)
	return held
}
