package objstoretest

import (
	"errors"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Refused asks a store, whose service answers every request the same, for all that it can do: the errors are want, which
// trying again does not change, or with a nil want are worth to be tried again; and they have the words says, on one line.
func Refused(t *testing.T, answer string, s objstore.Store, want error, says string) {
	t.Helper()
	errs := map[string]error{"create": s.Create(t.Context(), "k", strings.NewReader("x"), 1), "delete": s.Delete(t.Context(), "k")}
	_, _, errs["get"] = s.Get(t.Context(), "k", 0, -1)
	_, _, errs["load"] = s.Head("k").Load(t.Context())
	_, errs["swap"] = s.Head("k").Swap(t.Context(), "1", []byte("x"))
	errs["list"] = nil
	for _, err := range s.List(t.Context(), "", "") {
		errs["list"] = err
	}
	for call, err := range errs {
		switch {
		case err == nil, want != nil && !errors.Is(err, want), objstore.Final(err) != (want != nil):
			t.Errorf("%s, %s: %v, want %v", answer, call, err, want)
		case !strings.Contains(err.Error(), says), strings.Contains(err.Error(), "\n"):
			t.Errorf("%s, %s: %v, want a line with %q", answer, call, err, says)
		}
	}
}

// Lies probes a store that lies about conditions: the probe finds it out, and leaves nothing behind.
func Lies(t *testing.T, how string, s objstore.Store) {
	t.Helper()
	if err := objstore.Probe(t.Context(), s); !errors.Is(err, objstore.ErrLies) {
		t.Errorf("%s: the probe says %v", how, err)
	}
	for o, err := range s.List(t.Context(), "", "") {
		t.Errorf("%s: the probe left %v %v", how, o, err)
	}
}
