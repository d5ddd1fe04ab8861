package encrypt_test

import (
	"os"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// What the first release wrote is read for ever. testdata/golden/README.md says how it was made.
func TestGolden(t *testing.T) {
	inner := new(mem.Store)
	read := func(name string) string {
		t.Helper()
		data, err := os.ReadFile("testdata/golden/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	put(t, inner, "encryption", read("v1.encryption"))
	put(t, inner, "00000001/0/0000000000000001.seg", read("v1.object"))
	ids, err := encrypt.ParseIdentities(read("identity.txt"))
	if err != nil {
		t.Fatal(err)
	}
	s := open(t, inner, encrypt.Keys{Identities: ids})
	if got := raw(t, s, "00000001/0/0000000000000001.seg"); got != text(70000) {
		t.Errorf("%d bytes, and they differ", len(got))
	}
}
