package vfs_test

import (
	"net/url"
	"path/filepath"
	"testing"

	"github.com/ncruces/go-sqlite3"

	"github.com/pagetrail/pagetrail/vfs"
)

// TestFileURL has SQLite read what names are built for it.
func TestFileURL(t *testing.T) {
	const odd = "odd +%&#?= name"
	path := filepath.Join(t.TempDir(), odd)
	c, err := sqlite3.Open(vfs.FileURL(path, url.Values{"trail": {odd}, "mode": {"rwc"}}))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	name := c.Filename("main")
	if name.String() != path || name.URIParameter("trail") != odd {
		t.Errorf("SQLite reads the path %q and the trail %q", name, name.URIParameter("trail"))
	}
}
