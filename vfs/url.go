package vfs

import (
	"net/url"
	"path/filepath"
	"strings"
)

// fileURL is the name by which SQLite opens the file at path. A space is %20 in
// the query too, where net/url writes a plus sign, which to SQLite is one.
func fileURL(path string, query url.Values) string {
	params := strings.ReplaceAll(query.Encode(), "+", "%20")
	return (&url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: params}).String()
}
