package ship_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
	"github.com/pagetrail/pagetrail/journal/objstore/mem"
	"github.com/pagetrail/pagetrail/journal/ship"
)

// at is the position of a transaction.
func (p *primary) at(id journal.TXID) journal.Position {
	i := p.w.Identity()
	return journal.Position{Database: i.Database, Timeline: i.Timeline, TXID: id}
}

// runs ships until the test ends.
func runs(t *testing.T, p *primary, o ship.Options) (stop func() error) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := ship.Run(ctx, p.dir, &o)
		ended <- err
	}()
	return func() error {
		cancel()
		return <-ended
	}
}

// A transaction whose batch the store refuses is not acknowledged, however often it is tried; one whose batch is there,
// whatever the store said about it, is, and without waiting for company.
func TestAcksWaitForTheBatch(t *testing.T) {
	for _, out := range []objstore.Outcome{objstore.Refuse, objstore.Deceive} {
		p, s, acks := newPrimary(t, 60), new(mem.Store), new(ship.Acks)
		p.commit(3)
		errTired, tries := errors.New("tired of waiting"), 0
		ctx, tire := context.WithCancelCause(t.Context())
		gone, leave := context.WithCancel(t.Context())
		leave()
		heal := make(chan struct{})
		faults := &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
			if c.Op != objstore.OpCreate || !strings.HasSuffix(c.Key, ".seg") {
				return objstore.Pass
			}
			if err := acks.Acknowledge(gone, "app.db", p.at(1)); !errors.Is(err, context.Canceled) {
				t.Errorf("acknowledged before its batch was put: %v", err)
			}
			select {
			case <-heal:
				return objstore.Pass
			default:
				if out == objstore.Deceive && tries > 0 { // the second try finds what the first left
					return objstore.Pass
				}
				return out
			}
		}}
		stop := runs(t, p, ship.Options{
			Store: objstore.Faulty(s, faults), Acks: acks, Interval: time.Hour, Poll: time.Hour, Pause: 1, MostPause: 1,
			Events: ship.Events{Retry: func(error, int, time.Duration) {
				if tries++; tries == 3 {
					tire(errTired)
				}
			}},
		})
		err := acks.Acknowledge(ctx, "app.db", p.at(3))
		if out == objstore.Refuse && !errors.Is(err, errTired) || out == objstore.Deceive && err != nil {
			t.Errorf("outcome %d: %v", out, err)
		}
		close(heal)
		if err := acks.Acknowledge(t.Context(), "app.db", p.at(2)); err != nil {
			t.Error(err)
		}
		p.checkArchive(s, 3, 1)
		if faults.Fired() == 0 {
			t.Error("nothing failed")
		}
		if err := stop(); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// What the archive holds of another timeline, or of another database, acknowledges nothing; nor does a Run that ended.
func TestAcksOfAnother(t *testing.T) {
	p, s, acks := newPrimary(t, 61), new(mem.Store), new(ship.Acks)
	p.commit(5)
	stop := runs(t, p, ship.Options{Store: s, Acks: acks, Poll: time.Hour})
	if err := acks.Acknowledge(t.Context(), "app.db", p.at(5)); err != nil {
		t.Fatal(err)
	}
	other := p.at(1)
	other.Database[0]++
	if err := acks.Acknowledge(t.Context(), "other.db", other); !errors.Is(err, journal.ErrForeign) {
		t.Errorf("another database: %v", err)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := acks.Acknowledge(t.Context(), "app.db", p.at(5)); err != nil {
		t.Errorf("the archive has it: %v", err)
	}
	q := p.restored(3, 2, 62)
	q.commit(1)
	if err := acks.Acknowledge(t.Context(), "app.db", q.at(4)); !errors.Is(err, context.Canceled) {
		t.Errorf("transaction 4 of timeline 2, when the archive has 5 of timeline 1: %v", err)
	}
	stop = runs(t, q, ship.Options{Store: s, Acks: acks, Poll: time.Hour})
	for err := error(context.Canceled); errors.Is(err, context.Canceled); { // until the new Run is known
		err = acks.Acknowledge(t.Context(), "app.db", q.at(4))
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	q.checkArchive(s, 4, 1)
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := ship.Run(t.Context(), t.TempDir(), &ship.Options{Store: s, Acks: acks}); err == nil {
		t.Fatal("shipped a directory that is no trail")
	} else if e := acks.Acknowledge(t.Context(), "app.db", q.at(9)); !errors.Is(e, journal.ErrNotFound) {
		t.Errorf("nobody ships: %v", e)
	}
}

// All that is committed while a batch is under way shares the next.
func TestAcksShareBatches(t *testing.T) {
	p, s, acks := newPrimary(t, 63), new(mem.Store), new(ship.Acks)
	p.commit(1)
	under, done := make(chan struct{}), make(chan struct{})
	first := true
	slow := objstore.Faulty(s, &objstore.Faults{Decide: func(_ int, c objstore.Call) objstore.Outcome {
		if c.Op == objstore.OpCreate && strings.HasSuffix(c.Key, ".seg") && first {
			first = false
			close(under)
			<-done
		}
		return objstore.Pass
	}})
	stop := runs(t, p, ship.Options{Store: slow, Acks: acks, Interval: time.Hour, Poll: time.Hour})
	answers := make(chan error)
	ask := func(id journal.TXID) {
		go func() { answers <- acks.Acknowledge(t.Context(), "app.db", p.at(id)) }()
	}
	ask(1)
	<-under
	p.commit(7)
	for id := range journal.TXID(7) {
		ask(id + 2)
	}
	close(done)
	for range 8 {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
	if n := len(batches(t, s)); n != 2 {
		t.Errorf("%d batches, want the first and one for the seven", n)
	}
	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
