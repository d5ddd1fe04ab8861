package cli

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// anatomy is a transaction taken apart: each page that it patched, and what that page is part of.
type anatomy struct {
	tx     journal.Tx
	before *journal.Tx // the transaction before, nil when the trail does not have it
	pages  []patchedPage
	// compared is false when the state before was not to be had, and what changed in a page is
	// therefore not known.
	compared bool
	// had and has count the pages of each table and index before and after, patched or not: SQLite
	// frees most pages of a table without writing them, so only that shows that a table was emptied.
	had, has map[string]int
}

// patchedPage is one page of a transaction. There may be a million of them, so it is kept small.
type patchedPage struct {
	no      uint32
	changed int32 // bytes that differ from before
	patch   int32 // bytes of the patch, encoded by itself
	fresh   bool  // the database did not have this page before
	full    bool  // the patch stands alone, no old page needed
	was, is use   // what the page was part of before the transaction, and is after it
}

// use is what a page is for: its kind, and the table or index that it belongs to, if to any.
type use struct {
	kind  sqlitefile.Kind
	owner *owner
}

// owner is a table or index; one and the same for all of its pages.
type owner struct{ name, table string }

// free says that the page is in the free list.
func (u use) free() bool { return u.kind == sqlitefile.FreeTrunk || u.kind == sqlitefile.FreeLeaf }

// dissector makes an anatomy. It holds the state before the transaction and then after it.
type dissector struct {
	trail    *journal.Trail
	state    *apply.State
	dec      diff.Decoder
	enc      diff.Encoder
	a        *anatomy
	old, out [][]byte
	body     diff.Body // reused by enc
	owners   map[owner]*owner
	bar      *progressBar
}

// dissect takes transaction id apart. It restores the state before it into a scratch file, which it
// removes again.
func dissect(ctx context.Context, t *journal.Trail, id journal.TXID, bar *progressBar) (*anatomy, error) {
	tx, err := t.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	d := &dissector{trail: t, a: &anatomy{tx: tx}, owners: map[owner]*owner{}, bar: bar}
	if id > 1 {
		if before, err := t.Find(ctx, id-1); err == nil {
			d.a.before = &before
		}
	}
	opts := &apply.Options{Progress: bar.apply}
	if tx.Kind != journal.Base {
		d.state, _, err = apply.Restore(ctx, t, apply.AtTXID(id-1), opts)
		d.a.compared = err == nil
	}
	if tx.Kind == journal.Base || errors.Is(err, journal.ErrRange) {
		// The first state of a span has none before it that could be had.
		d.state, _, err = apply.Restore(ctx, t, apply.AtTXID(id), opts)
	}
	if err != nil {
		return nil, err
	}
	defer d.state.Close()
	if tx.Kind == journal.Base {
		return d.a, nil
	}
	bar.phase("comparing")
	return d.a, d.patches(ctx)
}

// patches lists the pages of the transaction and measures them, and asks before and after it what
// they are part of.
func (d *dissector) patches(ctx context.Context) error {
	for rec, err := range d.trail.Records(ctx, d.a.tx.TXID) {
		if err != nil {
			return err
		}
		for body, err := range rec.Groups() {
			if err != nil {
				return err
			}
			if err := d.group(body); err != nil {
				return err
			}
		}
		d.old, d.out = nil, nil // room for what Apply needs
		if d.a.compared {
			var err error
			if d.a.had, err = d.classify(ctx, func(p *patchedPage) *use { return &p.was }); err != nil {
				return err
			}
			if err := d.state.Apply(ctx, rec); err != nil {
				return err
			}
		}
		d.a.has, err = d.classify(ctx, func(p *patchedPage) *use { return &p.is })
		return err
	}
	return &journal.RangeError{Want: d.a.tx.TXID}
}

// group measures the pages of one group against the state before.
func (d *dissector) group(body diff.Body) error {
	size := d.a.tx.PageSize
	if err := d.dec.Load(body, size); err != nil {
		return err
	}
	refs := d.dec.Pages()
	first := len(d.a.pages)
	for i, ref := range refs {
		p := patchedPage{no: ref.No, full: ref.Full}
		if d.a.compared {
			if i == len(d.old) { // the buffers of earlier groups serve again
				d.old, d.out = append(d.old, make([]byte, size)), append(d.out, make([]byte, size))
			}
			p.fresh = ref.No > d.state.PageCount() || d.state.PageSize() != size
			if p.fresh {
				clear(d.old[i])
			} else if err := d.state.ReadPage(ref.No, d.old[i]); err != nil {
				return err
			}
		}
		d.a.pages = append(d.a.pages, p)
	}
	if !d.a.compared {
		return nil
	}
	d.dec.Decode(d.out[:len(refs)], d.old[:len(refs)])
	for i := range refs {
		d.measure(&d.a.pages[first+i], d.old[i], d.out[i])
	}
	return nil
}

// measure counts what changed in a page and what its patch takes by itself. Within its transaction
// a patch may be smaller, because it may copy from the other pages.
func (d *dissector) measure(p *patchedPage, old, new []byte) {
	if p.fresh {
		p.changed = int32(len(new))
	} else if !bytes.Equal(old, new) {
		for i := range new {
			if old[i] != new[i] {
				p.changed++
			}
		}
	}
	page := diff.Page{No: p.no, Old: old, New: new}
	if p.full {
		page.Old = nil
	}
	d.body = diff.Body{Pages: d.body.Pages[:0], Tokens: d.body.Tokens[:0], Literals: d.body.Literals[:0]}
	d.body, _ = d.enc.Encode(d.body, len(new), []diff.Page{page})
	p.patch = int32(d.body.Len())
}

// classify says of each page what it is part of, by walking the database as the state now has it,
// and counts the pages of everything in it.
func (d *dissector) classify(ctx context.Context, into func(*patchedPage) *use) (map[string]int, error) {
	counts := map[string]int{}
	size := d.state.PageSize()
	if d.state.PageCount() == 0 {
		return counts, nil
	}
	page := make([]byte, size)
	if err := d.state.ReadPage(1, page); err != nil {
		return nil, err
	}
	h, err := sqlitefile.ParseHeader(page[:100])
	if err != nil {
		return counts, nil // not a database that SQLite could read: its pages stay unknown
	}
	total, done := int64(d.state.PageCount())*int64(size), int64(0)
	read := func(no uint32, buf []byte) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		done += int64(size)
		d.bar.update(done, total)
		return d.state.ReadPage(no, buf)
	}
	for found, err := range sqlitefile.Walk(h, d.state.PageCount(), read) {
		if err != nil {
			return nil, err
		}
		u := d.use(found)
		counts[u.of()]++
		if i, ok := slices.BinarySearchFunc(d.a.pages, found.No, byNumber); ok {
			*into(&d.a.pages[i]) = u
		}
	}
	return counts, nil
}

func byNumber(p patchedPage, no uint32) int { return cmp.Compare(p.no, no) }

func (d *dissector) use(p sqlitefile.Page) use {
	u := use{kind: p.Kind}
	if p.Name != "" {
		key := owner{p.Name, p.Table}
		if d.owners[key] == nil {
			d.owners[key] = &key
		}
		u.owner = d.owners[key]
	}
	return u
}

// share is what one table, index or other owner has of a transaction.
type share struct {
	name           string
	had, has       int // pages before and after
	patched        int
	changed, patch int64
}

// shares adds the pages up by what they belong to, the most patched first. A page that was freed
// counts for what it was part of: that is where something is missing now.
func (a *anatomy) shares() []*share {
	byName := map[string]*share{}
	for _, names := range []map[string]int{a.had, a.has} {
		for name := range names {
			if a.compared && a.had[name] != a.has[name] {
				byName[name] = &share{name: name}
			}
		}
	}
	for i := range a.pages {
		p := &a.pages[i]
		name := p.of()
		s := byName[name]
		if s == nil {
			s = &share{name: name}
			byName[name] = s
		}
		s.patched++
		s.changed += int64(p.changed)
		s.patch += int64(p.patch)
	}
	for name, s := range byName {
		s.had, s.has = a.had[name], a.has[name]
	}
	return slices.SortedFunc(maps.Values(byName), func(x, y *share) int {
		return cmp.Or(cmp.Compare(y.patched, x.patched), cmp.Compare(y.patch, x.patch), strings.Compare(x.name, y.name))
	})
}

// freed says that the transaction took the page from its owner and gave it to the free list.
func (p *patchedPage) freed() bool { return p.is.free() && p.was.owner != nil }

// of names what a page belongs to, or belonged to when it was freed.
func (p *patchedPage) of() string {
	if p.freed() {
		return p.was.of()
	}
	return p.is.of()
}

// of names a table, an index and its table, or in brackets what is nobody's.
func (u use) of() string {
	switch {
	case u.free():
		return "(free list)"
	case u.owner == nil:
		return "(" + u.kind.String() + ")"
	case u.owner.table != "" && u.owner.table != u.owner.name:
		return u.owner.name + " on " + u.owner.table
	}
	return u.owner.name
}

// role says what a page is, and what it was if that is something else.
func (p *patchedPage) role(compared bool) string {
	role := p.is.kind.String()
	switch {
	case p.fresh:
		role += ", new"
	case compared && p.was != p.is && p.was.kind != p.is.kind:
		role += ", was " + p.was.kind.String()
	case compared && p.was != p.is && p.was.owner != nil:
		role += ", was of " + p.was.owner.name
	}
	if p.full {
		role += ", in full"
	}
	return role
}
