package file_test

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

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

// What a process that was killed left of an object goes when a large one is written there a day later.
func TestTemporaryFilesOfTheDead(t *testing.T) {
	dir := t.TempDir()
	old, young, other := dir+"/.big.0011.tmp", dir+"/.big.0022.tmp", dir+"/.tmp.notes"
	for _, name := range []string{old, young, other} {
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if at := time.Now().Add(-25 * time.Hour); name != young {
			if err := os.Chtimes(name, at, at); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := file.Open(dir, nil)
	if err := s.Put(t.Context(), "big", bytes.NewReader(make([]byte, 1<<20)), 1<<20); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{old: false, young: true, other: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
