package archive_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// Archives below a place are found by the form of their keys, each once, with one request for each, however deep they are
// and whatever else is there.
func TestBelow(t *testing.T) {
	s, meter := new(mem.Store), new(objstore.Meter)
	for _, key := range []string{
		"README", "a.db/00000001/0/0000000000000001.seg", "a.db/00000001/0/0000000000000009.seg", "a.db/head",
		"a.db-2/00000001/base/0000000000000001.base", "a.db0/head", "notes/2026/text", "srv/x/b.db/00000002/0/0000000000000001.seg", "srv/x/b.db/head",
	} {
		if err := s.Put(t.Context(), key, bytes.NewReader(nil), 0); err != nil {
			t.Fatal(err)
		}
	}
	const all = "[a.db-2 a.db a.db0 srv/x/b.db]"
	got, err := archive.Below(t.Context(), objstore.Metered(s, meter), 10)
	if fmt.Sprint(got) != all || err != nil || meter.Requests() != 7 {
		t.Errorf("%v, %v, in %d requests", got, err, meter.Requests())
	}
	if got, err := archive.Below(t.Context(), s, 3); fmt.Sprint(got) != "[a.db-2 a.db]" || err != nil {
		t.Errorf("of three: %v, %v", got, err)
	}
	if got, err := archive.Below(t.Context(), objstore.Sub(s, "srv"), 3); fmt.Sprint(got) != "[x/b.db]" || err != nil {
		t.Errorf("below srv: %v, %v", got, err)
	}
}
