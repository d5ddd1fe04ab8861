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

// CheckKey says whether a key can be used in every store: parts of lower and upper case letters, digits, '-', '_', '='
// and '.', joined by '/'; no part is empty or begins with '.', so that a key is also a path and never leaves a directory.
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
		if !plain(c) && c != '=' && c != '/' {
			return fmt.Errorf("key %.80q: %w", key, ErrKey)
		}
	}
	return nil
}

// plain says that a byte stands for itself in a key.
func plain(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.'
}

// PathKey is the key of a path of slashes and any other bytes: what a key cannot have is written =XX, two digits of a
// byte in base 16, and so is '=' itself, so that two paths never have one key. Empty parts are left out.
func PathKey(path string) string {
	var b strings.Builder
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && b.Len() > 0 {
			b.WriteByte('/')
		}
		for i, c := range []byte(part) {
			if plain(c) && (c != '.' || i > 0) {
				b.WriteByte(c)
			} else {
				fmt.Fprintf(&b, "=%02X", c)
			}
		}
	}
	return b.String()
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
		return nil, fmt.Errorf("store %.200q: %w: in a URL %% is written %%25", raw, ErrKey)
	}
	if u.User != nil {
		return nil, fmt.Errorf("store %s: credentials do not belong into a URL: %w", u.Redacted(), ErrKey)
	}
	if strings.Contains(raw, "#") { // what is behind it would not be part of the name
		return nil, fmt.Errorf("store %.200q: %w: in a URL # is written %%23", raw, ErrKey)
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
		if len(known) == 0 {
			return nil, fmt.Errorf("store %s: %w: it takes no parameters; in a name ? is written %%3F", u.Redacted(), ErrKey)
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("store %s: unknown parameter %q, known are %s: %w", u.Redacted(), name, strings.Join(known, ", "), ErrKey)
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("store %s: parameter %q twice: %w", u.Redacted(), name, ErrKey)
		}
	}
	return q, nil
}
