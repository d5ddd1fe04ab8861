package encrypt_test

import (
	"os"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// Whatever is in a store, reading it ends with what was written or with a clear answer.
func FuzzObject(f *testing.F) {
	read := func(name string) []byte {
		data, err := os.ReadFile("testdata/golden/" + name)
		if err != nil {
			f.Fatal(err)
		}
		return data
	}
	mark, object := read("v1.encryption"), read("v1.object")
	ids, err := encrypt.ParseIdentities(string(read("identity.txt")))
	if err != nil {
		f.Fatal(err)
	}
	const key = "00000001/0/0000000000000001.seg"
	want := text(70000)
	f.Add(mark, object, int64(0), int64(-1))
	f.Add(mark, object[:600], int64(3), int64(70000))
	f.Add([]byte{}, object[:512], int64(65536), int64(1))
	f.Add([]byte(`{"format":1,"header":17}`), []byte("age-encryption.org/v1\n-> X25519 a\n\n--- b\n"), int64(1), int64(0))
	f.Fuzz(func(t *testing.T, mark, object []byte, off, n int64) {
		if off < 0 {
			return
		}
		inner := new(mem.Store)
		if len(mark) > 0 {
			put(t, inner, "encryption", string(mark))
		}
		put(t, inner, key, string(object))
		s := open(t, inner, encrypt.Keys{Identities: ids})
		for range 2 { // the second time, what is known of it is used
			got, err := get(t.Context(), s, key, off, n)
			switch {
			case err != nil && !objstore.Final(err):
				t.Fatalf("no clear answer: %v", err)
			case err == nil:
				end := int64(len(want))
				if n >= 0 && n < end-min(off, end) {
					end = off + n
				}
				if got != want[min(off, end):end] {
					t.Fatalf("%d wrong bytes from %d", len(got), off)
				}
			}
		}
		if _, _, err := s.Head(key).Load(t.Context()); err != nil && !objstore.Final(err) {
			t.Fatalf("head: %v", err)
		}
		for _, err := range s.List(t.Context(), "", "") {
			if err != nil && !objstore.Final(err) {
				t.Fatalf("list: %v", err)
			}
		}
	})
}
