package journal

import (
	"crypto/sha256"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// mergeBytes is how many bytes of streams a block of a merged segment holds: it is written once and read rarely, and
// compresses better than the blocks of a segment that is sealed soon after it was written.
const mergeBytes = 1 << 20

// SegmentWriter writes a sealed segment out of the records of others: all of them, or fewer that stand for more. What
// it writes begins where the first of them begins. It compresses as well as can be. Not safe for concurrent use; after
// an error it is of no more use.
type SegmentWriter struct {
	out   sealedFile
	s     sealer
	hdr   fileHeader
	st    state   // after the last record; its sum may be unknown
	parts parts   // P blocks of the record that comes next
	late  []Point // to be written at the end
}

// NewSegmentWriter begins a segment in f, which is empty, where first begins, for a history that has reached that
// timeline. f is neither synced nor closed.
func NewSegmentWriter(f durable.File, first *SegmentReader, timeline Timeline) *SegmentWriter {
	from := first.o.hdr
	from.timeline = timeline
	return newSegmentWriter(f, from)
}

// NewSegmentBetween begins a segment in f, which is empty, that takes the place of what was lost after a batch of that
// history. CloseBefore ends it.
func NewSegmentBetween(f durable.File, after *Batch, history Identity) *SegmentWriter {
	return newSegmentWriter(f, fileHeader{
		database: history.Database, timeline: history.Timeline, first: after.Last + 1, before: after.st, chain: after.chain,
	})
}

func newSegmentWriter(f durable.File, from fileHeader) *SegmentWriter {
	w := &SegmentWriter{hdr: fileHeader{
		magic: segmentMagic, flags: flagSealed, database: from.database, timeline: from.timeline,
		first: from.first, before: from.before, chain: from.chain,
	}}
	head := make([]byte, fileHeaderSize)
	w.hdr.put(head)
	w.out = sealedFile{f: f, path: segmentName(from.first), off: fileHeaderSize, chain: sha256.Sum256(head)}
	w.s = sealer{out: &w.out, bytes: mergeBytes, effort: compressBest}
	w.s.index.begin(&w.hdr)
	w.st = w.hdr.before
	return w
}

// Last is the last transaction written; First-1 when there is none yet.
func (w *SegmentWriter) Last() TXID { return w.st.txid }

// Copy writes a record as it is.
func (w *SegmentWriter) Copy(r *Record) error {
	if r.parts.count > 0 {
		if err := w.continues(r.First()); err != nil {
			return err
		}
		var failed error
		err := r.parts.each(func(b diff.Body, _ error) bool {
			failed = w.part(b, r.PageSize)
			return failed == nil
		})
		if failed != nil {
			return failed
		}
		if err != nil {
			return err
		}
	}
	return w.Add(r.Tx, r.body, int(r.Pages-r.parts.pages))
}

// Part writes one group of a large transaction ahead of its record, which the next Add must be.
func (w *SegmentWriter) Part(b diff.Body, pageSize int) error { return w.part(b, pageSize) }

func (w *SegmentWriter) part(b diff.Body, pageSize int) error {
	if w.parts.count == 0 {
		if err := w.flush(); err != nil {
			return err
		}
		w.s.index.unit(w.out.off)
	}
	pages, err := w.s.index.body(b, uint32(pageSize))
	if err != nil {
		return err
	}
	if w.parts.count == maxParts || pages == 0 {
		return because(ErrRange, "group %d of %d pages", w.parts.count+1, pages)
	}
	w.parts.count++
	w.parts.pages += uint32(pages)
	w.parts.bytes += int64(b.Len())
	return w.s.part(w.st.txid+1, b, uint32(pages))
}

// continues says whether a transaction is the next.
func (w *SegmentWriter) continues(first TXID) error {
	if first != w.st.txid+1 {
		return because(ErrGap, "transaction %d follows %d", uint64(first), uint64(w.st.txid))
	}
	return nil
}

// Add writes a record, whose last group b is, of so many pages. tx.First must be Last+1. Pages and Bytes are computed.
func (w *SegmentWriter) Add(tx Tx, b diff.Body, pages int) error {
	if err := w.continues(tx.First()); err != nil {
		return err
	}
	if tx.Time <= w.st.time || tx.Folded > maxFolded || tx.Kind >= kinds || tx.Kind == Base && tx.Folded > 0 ||
		!validPageSize(uint32(tx.PageSize)) || tx.PageCount > maxPageCount || len(tx.Note) > maxNote || len(tx.Super) > maxSuper {
		return because(ErrRange, "record of transaction %d", uint64(tx.TXID))
	}
	r := rawRecord{
		after: state{txid: tx.TXID, time: tx.Time, sum: tx.Sum, pageSize: uint32(tx.PageSize), pageCount: tx.PageCount},
		kind:  tx.Kind, fullSum: tx.SumKnown, cut: tx.SumCut, origin: tx.Origin, note: []byte(tx.Note), super: []byte(tx.Super),
		pages: uint32(pages), parts: w.parts, folded: tx.Folded,
	}
	if tx.SumKnown {
		r.cut = tx.Sum.Cut()
	}
	if err := w.s.add(&r, w.st, b); err != nil {
		return err
	}
	w.st = r.after
	if w.parts.count == 0 {
		return nil
	}
	w.parts = parts{} // a large transaction's block is its own
	return w.flush()
}

// flush ends the block under construction: its last record must have its whole sum.
func (w *SegmentWriter) flush() error {
	if w.s.cur.records > 0 && !w.s.pending.tx.SumKnown {
		return because(ErrCorrupt, "transaction %d in the middle of a block", uint64(w.st.txid))
	}
	return w.s.flush()
}

// Point writes a restore point, of a transaction that was written.
func (w *SegmentWriter) Point(p Point) error {
	if p.TXID > w.st.txid || !validName(p.Name) {
		return because(ErrRange, "restore point %.80q of transaction %d, the last is %d", p.Name, uint64(p.TXID), uint64(w.st.txid))
	}
	if w.s.cur.records > 0 && !w.s.pending.tx.SumKnown { // it ends a block, and the last record cannot yet
		w.late = append(w.late, p)
		return nil
	}
	return w.s.point(p)
}

// Close writes what ends the segment, and says what it is. With last, the segment stands for all up to the end of
// that one, and is continued by what continues it. Without, it ends a history of its own: what comes next continues
// this segment. sum is that of the last record, which may have been known in part only.
func (w *SegmentWriter) Close(last *SegmentReader, sum diff.Sum) (Batch, error) {
	return w.close(sum, func(f *footer) (err error) {
		if last == nil {
			return nil
		}
		if last.f == nil || last.f.last != w.st {
			return because(ErrDiverged, "the segment does not end as %s does", last.info.Name)
		}
		f.merged = true
		f.chain, err = last.f.chainOf(last.o)
		return err
	})
}

// CloseBefore writes what ends the segment, which stands for what was lost before another: ErrDiverged when that does
// not continue it.
func (w *SegmentWriter) CloseBefore(next *SegmentReader) (Batch, error) {
	after := &next.o.hdr
	return w.close(after.before.sum, func(f *footer) error {
		if after.before != w.st {
			return because(ErrDiverged, "%s does not continue the segment", next.info.Name)
		}
		f.merged, f.chain = true, after.chain
		return nil
	})
}

// close ends the segment. stands is asked what it stands for, once all of it is known.
func (w *SegmentWriter) close(sum diff.Sum, stands func(f *footer) error) (Batch, error) {
	p := &w.s.pending.tx
	switch {
	case w.s.cur.records > 0 && !p.SumKnown && p.SumCut == sum.Cut():
		p.Sum, p.SumKnown, w.st.sum, w.s.index.f.last.sum = sum, true, sum, sum
	case w.st.sum != sum:
		return Batch{}, because(ErrDiverged, "the segment ends with the state sum %v, not %v", w.st.sum, sum)
	}
	for _, p := range w.late {
		if err := w.s.point(p); err != nil {
			return Batch{}, err
		}
	}
	if err := w.flush(); err != nil {
		return Batch{}, err
	}
	f := &w.s.index.f
	if len(f.units) == 0 {
		return Batch{}, because(ErrRange, "a segment without a record")
	}
	if err := stands(f); err != nil {
		return Batch{}, err
	}
	if err := w.out.footer(uint64(w.hdr.first), w.s.index.encode()); err != nil {
		return Batch{}, err
	}
	head := make([]byte, fileHeaderSize)
	w.hdr.put(head)
	if _, err := w.out.f.WriteAt(head, 0); err != nil {
		return Batch{}, err
	}
	b := Batch{
		First: w.hdr.first, Last: w.st.txid, FirstTime: f.firstTime, LastTime: f.last.time, Points: f.points,
		RawBytes: f.raw, Size: w.out.off, Folded: f.folded, st: w.st, chain: w.out.chain,
	}
	if f.merged {
		b.chain = f.chain
	}
	return b, nil
}
