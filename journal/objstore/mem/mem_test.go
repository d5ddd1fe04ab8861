package mem_test

import (
	"net/url"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/objstore/objstoretest"
)

func TestConformance(t *testing.T) {
	objstoretest.Run(t, func(*testing.T) objstore.Store { return new(mem.Store) })
}

func TestNamesAreStores(t *testing.T) {
	open := mem.Opener()
	get := func(name string) objstore.Store {
		t.Helper()
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := open(t.Context(), u)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if get("mem:a") != get("mem:a") || get("mem:a") == get("mem:b") {
		t.Error("a name is not one store")
	}
}
