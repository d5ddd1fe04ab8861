package journal

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// plan looks at every file and decides, in these steps:
//
//  1. What crashes left half made is moved, before anything of that name is written; then the identity, since it says
//     which files belong here.
//  2. Each segment: whole, or in which pieces.
//  3. What an earlier repair made and did not put in place any more.
//  4. Which of all that is one history: what does not go on from what stands before it is left out.
//  5. The steps for damaged segments, and for the tail.
//  6. Bases, and a segment to write to, where none is left.
//  7. What an earlier repair made and is not needed.
func (r *repair) plan(ctx context.Context) (*RepairPlan, error) {
	var err error
	if r.list, err = list(r.fs, r.dir); err != nil {
		return nil, err
	}
	r.leftovers() // 1
	if err := r.identity(); err != nil {
		return nil, err
	}
	damaged, err := r.segments(ctx) // 2
	if err != nil {
		return nil, err
	}
	if err := r.salvaged(ctx); err != nil { // 3
		return nil, err
	}
	r.history()                               // 4
	r.heal(ctx, damaged)                      // 5
	if err := r.checkBases(ctx); err != nil { // 6
		return nil, err
	}
	r.begin()
	r.unneeded() // 7
	r.after()
	return &r.p, nil
}

// identity reads the identity file, or makes one of what the other files say.
func (r *repair) identity() error {
	var err error
	if r.id, err = readIdentity(r.fs, r.dir); err == nil {
		return nil
	}
	if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrCorrupt) {
		return err
	}
	id, found, e := r.headers()
	if e != nil {
		return e
	}
	if !found {
		if errors.Is(err, ErrNotFound) {
			return noTrail(r.dir)
		}
		return err // nothing here tells what it was
	}
	r.id = id
	if _, e := r.fs.Stat(filepath.Join(r.dir, identityName)); e == nil {
		r.move(identityName, identityName, err)
	}
	r.step(identityName, "write it as the headers of the other files say", err, func() error {
		data, err := id.Encode()
		if err != nil {
			return err
		}
		return durable.WriteFile(r.fs, filepath.Join(r.dir, identityName), data, r.o.Mode)
	})
	return nil
}

// headers is the identity that segments and bases agree on. A trail that a crash interrupted while it was made has
// one segment without content and is none.
func (r *repair) headers() (id Identity, found bool, err error) {
	id.Format = formatVersion
	read := func(name string, magic [8]byte, first TXID) error {
		o, err := openHeader(r.fs, r.dir, name, readOnly, magic, nil, first)
		if err != nil {
			if isContent(err) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrFlag) {
				return nil
			}
			return err
		}
		defer func() { _ = o.f.Close() }() // it was only read
		if found && o.hdr.database != id.Database {
			return &Error{
				Path: r.dir, Offset: -1, Hint: "move the files of one of them out of the trail, then repair it again",
				Err: because(ErrForeign, "no identity file, and files of two databases: %v and %v", id.Database, o.hdr.database),
			}
		}
		id.Database, id.Timeline = o.hdr.database, max(id.Timeline, o.hdr.timeline)
		found = found || len(r.list.segments)+len(r.list.bases) > 1 || o.size > fileHeaderSize
		return nil
	}
	for _, first := range r.list.segments {
		if err := read(segmentName(first), segmentMagic, first); err != nil {
			return id, false, err
		}
	}
	for _, txid := range r.list.bases {
		if err := read(baseName(txid), baseMagic, txid); err != nil {
			return id, false, err
		}
	}
	return id, found, nil
}

// damagedSegment is a file that is not what it should be.
type damagedSegment struct {
	first TXID // by its name
	name  string
	why   error
	hdr   fileHeader
	known bool // hdr is right
	found []piece
	size  int64
	tail  *tail // of a tail that can be cut: what is right of it
}

// segments looks at each.
func (r *repair) segments(ctx context.Context) (damaged []*damagedSegment, err error) {
	for i, first := range r.list.segments {
		d, err := r.segment(ctx, first, i == len(r.list.segments)-1)
		if err != nil {
			return nil, err
		}
		if d != nil {
			damaged = append(damaged, d)
		}
	}
	return damaged, nil
}

// segment looks at one: what is wrong with it, nil when nothing is.
func (r *repair) segment(ctx context.Context, first TXID, last bool) (*damagedSegment, error) {
	d := &damagedSegment{first: first, name: segmentName(first)}
	o, err := openHeader(r.fs, r.dir, d.name, readOnly, segmentMagic, &r.id, first)
	switch {
	case errors.Is(err, ErrVersion), errors.Is(err, ErrFlag), err != nil && !isContent(err):
		return nil, err
	case errors.Is(err, ErrForeign):
		r.move(d.name, d.name, err)
		return nil, nil
	case err != nil:
		d.why = err
		return d, r.inPieces(ctx, d)
	}
	d.hdr, d.known = o.hdr, true
	defer func() { _ = o.f.Close() }() // it was only read
	if last && !o.hdr.sealed() {
		return r.tail(ctx, d, o)
	}
	s, err := verifySegment(ctx, o, nil)
	if err == nil && s.tail {
		err = located(because(ErrCorrupt, "the segment is not the last and has no end"), o.path, o.size, s.last.txid+1)
	}
	switch {
	case errors.Is(err, ErrFlag), err != nil && !isContent(err):
		return nil, err
	case err != nil:
		d.why = err
		return d, r.inPieces(ctx, d)
	}
	return nil, r.keepSegment(o, s)
}

// keepSegment notes a file that is whole.
func (r *repair) keepSegment(o *openedFile, s *segmentSummary) error {
	reader, err := newSegmentReader(o)
	if err != nil {
		return err
	}
	meta := segmentMeta{info: reader.info, before: o.hdr.before, points: reader.points, bases: s.bases}
	r.whole = append(r.whole, &stretchOfSegment{meta: meta, after: s.last, chain: s.chain, hdr: o.hdr, file: filepath.Base(o.path)})
	return nil
}

// tail looks at the segment that grows.
func (r *repair) tail(ctx context.Context, d *damagedSegment, o *openedFile) (*damagedSegment, error) {
	t := &tail{openedFile: o, damaged: true}
	t.rewind()
	if _, err := t.refresh(); err != nil {
		return nil, err
	}
	if t.damage == nil {
		cut := *o
		cut.size = t.end
		if _, err := verifySegment(ctx, &cut, nil); err != nil && !isContent(err) {
			return nil, err
		} else if err != nil {
			t.damage = err
		}
	}
	if errors.Is(t.damage, ErrFlag) {
		return nil, t.damage
	}
	if t.damage == nil {
		r.whole = append(r.whole, &stretchOfSegment{meta: *t.meta(), after: t.st, hdr: o.hdr, file: d.name})
		if t.torn == nil {
			return nil, nil
		}
		d.tail, d.why = t, t.torn
		return d, nil
	}
	d.why = t.damage
	return d, r.inPieces(ctx, d)
}

// inPieces finds what is whole of a damaged segment.
func (r *repair) inPieces(ctx context.Context, d *damagedSegment) (err error) {
	f, err := r.fs.OpenFile(filepath.Join(r.dir, d.name), readOnly, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	o := &openedFile{f: f, path: filepath.Join(r.dir, d.name), hdr: d.hdr}
	if o.size, err = f.Size(); err != nil {
		return err
	}
	d.size = o.size
	if d.found, err = pieces(ctx, o, d.known); err != nil {
		return err
	}
	timeline := r.id.Timeline
	if d.known {
		timeline = d.hdr.timeline
	}
	for i := range d.found {
		p := &d.found[i]
		hdr := p.header(&r.id, timeline)
		x := &p.index
		r.whole = append(r.whole, &stretchOfSegment{
			meta: segmentMeta{before: p.before, bases: x.bases, info: SegmentInfo{
				Name: segmentName(hdr.first), First: hdr.first, Last: p.after.txid, FirstTime: x.firstTime, LastTime: p.after.time,
			}},
			after: p.after, hdr: hdr, piece: p, file: d.name,
		})
	}
	return nil
}

// salvaged takes up what an earlier repair has made. It counts where nothing else is there of it.
func (r *repair) salvaged(ctx context.Context) error {
	for _, name := range r.list.other {
		hex, ok := strings.CutSuffix(name, salvagedSuffix)
		first, valid := parseName(hex+segmentSuffix, segmentSuffix)
		if !ok || !valid {
			continue
		}
		o, err := openHeader(r.fs, r.dir, name, readOnly, segmentMagic, &r.id, first)
		if err == nil {
			var s *segmentSummary
			if s, err = verifySegment(ctx, o, nil); err == nil && !r.holds(first, s.last.txid) {
				err = r.keepSegment(o, s)
			}
			err = joinClose(err, o.f)
		}
		if err != nil && !isContent(err) {
			return err
		}
	}
	return nil
}

// holds says whether something is there already of a range of transactions.
func (r *repair) holds(first, last TXID) bool {
	return slices.ContainsFunc(r.whole, func(s *stretchOfSegment) bool {
		return s.meta.info.First <= last && first <= s.meta.info.Last
	})
}

// history leaves out pieces that overlap with others or do not go on from what stands before them, and notes whole
// files that do not.
func (r *repair) history() {
	slices.SortStableFunc(r.whole, func(a, b *stretchOfSegment) int {
		return cmp.Or(cmp.Compare(a.meta.info.First, b.meta.info.First), cmp.Compare(b2i(a.piece != nil), b2i(b.piece != nil)))
	})
	var kept []*stretchOfSegment
	for i, s := range r.whole {
		if s.piece != nil && !r.fits(kept, s, r.whole[i+1:]) {
			continue
		}
		if n := len(kept); n > 0 {
			prev := kept[n-1]
			sum := segmentSummary{last: prev.after, chain: prev.chain, salvaged: prev.hdr.flags&flagSalvaged != 0}
			if prev.after.txid >= s.meta.info.First || prev.after.txid+1 == s.meta.info.First && !sum.leadsTo(&s.hdr) {
				r.p.Unhealed = append(r.p.Unhealed,
					located(because(ErrDiverged, "does not continue %s", prev.file), filepath.Join(r.dir, s.file), 0, s.meta.info.First))
			}
		}
		kept = append(kept, s)
	}
	r.whole = kept
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// fits says whether a piece has its place between what is kept before it and what comes after.
func (r *repair) fits(kept []*stretchOfSegment, s *stretchOfSegment, later []*stretchOfSegment) bool {
	if n := len(kept); n > 0 {
		prev := kept[n-1].after
		if prev.txid >= s.meta.info.First || prev.txid+1 == s.meta.info.First && prev != s.meta.before {
			return false
		}
	}
	for _, l := range later {
		if l.piece == nil {
			return l.meta.info.First > s.after.txid && (l.meta.info.First != s.after.txid+1 || l.meta.before == s.after)
		}
	}
	return true
}

// heal plans what is done to damaged segments: what was whole of all of them is written first, then they are moved,
// then it is put in place, under names that some of them had. So after a crash it is all there, in one place or the other.
func (r *repair) heal(ctx context.Context, damaged []*damagedSegment) {
	last := TXID(0)
	if n := len(r.list.segments); n > 0 {
		last = r.list.segments[n-1]
	}
	var moved []*damagedSegment
	var found []*stretchOfSegment
	for _, d := range damaged {
		pieces := r.piecesOf(d.name)
		switch {
		case d.tail != nil:
			r.cutTail(d, d.tail.end)
		case d.first == last && d.known && !d.hdr.sealed() && cutable(d, pieces):
			r.cutTail(d, pieces[0].piece.to)
			pieces[0].piece, pieces[0].hdr = nil, d.hdr
			r.p.Again = true
		default:
			moved, found = append(moved, d), append(found, pieces...)
			r.rewrite(ctx, d, pieces)
			r.p.Again = r.p.Again || d.first == last && (len(pieces) == 0 || pieces[len(pieces)-1].piece.to < d.size)
		}
	}
	for _, d := range moved {
		as := d.name
		if d.first == last && d.known && !d.hdr.sealed() {
			as = r.endTail(d)
		}
		r.move(d.name, as, d.why)
	}
	for _, s := range found {
		r.install(s.hdr.first)
		s.piece = nil
	}
}

// rewrite plans to write the pieces of a segment.
func (r *repair) rewrite(ctx context.Context, d *damagedSegment, pieces []*stretchOfSegment) {
	why := d.why
	for _, s := range pieces {
		p, hdr := s.piece, s.hdr
		r.step(d.name, "write what is whole of it, transactions "+span(s.meta.info.First, s.meta.info.Last)+", anew", why, func() error {
			return r.salvage(ctx, d.name, p, hdr)
		})
		why, d.why = nil, nil // said once
	}
}

// endTail plans to end a damaged tail, so that programs that have it open go on in the next, and says under what name
// it is moved then: as it was it is copied.
func (r *repair) endTail(d *damagedSegment) string {
	pieces := r.piecesOf(d.name)
	if len(pieces) == 0 {
		return d.name
	}
	end := pieces[len(pieces)-1].piece
	r.keep(d.name, d.name, 0, nil)
	r.step(d.name, "end it, for programs that have it open", nil, func() error { return r.end(d.name, end) })
	return d.name + ".ended"
}

// piecesOf are the pieces of a file that are kept.
func (r *repair) piecesOf(name string) (out []*stretchOfSegment) {
	for _, s := range r.whole {
		if s.piece != nil && s.file == name {
			out = append(out, s)
		}
	}
	return out
}

// cutable says that all that is whole of a tail stands at its beginning, so that it can go on from there.
func cutable(d *damagedSegment, pieces []*stretchOfSegment) bool {
	return len(pieces) == 1 && pieces[0].piece.from == fileHeaderSize && pieces[0].meta.before == d.hdr.before
}

// cutTail plans to cut a tail after its last whole block, the rest kept aside.
func (r *repair) cutTail(d *damagedSegment, to int64) {
	r.keep(d.name, d.name+".rest", to, d.why)
	r.step(d.name, "cut it after its last whole block", nil, func() error { return r.cut(d.name, to) })
}

// install plans to put in place what salvage made.
func (r *repair) install(first TXID) {
	r.installed[salvagedName(first)], r.installed[salvagedName(first)+durable.TempSuffix] = true, true
	r.step(segmentName(first), "put in place what was written anew", nil, func() error {
		if err := r.fs.Rename(filepath.Join(r.dir, salvagedName(first)), filepath.Join(r.dir, segmentName(first))); err != nil {
			return err
		}
		return r.fs.SyncDir(r.dir)
	})
}

func span(first, last TXID) string {
	if first == last {
		return first.String()
	}
	return first.String() + " to " + last.String()
}
