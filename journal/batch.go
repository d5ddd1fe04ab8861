package journal

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// Batch is a stretch of a trail as a sealed segment of its own: what is shipped somewhere else while the trail's own
// tail still grows. It knows what the next batch continues.
type Batch struct {
	First, Last TXID
	FirstTime   Time
	LastTime    Time
	Points      []Point // named in it
	Bases       []TXID  // records of kind Base
	RawBytes    int64   // of patches before compression
	Folded      uint64  // transactions that were folded into others
	Size        int64   // of the segment

	st    state
	chain chainHash // of its footer
}

// After is the position that the batch ends with.
func (b *Batch) After(id Identity) Position {
	return Position{Database: id.Database, Timeline: id.Timeline, TXID: b.st.txid, Sum: b.st.sum}
}

// Same says that two batches end with the same transaction of the same history, which then is the same up to there.
func (b *Batch) Same(o *Batch) bool { return b.st == o.st }

// Batch describes a sealed segment as a batch, for writing the one that follows it. It reads the footer again.
func (s *SegmentReader) Batch() (Batch, error) {
	if s.f == nil {
		return Batch{}, located(because(ErrCorrupt, "the segment is not sealed"), s.info.Name, 0, 0)
	}
	chain, err := s.f.chainOf(s.o)
	return Batch{
		First: s.info.First, Last: s.info.Last, FirstTime: s.info.FirstTime, LastTime: s.info.LastTime, Points: s.Points(),
		Bases: s.BaseRecords(), RawBytes: s.info.RawBytes, Size: s.info.Size, Folded: s.f.folded, st: s.f.last, chain: chain,
	}, err
}

// BatchOptions for Trail.WriteBatch; nil means defaults.
type BatchOptions struct {
	// Bytes of patches, uncompressed, after which the batch ends; default all there is. It may be longer by what one
	// block of the trail holds, and a large transaction is not divided.
	Bytes int64
	// Size of the segment, as it is stored, that the batch should not exceed; default no limit. The last block counts
	// with what it holds uncompressed, and the footer with what it takes at the most, so as a rule it ends before.
	Size int64
	// To is the last transaction to write; default the last there is.
	To TXID
}

// Start is the first transaction of the segment that holds id: where a first batch may begin. *RangeError when no
// segment holds it.
func (t *Trail) Start(id TXID) (TXID, error) {
	v, err := t.view()
	if err != nil {
		return 0, err
	}
	i := v.names.segmentOf(id)
	if i < 0 || id > v.last.TXID+1 {
		return 0, v.held(id)
	}
	return v.names.segments[i], nil
}

// WriteBatch writes the transactions that follow prev, and the restore points named since, as a sealed segment to f,
// which is empty. Without prev they are those from TXID from on, and that is one that Start returned. The result has
// Last < First when there are none, and then f stays empty. f is neither synced nor closed.
//
// One block and one group are in memory at a time. Whether the trail goes on from prev is checked: ErrDiverged.
func (t *Trail) WriteBatch(ctx context.Context, f durable.File, prev *Batch, from TXID, o *BatchOptions) (Batch, error) {
	v, err := t.view()
	if err != nil {
		return Batch{}, err
	}
	w := batchWriter{t: t, v: v, to: v.last.TXID}
	if o != nil {
		w.bytes, w.size = o.Bytes, o.Size
		if o.To != 0 {
			w.to = min(w.to, o.To)
		}
	}
	if prev != nil {
		if err := t.Continues(ctx, prev); err != nil {
			return Batch{}, err
		}
		from, w.points = prev.Last+1, prev.Points
		w.hdr.before, w.hdr.chain = prev.st, prev.chain
	} else if w.hdr.before, err = t.before(from); err != nil {
		return Batch{}, err
	}
	w.b = Batch{First: from, Last: from - 1, st: w.hdr.before}
	if from > w.to {
		return w.b, nil
	}
	if err := w.write(ctx, f); err != nil {
		return Batch{}, err
	}
	return w.b, nil
}

// before is the state before the first transaction of a segment.
func (t *Trail) before(first TXID) (state, error) {
	t.mu.Lock()
	if t.failed == nil && t.tail.hdr.first == first {
		st := t.tail.hdr.before
		t.mu.Unlock()
		return st, nil
	}
	t.mu.Unlock()
	o, err := openHeader(t.fs, t.dir, segmentName(first), readOnly, segmentMagic, t.id.Load(), first)
	if err != nil {
		return state{}, err
	}
	return o.hdr.before, o.f.Close()
}

// Continues says whether the trail holds the transaction that a batch ends with, or begins right after it, so that
// the next can be written. *RangeError when it holds neither, ErrDiverged when its transaction is another.
func (t *Trail) Continues(ctx context.Context, b *Batch) error {
	v, err := t.view()
	if err != nil {
		return err
	}
	other := because(ErrDiverged, "transaction %d is another than the one that was shipped", uint64(b.Last))
	if first := v.held(b.Last).First; b.Last+1 == first {
		st, err := t.before(first)
		if err == nil && st != b.st {
			err = located(other, filepath.Join(t.dir, segmentName(first)), 0, first)
		}
		return err
	}
	tx, err := t.Find(ctx, b.Last)
	if err != nil {
		return err
	}
	if tx.Time != b.st.time || tx.SumCut != b.st.sum.Cut() || tx.SumKnown && tx.Sum != b.st.sum ||
		tx.PageCount != b.st.pageCount || tx.PageSize != int(b.st.pageSize) {
		return located(other, t.dir, -1, b.Last)
	}
	return nil
}

// batchWriter is the state of WriteBatch.
type batchWriter struct {
	t      *Trail
	v      *view
	to     TXID
	bytes  int64 // BatchOptions.Bytes
	size   int64 // BatchOptions.Size
	hdr    fileHeader
	points []Point // of the batch before; then those to be written
	s      sealer
	b      Batch
}

func (w *batchWriter) write(ctx context.Context, f durable.File) error {
	hdr := &w.hdr
	hdr.magic, hdr.flags, hdr.first = segmentMagic, flagSealed, w.b.First
	id := w.t.Identity()
	hdr.database, hdr.timeline = id.Database, id.Timeline
	head := make([]byte, fileHeaderSize)
	hdr.put(head)
	out := &sealedFile{f: f, path: segmentName(w.b.First), off: fileHeaderSize, chain: sha256.Sum256(head), effort: compressFast}
	w.s.out, w.s.effort = out, compressShip
	c := recordCursor{t: w.t, v: w.v, ctx: ctx}
	bufs := batchBuffers.Get().(*batchBuffer)
	bufs.lend(w, &c)
	defer bufs.takeBack(w, &c)
	w.s.index.begin(hdr)
	if err := w.pending(); err != nil {
		return err
	}
	if err := w.named(w.b.First - 1); err != nil {
		return err
	}
	for w.b.Last < w.to && !w.full() {
		at := w.b.Last
		o, err := c.open(at + 1)
		if err != nil {
			return err
		}
		if err := errors.Join(w.segment(ctx, &c, o), o.f.Close()); err != nil {
			return err
		}
		if w.b.Last == at {
			return c.gap(at + 1)
		}
	}
	if err := w.s.flush(); err != nil {
		return err
	}
	index := &w.s.index.f
	w.b.st, w.b.FirstTime, w.b.LastTime, w.b.RawBytes, w.b.Points = index.last, index.firstTime, index.last.time, index.raw, index.points
	w.b.Bases = index.bases
	if err := out.footer(uint64(hdr.first), w.s.index.encode()); err != nil {
		return err
	}
	if _, err := f.WriteAt(head, 0); err != nil {
		return err
	}
	w.b.Size, w.b.chain = out.off, out.chain
	return nil
}

// full says that the batch ends. It holds a transaction at least.
func (w *batchWriter) full() bool {
	if w.b.Last < w.b.First {
		return false
	}
	stored := w.s.out.off + int64(w.s.cur.size()) + int64(len(w.s.index.runs))*indexRunSize
	return w.bytes > 0 && w.s.index.f.raw >= w.bytes || w.size > 0 && stored >= w.size
}

// pending finds the points that the batch is to hold: those of its transactions, and those that were named for the
// one before only after it was shipped.
func (w *batchWriter) pending() error {
	before := w.points
	w.points = nil
	for i := max(w.v.names.segmentOf(w.b.First-1), 0); i < len(w.v.names.segments); i++ {
		first := w.v.names.segments[i]
		if first > w.v.first || first > w.to+1 {
			break
		}
		m, err := w.t.named(first)
		if errors.Is(err, ErrNotFound) { // pruned meanwhile
			continue
		}
		if err != nil {
			return err
		}
		for _, p := range m.points {
			if p.TXID+1 >= w.b.First && !contains(before, p) {
				w.points = append(w.points, p)
			}
		}
	}
	return nil
}

func contains(points []Point, p Point) bool {
	for _, q := range points {
		if p == q {
			return true
		}
	}
	return false
}

// named writes the points of the transactions up to id.
func (w *batchWriter) named(id TXID) error {
	for len(w.points) > 0 && w.points[0].TXID <= id {
		if err := w.s.point(w.points[0]); err != nil {
			return err
		}
		w.points = w.points[1:]
	}
	return nil
}

// segment copies what is wanted of one file.
func (w *batchWriter) segment(ctx context.Context, c *recordCursor, o *openedFile) error {
	if err := c.start(o, w.b.Last+1); err != nil {
		return err
	}
	c.w.trust = false
	for w.b.Last < w.to && !w.full() {
		if err := ctx.Err(); err != nil {
			return err
		}
		step, err := c.w.next()
		if err != nil {
			return err
		}
		switch step {
		case stepTx:
			if err := w.block(c, o); err != nil {
				return located(err, o.path, c.w.blkOff, c.w.blk.cur.txid+1)
			}
			if err := w.named(w.b.Last); err != nil {
				return err
			}
		case stepEOF, stepEnd, stepUndecided:
			return nil
		}
	}
	return nil
}

// block copies the records of a block that were not shipped yet.
func (w *batchWriter) block(c *recordCursor, o *openedFile) error {
	blk := &c.w.blk
	if c.w.parts.count > 0 && blk.cur.txid >= w.b.Last {
		if err := w.s.groups(c, o); err != nil {
			return err
		}
	}
	var r rawRecord
	for blk.left > 0 {
		before := blk.cur
		if err := blk.next(&r, &c.rec.body); err != nil {
			return err
		}
		if r.after.txid <= w.b.Last {
			continue
		}
		if r.after.txid != w.b.Last+1 {
			return because(ErrGap, "transaction %d follows %d", uint64(r.after.txid), uint64(w.b.Last))
		}
		if r.after.txid == w.b.First { // in the middle of a sealed block its sum is not known, but here it is
			before = w.hdr.before
		}
		if err := w.s.add(&r, before, c.rec.body); err != nil {
			return err
		}
		w.b.Last = r.after.txid
	}
	if c.w.parts.count > 0 { // a large transaction's block is its own
		return w.s.flush()
	}
	return nil
}

// Ended says that the segment that grew does not any more, and that the next one was not there at Open or the last Refresh:
// its writer is about to begin it, or died before.
func (t *Trail) Ended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failed == nil && (t.tail.ended || t.tail.hdr.sealed())
}

// Tail describes the segment that grows, as it was at Open or the last Refresh. Its Size says how much was appended.
func (t *Trail) Tail() SegmentInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed != nil {
		return SegmentInfo{}
	}
	return t.tail.meta().info
}
