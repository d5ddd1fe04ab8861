package capture

import (
	"fmt"

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
	// slice is good until the next call but for those in one group.
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
	enc      diff.Encoder
	body     diff.Body
	old, new []byte
	recent   recent
	pages    []diff.Page
	entries  []entry
}

// record appends the change from state prev to tx (whose PageSize, PageCount,
// Kind, Time, Origin, Note and Super are set) to w, unflushed. nos are the
// pages that may differ, ascending, all within tx.PageCount, without the
// lock-byte page; it must have every page by which the database grew. What it
// returns is the transaction as recorded; b.entries are the changes of the
// table that go with it, valid until the next call.
//
// A CatchUp stands in full, and brings its own Sum: what the trail believes of
// the pages is what was found wanting.
//
// The table decides whether a pre-image can be trusted: a patch is only made
// against a page whose hash is that of the committed state.
func (b *builder) record(w *journal.Writer, t *table, prev, tx journal.Tx, nos []uint32, src source, prepared bool) (journal.Tx, int, error) {
	b.entries = b.entries[:0]
	sum := tx.Sum
	tx.Sum = prev.Sum
	fresh := tx.PageSize != prev.PageSize || tx.Kind == journal.CatchUp
	if fresh {
		tx.Sum = diff.Sum{}
	} else if err := b.dropped(t, prev, &tx); err != nil {
		return tx, 0, err
	}
	group, total := diff.GroupPages(tx.PageSize), 0
	for start := 0; ; start += group {
		end := min(start+group, len(nos))
		kept, err := b.group(t, prev, &tx, nos[start:end], start, src, fresh)
		if err != nil {
			return tx, 0, err
		}
		total += kept
		if end == len(nos) {
			if tx.Kind == journal.CatchUp {
				tx.Sum = sum
			}
			tx, err = w.Add(tx, b.body, kept, prepared)
			return tx, total, err
		}
		if err := w.AddPart(b.body, kept); err != nil {
			return tx, 0, err
		}
	}
}

// dropped takes the pages by which the database shrank out of the sum.
func (b *builder) dropped(t *table, prev journal.Tx, tx *journal.Tx) error {
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

// group encodes the pages nos into b.body and accounts for their hashes.
func (b *builder) group(t *table, prev journal.Tx, tx *journal.Tx, nos []uint32, at int, src source, fresh bool) (int, error) {
	size := tx.PageSize
	b.room(size, len(nos))
	b.pages = b.pages[:0]
	for k, no := range nos {
		buf := b.new[k*size : (k+1)*size : (k+1)*size]
		page, err := src.newPage(at+k, no, buf)
		if err != nil {
			return 0, fmt.Errorf("read page %d: %w", no, err)
		}
		sum := diff.PageSum(no, page)
		p := diff.Page{No: no, New: page}
		if !fresh {
			known, was, err := b.before(t, prev, no)
			if err != nil {
				return 0, err
			}
			if known && was == sum {
				continue
			}
			if p.Old, err = b.oldOf(prev, at+k, no, b.old[k*size:(k+1)*size], was, src); err != nil {
				return 0, err
			}
			tx.Sum = tx.Sum.Sub(was)
		}
		tx.Sum = tx.Sum.Add(sum)
		b.entries = append(b.entries, entry{no, sum})
		b.pages = append(b.pages, p)
	}
	var kept int
	b.body.Pages, b.body.Tokens, b.body.Literals = b.body.Pages[:0], b.body.Tokens[:0], b.body.Literals[:0]
	b.body, kept = b.enc.Encode(b.body, size, b.pages)
	if len(b.pages) <= recentSlots/4 {
		first := len(b.entries) - len(b.pages)
		for i := range b.pages {
			b.recent.keep(b.pages[i].No, b.entries[first+i].sum, b.pages[i].New)
		}
	}
	return kept, nil
}

// before returns the hash of page no in the state prev; false and zero if it
// had no such page.
func (b *builder) before(t *table, prev journal.Tx, no uint32) (bool, diff.Sum, error) {
	if no > prev.PageCount {
		return false, diff.Sum{}, nil
	}
	s, err := t.get(no)
	return true, s, err
}

// oldOf returns the pre-image of a page, nil when it is not what the trail
// believes.
func (b *builder) oldOf(prev journal.Tx, i int, no uint32, buf []byte, was diff.Sum, src source) ([]byte, error) {
	if no > prev.PageCount {
		clear(buf)
		return buf, nil
	}
	if page := b.recent.page(no, was, len(buf)); page != nil {
		return page, nil
	}
	ok, err := src.oldPage(i, no, buf)
	if err != nil {
		return nil, fmt.Errorf("read the old page %d: %w", no, err)
	}
	if !ok || diff.PageSum(no, buf) != was {
		return nil, nil
	}
	return buf, nil
}

// room makes the buffers large enough for n pages.
func (b *builder) room(size, n int) {
	if need := size * n; len(b.old) < need {
		b.old, b.new = make([]byte, need), make([]byte, need)
	}
}

// shrink gives back the memory of an unusually large transaction.
func (b *builder) shrink() {
	const keep = 1 << 20
	if len(b.old) > keep {
		b.old, b.new = nil, nil
	}
	if cap(b.body.Literals) > keep {
		b.body = diff.Body{}
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
