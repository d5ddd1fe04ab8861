package ship_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// successor is a writer that is about to take over from p, or did.
func successor(p *primary, s objstore.Store, id journal.Identity, name, writer string) *archive.Writer {
	p.t.Helper()
	w, err := archive.OpenWriter(p.t.Context(), s, archive.WriterOptions{Archive: "s3://b/app", Identity: id, Name: name, ID: writer})
	p.check(err)
	return w
}

// after is the identity of the timeline that begins after a batch.
func after(p *primary, b *journal.Batch) journal.Identity {
	at := b.After(p.w.Identity())
	return journal.Identity{Format: 1, Database: at.Database, Timeline: at.Timeline + 1, Parent: &at}
}

// Once a timeline is ended its writer cannot add anything, and is told who is about to take over, however long that one
// takes or if it never does; what the archive has can be read. Of those who then begin the next timeline one wins, also
// when they begin the same.
func TestEndAndTake(t *testing.T) {
	p, s := newPrimary(t, 70), new(mem.Store)
	p.commit(10)
	once(t, p, s, ship.Options{})
	before := openArchive(t, s)
	name := strings.Repeat("a successor with a long name ✓ ", 9)
	w := successor(p, s, p.w.Identity(), name, "")
	var end *journal.Batch
	for range 2 {
		var err error
		end, err = w.End(t.Context())
		p.check(err)
		if end.Last != p.last() {
			t.Fatalf("ended after %d, want %d", end.Last, p.last())
		}
	}
	shipped, head := p.last(), content(t, s, "head")
	p.commit(3)
	for range 2 { // to the end, and in any process
		_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, Archive: "s3://b/app"})
		held, ok := errors.AsType[*archive.HeldError](err)
		if !ok || held.Timeline != 2 || held.After != shipped || !strings.Contains(err.Error(), "a successor with a long name ✓ a") ||
			!strings.Contains(err.Error(), "is taking over") {
			t.Fatalf("the first ships: %v", err)
		}
		if now := content(t, s, "head"); !bytes.Equal(now, head) {
			t.Errorf("the first claimed what it had lost: %s became %s", head, now)
		}
	}
	p.checkArchive(s, shipped, 2)
	if err := before.Refresh(); !errors.Is(err, journal.ErrDiverged) {
		t.Errorf("a reader that looks for more: %v", err)
	}
	for key, size := range keys(t, s) {
		if strings.HasSuffix(key, "b.seg") && size >= 128 {
			t.Errorf("the fence has %d bytes, and could be taken for a batch", size)
		}
	}

	id := after(p, end)
	first, second := successor(p, s, id, "the second", "2"), successor(p, s, id, "the third", "3")
	p.check(first.Take(t.Context()))
	for _, w := range []*archive.Writer{second, successor(p, s, id, "the third", "3")} {
		held, ok := errors.AsType[*archive.HeldError](w.Take(t.Context()))
		if !ok || held.Holder.Name != "the second" || held.Timeline != 2 || held.After != shipped {
			t.Errorf("who came later: %v", held)
		}
	}
	p.check(successor(p, s, id, "the second", "2").Take(t.Context())) // asked again, it is still its own
	if h := openArchive(t, s).Head(); h.Timeline != 2 || h.Lines[1].Ended != shipped {
		t.Errorf("head %+v", h)
	}
	_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true})
	if held, ok := errors.AsType[*archive.HeldError](err); !ok || held.Holder.Name != "the second" {
		t.Errorf("the first ships: %v", err)
	}
	if _, err := successor(p, new(mem.Store), p.w.Identity(), "", "").End(t.Context()); !errors.Is(err, journal.ErrNotFound) {
		t.Errorf("of an archive without a batch: %v", err)
	}
}

// A batch that is acknowledged while the timeline is being ended is part of it: the end is after it.
func TestAcknowledgedBeforeTheEnd(t *testing.T) {
	p, s := newPrimary(t, 71), new(mem.Store)
	p.commit(5)
	once(t, p, s, ship.Options{})
	slow := &fencing{Store: s, before: func(n int) {
		if n < 3 {
			p.commit(2)
			once(t, p, s, ship.Options{})
		}
	}}
	end, err := successor(p, slow, p.w.Identity(), "late", "").End(t.Context())
	p.check(err)
	if end.Last != p.last() || slow.n != 3 {
		t.Errorf("ended after %d at try %d, the archive had acknowledged %d", end.Last, slow.n, p.last())
	}
}

// fencing calls before in the moment before a fence is created.
type fencing struct {
	objstore.Store
	n      int
	before func(n int)
}

func (s *fencing) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	s.n++
	s.before(s.n)
	return s.Store.Create(ctx, key, body, size)
}

// Every call that a takeover makes fails once, in each of the two ways, and it is called again.
func TestEveryCallOfATakeoverFails(t *testing.T) {
	p, from := newPrimary(t, 72), new(mem.Store)
	p.commit(20)
	once(t, p, from, ship.Options{BatchBytes: 900})
	take := func(s objstore.Store) error {
		o := archive.WriterOptions{Identity: p.w.Identity(), Name: "next", ID: "n"}
		w, err := archive.OpenWriter(t.Context(), s, o)
		if held, ok := errors.AsType[*archive.HeldError](err); ok && held.Holder.ID == "n" {
			return nil
		} else if err != nil {
			return err
		}
		end, err := w.End(t.Context())
		if err != nil {
			return err
		}
		o.Identity = after(p, end)
		if w, err = archive.OpenWriter(t.Context(), s, o); err != nil {
			return err
		}
		return w.Take(t.Context())
	}
	for i, calls := 0, 1; i < calls; i++ {
		for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
			s := new(mem.Store)
			for key := range keys(t, from) {
				put(t, s, key, content(t, from, key))
			}
			f := &objstore.Faults{Decide: func(n int, _ objstore.Call) objstore.Outcome {
				if n == i {
					return out
				}
				return objstore.Pass
			}}
			err := take(objstore.Faulty(s, f))
			calls = max(calls, f.Calls())
			if f.Fired() == 0 {
				break
			}
			if err != nil {
				err = take(s)
			}
			if err != nil {
				t.Fatalf("call %d, outcome %d, again: %v", i, out, err)
			}
			if h := openArchive(t, s).Head(); h.Timeline != 2 || h.Writer.Name != "next" || h.Lines[1].Parent.TXID != 20 {
				t.Fatalf("call %d, outcome %d: %+v", i, out, h)
			}
			p.commit(0)
			p.checkArchive(s, 20, 1)
		}
	}
}
