package upkeep_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/upkeep"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// What the head says of merged objects need not be asked for: the window and a restore take few requests, however
// many objects there are.
func TestRequestsAfterMerging(t *testing.T) {
	p := newPrimary(t, 20)
	for range 12 {
		p.live(20, 20*time.Second)
		p.now = p.now.Add(5 * time.Hour)
	}
	p.run(archive.Retention{})
	m := new(objstore.Meter)
	r, err := archive.Open(t.Context(), objstore.Metered(p.store, m), nil)
	p.check(err)
	defer r.Close()
	if w, err := r.Window(t.Context()); err != nil || len(w.Spans) != 1 || w.Spans[0].Last != p.last() {
		t.Fatal(w, err)
	}
	if n := m.Requests(); n > 8 { // the head, a list, the end of the history
		t.Errorf("%d requests for the window", n)
	}
	var out bytes.Buffer
	if _, err := apply.HydrateTo(t.Context(), r.Trail, &out, apply.AtTXID(100), nil); err != nil || !bytes.Equal(out.Bytes(), p.images[100]) {
		t.Errorf("another database, %v", err)
	}
	if n := m.Requests(); n > 20 {
		t.Errorf("%d requests for a restore", n)
	}
}

// A merged object that is gone is a gap, although the head names it; one that was cut is found out as well. Nothing is
// planned there.
func TestMergedObjectIsGone(t *testing.T) {
	p := newPrimary(t, 21)
	for range 4 {
		p.live(20, 20*time.Second)
		p.now = p.now.Add(5 * time.Hour)
	}
	p.run(archive.Retention{})
	keys, _ := objects(t, p.store)
	var merged []string
	for _, key := range keys {
		if strings.HasPrefix(key, "00000001/1/") {
			merged = append(merged, key)
		}
	}
	for name, spoil := range map[string]func() error{
		"cut":  func() error { return p.store.Put(t.Context(), merged[2], strings.NewReader("cut"), 3) },
		"gone": func() error { return p.store.Delete(t.Context(), merged[2]) },
	} {
		p.check(spoil())
		r, err := archive.Open(t.Context(), p.store, nil)
		p.check(err)
		w, err := r.Window(t.Context())
		if err != nil || len(w.Gaps) != 1 || w.Spans[0].Last+1 != w.Gaps[0].First {
			t.Errorf("an object that is %s: %+v, %v", name, w, err)
		}
		p.check(r.Close())
	}
	if _, err := upkeep.Run(t.Context(), p.store, p.options(archive.Retention{All: time.Hour})); !errors.Is(err, journal.ErrGap) {
		t.Errorf("planned: %v", err)
	}
}
