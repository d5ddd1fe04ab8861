package objstore_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// FuzzPathKey: every path has a key that stores take, and the path can be read from it, so no two have the same.
func FuzzPathKey(f *testing.F) {
	for _, path := range []string{"a/b.db", "/srv/a b#1?.db", "ü", "a=20b", "..", "./.a", "%2F", "\xff\x00"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		key := objstore.PathKey(path)
		if err := objstore.CheckKey(key); err != nil && key != "" && len(key) <= 1024 {
			t.Errorf("%q: %v", path, err)
		}
		parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
		back, err := url.PathUnescape(strings.ReplaceAll(key, "=", "%"))
		if want := strings.Join(parts, "/"); err != nil || back != want {
			t.Errorf("%q is %q, and back %q, %v", path, key, back, err)
		}
	})
}

// What a URL would silently mean otherwise than it looks is refused, and how it is written is said.
func TestURLs(t *testing.T) {
	reg := objstore.Registry{"none": func(_ context.Context, u *url.URL) (objstore.Store, error) {
		_, err := objstore.Query(u)
		return nil, err
	}}
	for raw, want := range map[string]string{
		"none:///a b":         "",
		"none:///a%23b":       "",
		"none:///a#b":         "# is written %23",
		"none:///a#":          "# is written %23",
		"none:///a?b":         "? is written %3F",
		"none:///100%":        "% is written %25",
		"none://me:secret@h/": "credentials",
		"other:///a":          "want one of none",
	} {
		_, err := reg.Open(t.Context(), raw)
		if want == "" && err != nil || want != "" && (!errors.Is(err, objstore.ErrKey) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", raw, err, want)
		}
	}
}
