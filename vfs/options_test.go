package vfs_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ncruces/go-sqlite3"
)

// TestMisspeltSetting refuses settings that would silently not be heeded, and leaves alone what may be somebody else's.
func TestMisspeltSetting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	for given, meant := range map[string]string{
		"ful=detach": "full", "fulll=detach": "full", "fukl=detach": "full", "fulL=detach": "full", "flul=detach": "full",
		"check_point=background": "checkpoint", "Trail=x": "trail", "trial=x": "trail", "sync_timeut=1s": "sync_timeout",
		"cache=private": "", "mode=rwc": "", "nolock=0": "", "_sync=1": "", "fullness=1": "", "track=1": "", "encoding=x": "", "f=1": "",
	} {
		c, err := sqlite3.Open("file:" + path + "?vfs=pagetrail&" + given)
		switch {
		case meant == "" && err != nil:
			t.Errorf("%s: %v", given, err)
		case meant != "" && (err == nil || !strings.Contains(err.Error(), "write "+meant+"=")):
			t.Errorf("%s: %v, want a word of %s", given, err, meant)
		}
		if err == nil {
			c.Close()
		}
	}
}
