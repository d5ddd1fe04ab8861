package objstore

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// maxKey is S3's limit, in bytes.
const maxKey = 1024

// CheckKey says whether a key can be used in every store: parts of lower and upper case letters, digits, '-', '_' and
// '.', joined by '/'; no part is empty or begins with '.', so that a key is also a path and never leaves a directory.
func CheckKey(key string) error {
	if len(key) > maxKey {
		return fmt.Errorf("key of %d bytes, at most %d: %w", len(key), maxKey, ErrKey)
	}
	for part := range strings.SplitSeq(key, "/") {
		if part == "" || part[0] == '.' {
			return fmt.Errorf("key %.80q: %w", key, ErrKey)
		}
	}
	for _, c := range []byte(key) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_./", c) >= 0) {
			return fmt.Errorf("key %.80q: %w", key, ErrKey)
		}
	}
	return nil
}

// Opener opens the store that a URL names. Secrets are not part of URLs.
type Opener func(ctx context.Context, u *url.URL) (Store, error)

// Registry knows an opener for each scheme. It is a value that a program makes, not a list that packages add
// themselves to, so that what a program can reach is to be read in one place.
type Registry map[string]Opener

// Open opens a store by its URL. Nothing is asked of the store yet.
func (r Registry) Open(ctx context.Context, raw string) (Store, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("store %.200q: %w", raw, ErrKey)
	}
	if u.User != nil {
		return nil, fmt.Errorf("store %s: credentials do not belong into a URL: %w", u.Redacted(), ErrKey)
	}
	open, ok := r[u.Scheme]
	if !ok {
		return nil, fmt.Errorf("store %.200q: want one of %s: %w", raw, strings.Join(r.Schemes(), ", "), ErrKey)
	}
	return open(ctx, u)
}

// Schemes are those that Open knows, sorted.
func (r Registry) Schemes() []string { return slices.Sorted(maps.Keys(r)) }

// Query checks the parameters of a store's URL: one that the store does not know is refused, since a misspelt
// "region" would otherwise be a bucket somewhere else.
func Query(u *url.URL, known ...string) (url.Values, error) {
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w: %v", u.Redacted(), ErrKey, err)
	}
	for name, values := range q {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("store %s: unknown parameter %q, known are %s: %w", u.Redacted(), name, strings.Join(known, ", "), ErrKey)
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("store %s: parameter %q twice: %w", u.Redacted(), name, ErrKey)
		}
	}
	return q, nil
}
