package cli

import (
	"context"
	"errors"
	"net/url"
	"path"

	"github.com/pagetrail/pagetrail/internal/config"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// insideAnother is the error of an archive that would begin at a URL inside another one's prefix, where whoever
// removes, copies or sets rules for that one takes this along. One that is there already goes on. It costs a request,
// and for a new archive one for each part of the prefix. A store that does not answer, or not to who asks, is for the
// caller to find out: then there is no error.
func insideAnother(ctx context.Context, raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return nil
	}
	if here, err := isArchive(ctx, u); here || err != nil {
		return nil
	}
	return belowAnother(ctx, u, storeName(raw))
}

// insideAny is insideAnother for all that a configuration ships to. What is below its to: is asked for once.
func insideAny(ctx context.Context, c *config.Config) error {
	if u, err := url.Parse(c.To); err == nil && c.To != "" {
		if err := belowAnother(ctx, u.JoinPath("any"), "what is shipped below "+storeName(c.To)); err != nil {
			return err
		}
	}
	for _, to := range owns(c) {
		if to == "" {
			continue
		}
		if err := insideAnother(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

// belowAnother is insideAnother for a place that has no archive, which the message calls what.
func belowAnother(ctx context.Context, u *url.URL, what string) error {
	at := *u
	for at.Path != "" && at.Path != "/" && at.Path != "." {
		at.Path, at.RawPath = path.Dir(path.Clean(at.Path)), ""
		if at.Path == "/" && at.Scheme != "file" {
			at.Path = "" // the bucket itself
		}
		there, err := isArchive(ctx, &at)
		if err != nil {
			return nil
		}
		if there {
			return &hintError{
				kindf(journal.ErrForeign, "%s is inside the archive %s", what, storeName(at.String())),
				"give it a prefix beside that one",
			}
		}
	}
	return nil
}

// isArchive says that there is the head of an archive at a URL, readable or not.
func isArchive(ctx context.Context, u *url.URL) (bool, error) {
	s, err := stores.Open(ctx, u.String())
	if err != nil {
		return false, err
	}
	defer s.Close()
	data, _, err := s.Head("head").Load(ctx)
	if errors.Is(err, objstore.ErrNotFound) || errors.Is(err, objstore.ErrNoBucket) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = archive.ParseHead(data)
	return err == nil || errors.Is(err, objstore.ErrEncrypted) || errors.Is(err, journal.ErrVersion) || errors.Is(err, journal.ErrFlag), nil
}
