package apply

import (
	"errors"
	"fmt"
	"runtime"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// earlyWorker is what applying early patches takes.
type earlyWorker struct {
	dec     diff.Decoder
	scratch []byte // a page
}

// apply brings pages of the base forward by their early patches. It is safe
// for concurrent use on different pages.
func (a *ahead) apply(first uint32, pages []byte) error {
	a.mu.Lock()
	w := &earlyWorker{}
	if n := len(a.idle); n > 0 {
		w, a.idle = a.idle[n-1], a.idle[:n-1]
	}
	a.mu.Unlock()
	size := a.base.PageSize
	if w.scratch == nil {
		w.scratch = make([]byte, size)
	}
	for no := first; len(pages) > 0; no, pages = no+1, pages[size:] {
		c, ok := a.pages[no]
		if !ok || c.first < 0 {
			continue
		}
		if err := a.page(w, no, pages[:size], c.first); err != nil {
			return err
		}
	}
	a.mu.Lock()
	a.idle = append(a.idle, w)
	a.mu.Unlock()
	return nil
}

// page applies the patches of a page, from n on, to its content.
func (a *ahead) page(w *earlyWorker, no uint32, page []byte, n int32) error {
	sum := diff.PageSum(no, page)
	for n >= 0 {
		p := a.patches.at(int(n))
		if err := w.dec.Load(p.body(), len(page)); err != nil {
			return corrupt(a.base.Name, a.base.TXID, fmt.Errorf("early patch of page %d: %w", no, err))
		}
		a.take(p, true, page)
		old := page
		if w.dec.Pages()[0].Full {
			old = nil
		}
		w.dec.Decode([][]byte{w.scratch}, [][]byte{old})
		copy(page, w.scratch)
		a.take(p, false, page)
		next := diff.PageSum(no, page)
		a.mu.Lock()
		delta := a.deltas.at(int(p.delta))
		*delta = delta.Add(next).Sub(sum)
		a.mu.Unlock()
		sum, n = next, p.next
	}
	return nil
}

// take copies what others need of a page before a patch, or after it.
func (a *ahead) take(p *earlyPatch, old bool, page []byte) {
	for n := p.take; n >= 0; {
		t := a.takes.at(int(n))
		if t.old == old {
			copy(t.to, page[t.off:])
		}
		n = t.next
	}
}

func (p *earlyPatch) body() diff.Body {
	t := p.pages + p.tokens
	return diff.Body{Pages: p.bytes[:p.pages], Tokens: p.bytes[p.pages:t], Literals: p.bytes[t:]}
}

// loaded gives up the memory of what is done, for the page cache to take: if
// nobody collected it first, the two would add up.
func (a *ahead) loaded() {
	a.pages, a.patches, a.early, a.idle = nil, list[earlyPatch]{}, arena{}, nil
	runtime.GC()
}

// begun is told that a transaction is being replayed, in the order of all.
func (a *ahead) begun(c *change) {
	if a == nil || c.tx.TXID > a.last || c.tx.Kind == journal.Base {
		return
	}
	// Pages may have been changed already, by this one or those after it.
	c.touched = true
	if a.at.delta < a.deltas.n {
		c.delta = c.delta.Add(*a.deltas.at(a.at.delta))
		a.at.delta++
	}
}

// left is a leftFunc. The transactions come in order.
func (a *ahead) left(tx *journal.Tx, body diff.Body) (diff.Body, error) {
	if tx.TXID > a.last {
		return body, nil
	}
	if err := a.dec.Load(body, tx.PageSize); err != nil {
		return body, corrupt(a.base.Name, tx.TXID, err)
	}
	n := len(a.dec.Pages())
	if n > a.refs.n-a.at.ref {
		return body, a.changed(tx)
	}
	a.keep, a.other = a.keep[:0], append(a.other[:0], make([]bool, n)...)
	for range n {
		a.keep = append(a.keep, *a.refs.at(a.at.ref))
		a.at.ref++
	}
	if !a.mixed() {
		if n > 0 && a.keep[0] {
			return diff.Body{}, nil
		}
		return body, nil
	}
	a.holes = a.holes[:0]
	part := a.part(a.other, func(c diff.Copy, at int) { a.holes = append(a.holes, hole{at, c.Len}) })
	if len(a.holes) > a.takes.n-a.at.take {
		return body, a.changed(tx)
	}
	for _, h := range a.holes {
		to := a.takes.at(a.at.take).to
		a.at.take++
		if len(to) != h.n {
			return body, a.changed(tx)
		}
		copy(part.Literals[h.at:], to)
	}
	return part, nil
}

// changed is the error of a transaction that is another when it is read again,
// which the checksum would find too.
func (a *ahead) changed(tx *journal.Tx) error {
	return corrupt(a.base.Name, tx.TXID, errors.New("read again, the transaction is another"))
}

// hole is where bytes taken of early pages are missing from a body's literals.
type hole struct{ at, n int }
