package apply_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
)

// Of two bases the one is taken from which less has to be read, and the plan names the files.
func TestCheapestRoute(t *testing.T) {
	b := newTrail(t, t.TempDir()+"/app.db-pagetrail")
	rnd := rand.New(rand.NewPCG(1, 2))
	state := image{pageSize: 65536}
	for range 20 {
		page := make([]byte, state.pageSize)
		for i := range page {
			page[i] = byte(rnd.Uint32())
		}
		state.pages = append(state.pages, page)
	}
	b.commit(state, journal.Ordinary)
	b.base(state, false)
	grown := state.clone()
	for i := range 200 { // copies of pages: patches say so, a base cannot
		grown.pages = append(grown.pages, state.pages[i%20])
	}
	b.commit(grown, journal.Ordinary)
	b.base(grown, false)
	b.commit(state, journal.Ordinary)
	b.close()
	trail := openTrail(t, b.dir)
	plan, err := apply.Resolve(t.Context(), trail, apply.AtTXID(2))
	if err != nil || plan.Base == nil || plan.Base.TXID != 1 || plan.Transactions != 1 {
		t.Fatalf("%+v, %v", plan, err)
	}
	if len(plan.Reads) != 2 || plan.Reads[0].Name != plan.Base.Name || plan.Reads[1].Bytes > 1<<20 || plan.Bytes != plan.Reads[0].Bytes+plan.Reads[1].Bytes {
		t.Errorf("%+v", plan.Reads)
	}
	var out bytes.Buffer
	if _, err := apply.HydrateTo(t.Context(), trail, &out, apply.AtTXID(2), nil); err != nil || !bytes.Equal(out.Bytes(), grown.bytes()) {
		t.Errorf("another database, %v", err)
	}
}
