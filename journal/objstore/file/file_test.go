package file_test

import (
	"errors"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/file"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(t *testing.T) objstore.Store { return file.Open(t.TempDir()+"/store", nil) })
}

// A directory that is not there yet has no head; one whose place is not there either may be on a disk that is not mounted.
func TestNotMounted(t *testing.T) {
	for place, want := range map[string]error{"/store": objstore.ErrNotFound, "/unmounted/store": objstore.ErrNoBucket} {
		_, _, err := file.Open(t.TempDir()+place, nil).Head("head").Load(t.Context())
		if !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", place, err, want)
		}
	}
}
