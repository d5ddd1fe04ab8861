package capture

import (
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// source gives the pages of the transaction that is being recorded. i is the
// place of the page in the list handed to the builder.
type source interface {
	// oldPage fills buf with page no before the transaction; false: the
	// pre-image is not known and the page is recorded in full.
	oldPage(i int, no uint32, buf []byte) (bool, error)
	// newPage returns page no after the transaction, in buf or elsewhere; the
	// slice must stay as it is until the transaction is recorded.
	newPage(i int, no uint32, buf []byte) ([]byte, error)
}

// entry is one change of the page table.
type entry struct {
	no  uint32
	sum diff.Sum
}

// builder turns the pages of a transaction into a record. It keeps its
// buffers: two groups of pages at the most, whatever the transaction's size.
type builder struct {
	limit   int // bytes of pages in a group, 0: as many as is usual
	groups  [2]group
	recent  recent
	entries []entry
}

// group is a part of a transaction that is encoded by itself.
type group struct {
	full     bool // all pages are new, and written down without a search
	enc      diff.Encoder
	body     diff.Body
	old, new []byte
	pages    []diff.Page
	kept     int
	done     chan struct{} // closed when the goroutine that encodes it is through; nil: none does
	err      error         // why it did not succeed
}

// fullBytes is how much new content a transaction must have that has no old
// content for it to be written down in full. A search among so many new pages
// finds hardly more than what a compressor finds in them afterwards (less, on
// bulk loads and indexes, because its copies get in the compressor's way), and
// the commit waits for it.
const fullBytes = 2 << 20

// fullGroup is how much of that makes a group: enough for a compressor, little
// enough that who stops it need not wait.
const fullGroup = 1 << 20

// manyGroup is how much of a transaction that does not fit one group makes each
// of its groups. A window of the largest size would find more pages that moved,
// as VACUUM moves them: on a gigabyte it made 0.85 of the patches, in 2.7 times
// the time of the commit that waits for them, and with 320 MB of memory for the
// two groups at work instead of 90.
const manyGroup = 2 << 20

// record appends the change from state prev to tx (whose PageSize, PageCount,
// Kind, Time, Origin, Note and Super are set) to w, unflushed. nos are the
// pages that may differ, ascending, all within tx.PageCount, without the
// lock-byte page; it must have every page by which the database grew. What it
// returns is the transaction as recorded, and how many pages it has; b.entries
// are the changes of the table that go with it, valid until the next call.
//
// A CatchUp stands in full, and brings its own Sum: what the trail believes of
// the pages is what was found wanting.
//
// The table decides whether a pre-image can be trusted: a patch is only made
// against a page whose hash is that of the committed state.
func (b *builder) record(w *journal.Writer, t *table, prev, tx journal.Tx, nos []uint32, src source, prepared bool) (journal.Tx, int, error) {
	r := recording{b: b, t: t, prev: prev, tx: tx, src: src}
	r.fresh = tx.PageSize != prev.PageSize || tx.Kind == journal.CatchUp
	r.tx.Sum = diff.Sum{}
	b.entries = b.entries[:0]
	b.recent.release() // the groups of the transaction before are encoded
	if !r.fresh {
		r.tx.Sum = prev.Sum
		if err := b.dropped(t, prev, &r.tx); err != nil {
			return tx, 0, err
		}
	}
	last, err := r.groups(w, nos)
	if err != nil {
		return tx, 0, err
	}
	if tx.Kind == journal.CatchUp {
		r.tx.Sum = tx.Sum
	}
	tx, err = w.Add(r.tx, last.body, last.kept, prepared)
	return tx, r.kept, err
}

// dropped takes the pages by which the database shrank out of the sum.
func (b *builder) dropped(t *table, prev journal.Tx, tx *journal.Tx) error {
	if prev.PageSize == 0 {
		return nil
	}
	lock := diff.LockPage(prev.PageSize)
	for no := tx.PageCount + 1; no <= prev.PageCount && no != 0; no++ {
		if no == lock {
			continue
		}
		s, err := t.get(no)
		if err != nil {
			return err
		}
		tx.Sum = tx.Sum.Sub(s)
	}
	return nil
}

// recording is one transaction on its way into a record.
type recording struct {
	b     *builder
	t     *table
	prev  journal.Tx
	tx    journal.Tx
	src   source
	fresh bool // nothing of the state before counts
	at    int  // pages that are in groups already
	kept  int  // pages that are in the record

	fullFrom uint32 // pages from this one on are written in full; 0: none are
	most     int    // pages of a group that is not
}

// groups writes all groups but the last ahead of the record and returns the
// last, encoded. While one is encoded the next is read, and encoded beside it.
func (r *recording) groups(w *journal.Writer, nos []uint32) (*group, error) {
	if r.most = diff.GroupPages(r.tx.PageSize); len(nos) > r.most {
		r.most = manyGroup / r.tx.PageSize
	}
	if n := r.b.limit; n > 0 {
		r.most = min(r.most, max(n/r.tx.PageSize, 1))
	}
	r.divide(nos)
	var before *group
	for i := 0; ; i++ {
		g := &r.b.groups[i%2]
		n := r.groupLen(g, nos)
		if err := r.fill(g, nos[:n]); err != nil {
			return nil, errors.Join(err, before.wait())
		}
		r.at += n
		nos = nos[n:]
		if g.full || before == nil && len(nos) == 0 {
			g.encode(r.tx.PageSize) // no work, or the usual, small transaction
		} else {
			g.start(r.tx.PageSize)
		}
		if before != nil {
			err := before.wait()
			if err == nil && before.kept > 0 { // pages may be written and have what they had
				err = w.AddPart(before.body, before.kept)
			}
			if err != nil {
				return nil, errors.Join(err, g.wait())
			}
			r.kept += before.kept
		}
		if before = g; len(nos) == 0 {
			err := g.wait()
			r.kept += g.kept
			return g, err
		}
	}
}

// divide decides from which of the pages nos on all are written in full: those
// that have no old content, if they are many.
func (r *recording) divide(nos []uint32) {
	grown := 0
	if !r.fresh {
		grown, _ = slices.BinarySearch(nos, r.prev.PageCount+1)
	}
	if n := len(nos) - grown; n >= min(fullBytes/r.tx.PageSize, 2*r.most) {
		r.fullFrom = nos[grown]
	}
}

// groupLen is how many of the pages nos make the next group, g.
func (r *recording) groupLen(g *group, nos []uint32) int {
	most := min(r.most, len(nos))
	g.full = false
	switch {
	case r.fullFrom == 0 || len(nos) == 0:
		return most
	case nos[0] >= r.fullFrom:
		g.full = true
		return min(fullGroup/r.tx.PageSize, r.most, len(nos))
	}
	n, _ := slices.BinarySearch(nos, r.fullFrom)
	return min(most, n)
}

// fill reads the pages nos into g and accounts for their hashes.
func (r *recording) fill(g *group, nos []uint32) error {
	size, first := r.tx.PageSize, len(r.b.entries)
	g.room(size, len(nos))
	for k, no := range nos {
		page, err := r.src.newPage(r.at+k, no, g.new[k*size:(k+1)*size:(k+1)*size])
		if err != nil {
			return fmt.Errorf("read page %d: %w", no, err)
		}
		sum := diff.PageSum(no, page)
		p := diff.Page{No: no, New: page}
		if !r.fresh && no <= r.prev.PageCount {
			was, err := r.t.get(no)
			if err != nil {
				return err
			}
			if was == sum {
				continue
			}
			if p.Old, err = r.oldPage(r.at+k, no, g.old[k*size:(k+1)*size], was); err != nil {
				return err
			}
			r.tx.Sum = r.tx.Sum.Sub(was)
		}
		r.tx.Sum = r.tx.Sum.Add(sum)
		r.b.entries = append(r.b.entries, entry{no, sum})
		g.pages = append(g.pages, p)
	}
	g.recent(&r.b.recent, r.b.entries[first:])
	return nil
}

// oldPage returns the pre-image of a page, nil when it is not what the trail
// believes.
func (r *recording) oldPage(i int, no uint32, buf []byte, was diff.Sum) ([]byte, error) {
	if page := r.b.recent.page(no, was, len(buf)); page != nil {
		return page, nil
	}
	ok, err := r.src.oldPage(i, no, buf)
	if err != nil {
		return nil, fmt.Errorf("read the old page %d: %w", no, err)
	}
	if !ok || diff.PageSum(no, buf) != was {
		return nil, nil
	}
	return buf, nil
}

// room makes g's buffers large enough for n pages.
func (g *group) room(size, n int) {
	need := size * n
	if len(g.new) < need {
		g.new = make([]byte, need)
	}
	if !g.full && len(g.old) < need {
		g.old = make([]byte, need)
	}
	if need > 512<<10 { // growing by and by, they would leave several times as much garbage
		g.body.Literals = slices.Grow(g.body.Literals[:0], need)
	}
	g.pages = g.pages[:0]
}

// recent keeps the new pages of a small group for the next transactions.
func (g *group) recent(to *recent, entries []entry) {
	if len(g.pages) > recentSlots/4 {
		return
	}
	for i, p := range g.pages {
		to.keep(p.No, entries[i].sum, p.New)
	}
}

func (g *group) encode(pageSize int) {
	g.body.Pages, g.body.Tokens, g.body.Literals = g.body.Pages[:0], g.body.Tokens[:0], g.body.Literals[:0]
	if g.full {
		g.body, g.kept = diff.EncodeFull(g.body, pageSize, g.pages), len(g.pages)
		return
	}
	g.body, g.kept = g.enc.Encode(g.body, pageSize, g.pages)
}

// start encodes g on another goroutine.
func (g *group) start(pageSize int) {
	g.done, g.err = make(chan struct{}), nil
	go func() {
		defer close(g.done)
		defer func() {
			if p := recover(); p != nil { // nobody above can
				g.err = fmt.Errorf("pagetrail: internal error: %v", p)
			}
		}()
		g.encode(pageSize)
	}()
}

// wait returns when g is encoded.
func (g *group) wait() error {
	if g == nil || g.done == nil {
		return nil
	}
	<-g.done
	g.done = nil
	return g.err
}

// shrink gives back the memory of an unusually large transaction.
func (b *builder) shrink() {
	const keep = 1 << 20
	for i := range b.groups {
		if g := &b.groups[i]; len(g.new) > keep || cap(g.body.Literals) > keep {
			*g = group{}
		}
	}
	if cap(b.entries) > keep/32 {
		b.entries = nil
	}
}

// store puts entries into the table.
func (t *table) store(entries []entry) error {
	for _, e := range entries {
		if err := t.set(e.no, e.sum); err != nil {
			return err
		}
	}
	return nil
}
