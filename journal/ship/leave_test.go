package ship_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// watched calls put before a batch is created.
type watched struct {
	objstore.Store
	put func() error
}

func (s *watched) Create(ctx context.Context, key string, body io.ReaderAt, size int64) error {
	if strings.HasSuffix(key, ".seg") {
		if err := s.put(); err != nil {
			return err
		}
	}
	return s.Store.Create(ctx, key, body, size)
}

// Before a batch leaves, the trail says so: also when nobody ever hears whether it arrived.
func TestMarkComesFirst(t *testing.T) {
	p := newPrimary(t, 1)
	var sent []journal.Shipped
	s := &watched{Store: new(mem.Store), put: func() error {
		m, err := p.w.Shipped()
		sent = append(sent, m)
		return err
	}}
	p.commit(3)
	first := p.last()
	once(t, p, s, ship.Options{})
	p.commit(3)
	s.put = func() error { return objstore.ErrDenied }
	_, err := ship.Run(t.Context(), p.dir, &ship.Options{Store: s, Once: true, TempDir: t.TempDir()})
	if !errors.Is(err, objstore.ErrDenied) {
		t.Fatal(err)
	}
	if len(sent) != 1 || sent[0].TXID != first || sent[0].Sum == (journal.Shipped{}).Sum || sent[0].Time == 0 {
		t.Errorf("when the batch up to %d left the trail said %+v", first, sent)
	}
	last := p.w.Committed()
	if m, err := p.w.Shipped(); err != nil || m != (journal.Shipped{TXID: last.TXID, Time: last.Time, Sum: last.Sum}) {
		t.Errorf("the trail says %+v, %v, and up to %d may have left", m, err, last.TXID)
	}
}

// A trail that forked under a shipper that goes on: the archive follows it to the next timeline.
func TestForkIsShipped(t *testing.T) {
	p, s := newPrimary(t, 2), new(mem.Store)
	p.commit(10)
	sh, err := ship.Open(p.dir, &ship.Options{Store: s, TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer sh.Close()
	p.check(sh.Drain(t.Context()))
	lost, at := p.last(), p.last()-4
	left, _, err := p.w.TakeBack(at)
	if err != nil || left != lost || p.w.Identity().Timeline != 2 {
		t.Fatalf("taken back after %d: %d left, timeline %d, %v", at, left, p.w.Identity().Timeline, err)
	}
	p.pages = nil
	for image := p.images[at]; len(image) > 0; image = image[pageSize:] {
		p.pages = append(p.pages, bytes.Clone(image[:pageSize]))
	}
	for id := range p.images {
		if id > at {
			delete(p.images, id)
		}
	}
	p.commit(7)
	p.check(sh.Drain(t.Context()))
	if got := sh.Progress(); got.Shipped != p.last() {
		t.Errorf("shipped up to %d of %d", got.Shipped, p.last())
	}
	p.checkArchive(s, p.last(), 20)
	if m, err := p.w.Shipped(); err != nil || m.TXID != p.last() {
		t.Errorf("the trail says %+v, %v", m, err)
	}
}
