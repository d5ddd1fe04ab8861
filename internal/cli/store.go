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
// As much is opened as can be read, as by openWhole.
func openArchive(ctx context.Context, env *Env, raw string) (*openedTrail, error) {
	return openArchiveBy(ctx, env, raw, archive.Options{Damaged: true}, nil)
}

// openSoundArchive is openArchive for whoever must have all that was shipped: damage of the end is an error, now and later.
func openSoundArchive(ctx context.Context, env *Env, raw string) (*openedTrail, error) {
	t, err := openArchiveBy(ctx, env, raw, archive.Options{}, nil)
	if err == nil && t.damage != nil {
		_ = t.Close() // it was only read
		return nil, t.damage
	}
	return t, err
}

// openArchiveBy opens an archive for reading, as o says but for its name; wrap, if it is not nil, is put around its store.
func openArchiveBy(ctx context.Context, env *Env, raw string, o archive.Options, wrap func(objstore.Store) objstore.Store) (*openedTrail, error) {
	meter, began := new(objstore.Meter), time.Now()
	s, err := env.openStore(ctx, raw, func(s objstore.Store) objstore.Store {
		if s = objstore.Metered(objstore.Retry(s, nil), meter); wrap != nil {
			s = wrap(s)
		}
		return s
	})
	if err != nil {
		return nil, err
	}
	o.Name = storeName(raw)
	r, err := archive.Open(ctx, objstore.ReadOnly(s), &o)
	if errors.Is(err, journal.ErrNotFound) && strings.HasPrefix(raw, "file:") && exists(filepath.Join(storeName(raw), "identity")) {
		return nil, withHint(err, "it is a trail and no archive: leave file:// away")
	}
	if errors.Is(err, journal.ErrNotFound) {
		return nil, withHint(err, "%s", archivesBelow(ctx, s))
	}
	if err != nil {
		return nil, archiveHint(err, raw)
	}
	return &openedTrail{Trail: r.Trail, damage: archiveHint(r.Lost(), raw), beginning: r.LostBeginning(), meter: meter, began: began}, nil
}

// archivesBelow names archives below a place that is none, as ship of a directory and run make them.
func archivesBelow(ctx context.Context, s objstore.Store) string {
	const most = 5
	list, err := archive.Below(ctx, s, most+1)
	if len(list) > most {
		list[most] = "…"
	}
	if err != nil || len(list) == 0 {
		return "look at the prefix, or begin an archive with pagetrail ship"
	}
	return "archives there: " + strings.Join(list, ", ")
}

// archiveHint says what to do about objects that are damaged, which is not what is done about files: nothing in an
// archive is repaired in place. Nil stays nil, and what is no archive's.
func archiveHint(err error, raw string) error {
	place, placed := errors.AsType[*journal.Error](err)
	if !isURL(raw) || placed && !strings.HasPrefix(place.Path, storeName(raw)) { // ship reads files, too
		return err
	}
	switch {
	case errors.Is(err, journal.ErrCorrupt), errors.Is(err, journal.ErrForeign) && placed && place.Path != storeName(raw),
		errors.Is(err, journal.ErrGap) && placed && strings.HasSuffix(place.Path, ".seg"):
		return withHint(err, "bring the object back from a copy, or from a version that the store kept; what is left: %s", commandLine("window", raw))
	case isUnreached(err):
		return withHint(err, "see that the store can be reached and is fit: %s", commandLine("doctor", raw))
	}
	return err
}

// isUnreached says that a store did not answer, and nothing better is known of why.
func isUnreached(err error) bool {
	_, ofStore := errors.AsType[*objstore.Error](err)
	return ofStore && hintFor(err) == ""
}

// isHeld says that another writer has the archive.
func isHeld(err error) bool {
	_, held := errors.AsType[*archive.HeldError](err)
	return held
}
