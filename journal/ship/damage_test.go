package ship_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// archived is a small archive of several batches.
func archived(t testing.TB, seed uint64) (*primary, *mem.Store) {
	p, s := newPrimary(t, seed), new(mem.Store)
	p.base(true)
	for range 5 {
		p.commit(4)
		once(t, p, s, ship.Options{})
	}
	return p, s
}

func content(t testing.TB, s objstore.Store, key string) []byte {
	t.Helper()
	body, _, err := s.Get(t.Context(), key, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func put(t testing.TB, s objstore.Store, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatal(err)
	}
}

// Whatever happens to an object, reading says what it is, and no state comes out that the primary never had.
func TestDamagedArchive(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *mem.Store, keys []string)
		want  error
	}{
		"deleted":   {func(t *testing.T, s *mem.Store, k []string) { _ = s.Delete(t.Context(), k[2]) }, journal.ErrGap},
		"truncated": {func(t *testing.T, s *mem.Store, k []string) { d := content(t, s, k[2]); put(t, s, k[2], d[:len(d)/2]) }, journal.ErrCorrupt},
		"empty":     {func(t *testing.T, s *mem.Store, k []string) { put(t, s, k[2], nil) }, journal.ErrCorrupt},
		"flipped": {func(t *testing.T, s *mem.Store, k []string) {
			d := content(t, s, k[2])
			d[len(d)/3] ^= 4
			put(t, s, k[2], d)
		}, journal.ErrCorrupt},
		"swapped": {func(t *testing.T, s *mem.Store, k []string) {
			a, b := content(t, s, k[1]), content(t, s, k[2])
			put(t, s, k[1], b)
			put(t, s, k[2], a)
		}, journal.ErrCorrupt},
		"foreign": {func(t *testing.T, s *mem.Store, k []string) {
			_, other := archived(t, 2)
			put(t, s, k[2], content(t, other, k[2]))
		}, journal.ErrForeign},
		"base deleted": {func(t *testing.T, s *mem.Store, _ []string) {
			_ = s.Delete(t.Context(), "00000001/base/0000000000000001.base")
		}, journal.ErrNotFound},
		"base cut": {func(t *testing.T, s *mem.Store, _ []string) {
			key := "00000001/base/0000000000000001.base"
			put(t, s, key, content(t, s, key)[:200])
		}, journal.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := archived(t, 1)
			c.spoil(t, s, batches(t, s))
			r := openArchive(t, s)
			if _, err := apply.Verify(t.Context(), r.Trail, nil); !errors.Is(err, c.want) {
				t.Errorf("verify: %v, want %v", err, c.want)
			} else {
				t.Log(err)
			}
			good := 0
			for id := journal.TXID(1); id <= p.last(); id++ {
				var out bytes.Buffer
				if _, err := apply.HydrateTo(t.Context(), r.Trail, &out, apply.AtTXID(id), nil); err == nil {
					if good++; !bytes.Equal(out.Bytes(), p.images[id]) {
						t.Errorf("transaction %d is not what the primary had", id)
					}
				}
			}
			if name == "deleted" && good == 0 || strings.HasPrefix(name, "base") && good > 0 {
				t.Errorf("%d transactions can be restored", good)
			}
		})
	}
}

// A shipper does not go on after an archive whose end is damaged or whose head it does not understand.
func TestShippingToADamagedArchive(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *mem.Store, keys []string)
		want  error
	}{
		"last cut":   {func(t *testing.T, s *mem.Store, k []string) { put(t, s, k[len(k)-1], []byte("?")) }, journal.ErrCorrupt},
		"last other": {func(t *testing.T, s *mem.Store, k []string) { put(t, s, k[len(k)-1], content(t, s, k[0])) }, journal.ErrCorrupt},
		"head newer": {func(t *testing.T, s *mem.Store, _ []string) { put(t, s, "head", []byte(`{"format":2,"shards":3}`)) }, journal.ErrVersion},
		"head odd": {func(t *testing.T, s *mem.Store, _ []string) {
			put(t, s, "head", bytes.Replace(content(t, s, "head"), []byte(`"epoch"`), []byte(`"era"`), 1))
		}, journal.ErrFlag},
		"head cut":  {func(t *testing.T, s *mem.Store, _ []string) { put(t, s, "head", content(t, s, "head")[:20]) }, journal.ErrCorrupt},
		"head gone": {func(t *testing.T, s *mem.Store, _ []string) { _ = s.Delete(t.Context(), "head") }, journal.ErrGap},
	} {
		t.Run(name, func(t *testing.T) {
			p, s := archived(t, 1)
			c.spoil(t, s, batches(t, s))
			before := keys(t, s)
			p.commit(2)
			_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, Archive: "s3://bucket/app"})
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), "s3://bucket/app") {
				t.Errorf("error is %v, want %v", err, c.want)
			}
			if after := keys(t, s); len(after) != len(before) {
				t.Errorf("objects %v became %v", before, after)
			}
			if strings.HasPrefix(name, "head") {
				if _, err := archive.Open(t.Context(), s, nil); err == nil {
					t.Error("it can be opened for reading")
				}
			}
		})
	}
}

// A hint that points beyond the end, which no writer makes, costs a list and nothing else.
func TestHintBeyondTheEnd(t *testing.T) {
	p, s := archived(t, 3)
	h, err := archive.ParseHead(content(t, s, "head"))
	p.check(err)
	h.Next = 1 << 40
	data, err := h.Encode()
	p.check(err)
	put(t, s, "head", data)
	p.commit(1)
	m := new(objstore.Meter)
	once(t, p, objstore.Metered(s, m), ship.Options{})
	if calls, _ := m.Counts(); calls[objstore.OpCreate].Requests != 3 { // two of the probe
		t.Errorf("%+v", calls)
	}
	p.checkArchive(s, p.last(), 2)
}

// What an archive began with is missed, though what is left is the history of a trail that begins later; where it begins
// is what was shipped first, not what the first to claim it would have shipped.
func TestLostBeginning(t *testing.T) {
	p, s := newPrimary(t, 9), new(mem.Store)
	w, err := archive.OpenWriter(t.Context(), s, archive.WriterOptions{Identity: p.w.Identity()})
	p.check(err)
	w.Begin(1)
	p.check(w.Claim(t.Context()))
	p.live(5)
	p.rotate(true)
	p.base(false)
	p.rotate(true)
	_, err = journal.Prune(t.Context(), p.dir, p.last(), nil)
	p.check(err)
	for range 3 {
		p.commit(4)
		once(t, p, s, ship.Options{})
	}
	p.checkArchive(s, p.last(), 2)
	h, err := archive.ParseHead(content(t, s, "head"))
	p.check(err)
	keys := batches(t, s)
	p.check(s.Delete(t.Context(), keys[0]))
	err = openArchive(t, s).LostBeginning()
	if e, ok := errors.AsType[*journal.Error](err); !ok || !errors.Is(err, journal.ErrGap) || e.TXID != h.Start || h.Start <= 1 {
		t.Errorf("%v, the head says %d", err, h.Start)
	}
}

func FuzzParseHead(f *testing.F) {
	_, s := archived(f, 4)
	f.Add(content(f, s, "head"))
	f.Add([]byte(`{"format":2}`))
	f.Add([]byte(`{"format":1,"database":"000102030405060708090a0b0c0d0e0f","timeline":1,"epoch":1,"writer":{"id":"","name":"","since":0},"next":0}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := archive.ParseHead(data)
		if err != nil {
			return
		}
		again, err := h.Encode()
		if err != nil {
			t.Fatal(err)
		}
		g, err := archive.ParseHead(again)
		if err != nil {
			t.Fatal(err)
		}
		if twice, err := g.Encode(); err != nil || !bytes.Equal(twice, again) {
			t.Errorf("%s became %s, %v", again, twice, err)
		}
	})
}

// An archive whose head somebody deleted is not taken for one that is not there: a new machine would begin with an empty
// database.
func TestReadingWithoutAHead(t *testing.T) {
	_, s := archived(t, 1)
	if err := s.Delete(t.Context(), "head"); err != nil {
		t.Fatal(err)
	}
	_, err := archive.Open(t.Context(), s, nil)
	if !errors.Is(err, journal.ErrGap) || errors.Is(err, journal.ErrNotFound) {
		t.Errorf("open: %v, want a gap", err)
	}
	if _, err := archive.Open(t.Context(), new(mem.Store), nil); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("open of an empty prefix: %v, want that there is none", err)
	}
}

// A shipper notices that the archive was deleted under it, or its head spoiled, as soon as it tells the head how far it
// is: what it would go on to acknowledge nobody could restore.
func TestArchiveDeletedWhileShipping(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, s *mem.Store)
		want  error
	}{
		"head": {func(t *testing.T, s *mem.Store) { _ = s.Delete(t.Context(), "head") }, journal.ErrGap},
		"all": {func(t *testing.T, s *mem.Store) {
			for o, err := range s.List(t.Context(), "", "") {
				if err == nil {
					err = s.Delete(t.Context(), o.Key)
				}
				if err != nil {
					t.Error(err)
				}
			}
		}, journal.ErrGap},
		"cut": {func(t *testing.T, s *mem.Store) { put(t, s, "head", content(t, s, "head")[:20]) }, journal.ErrCorrupt},
	} {
		for _, n := range []int{3, 3 * archive.HintEvery} { // told at the end, and on the way
			p, s := newPrimary(t, 1), new(mem.Store)
			p.commit(n)
			batches := 0
			r, err := ship.Run(t.Context(), p.dir, &ship.Options{
				Store: s, Once: true, TempDir: t.TempDir(), BatchBytes: 1,
				Events: ship.Events{Batch: func(journal.Batch) {
					if batches++; batches == 1 {
						c.spoil(t, s)
					}
				}},
			})
			if !errors.Is(err, c.want) {
				t.Errorf("%s of %d: %v, want %v", name, n, err, c.want)
			}
			if r.Batches > archive.HintEvery {
				t.Errorf("%s of %d: %d batches went where nobody can read them", name, n, r.Batches)
			}
		}
	}
}

// A base that is not in the archive any more is brought back from the trail, also when there is nothing else to ship:
// without it what was shipped may lead nowhere.
func TestMissingBaseIsSentAgain(t *testing.T) {
	const key = "00000001/base/0000000000000001.base"
	p, s := archived(t, 1)
	want := content(t, s, key)
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	if r := once(t, p, s, ship.Options{}); r.Bases != 1 || r.Batches != 0 {
		t.Errorf("%+v, want a base and nothing else", r)
	}
	if !bytes.Equal(content(t, s, key), want) {
		t.Error("the base is another")
	}
	p.checkArchive(s, p.last(), 2)
}
