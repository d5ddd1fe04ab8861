package ship_test

import (
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/encrypt"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
)

// sealed encrypts a store to a key that everybody knows.
func sealed(t testing.TB, s objstore.Store) objstore.Store {
	t.Helper()
	r, err := encrypt.ParseRecipients("age1zpxqdja4rk8zv0qvlljmveaggfql3c8mzsugdmpdukn07caqfslsqlv9hp")
	if err != nil {
		t.Fatal(err)
	}
	ids, err := encrypt.ParseIdentities("AGE-SECRET-KEY-1Q04Y769AMGTUQ8XEZREDKTNZFZ5YCR8SPC5DG745STNJH5L7647Q52YCXT")
	if err != nil {
		t.Fatal(err)
	}
	e, err := encrypt.New(s, encrypt.Keys{Recipients: r, Identities: ids}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// Encrypted, too, every call of the store may fail once, in each of the two ways: those of the encryption itself, and
// those that write an object again with another key.
func TestEveryCallFailsEncrypted(t *testing.T) {
	p := story(t)
	count, clean := new(calls), new(mem.Store)
	if err := tell(t.Context(), p, sealed(t, count.of(clean))); err != nil {
		t.Fatal(err)
	}
	want := keys(t, sealed(t, clean))
	if len(count.all) < 30 || len(want) < 8 || len(keys(t, clean)) != len(want)+1 {
		t.Fatalf("a story of %d calls and %d objects", len(count.all), len(want))
	}
	for _, i := range count.chosen() {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			s := new(mem.Store)
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			if err := tell(t.Context(), p, sealed(t, objstore.Faulty(s, f))); err != nil {
				t.Fatalf("call %d, outcome %d: %v", i, out, err)
			}
			if f.Fired() != 1 {
				t.Fatalf("call %d, outcome %d: never reached", i, out)
			}
			compareKeys(t, i, want, keys(t, sealed(t, s)))
			if i%10 == 0 {
				p.checkArchive(sealed(t, s), p.last(), 2)
			}
		}
	}
}
