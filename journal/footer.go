package journal

import (
	"encoding/binary"
	"sort"

	"github.com/pagetrail/pagetrail/diff"
)

// Bits of the number that begins a segment's footer.
const (
	footerPages  = 1 << 0 // the page index is there
	footerFolded = 1 << 1 // units say how many transactions more than records they hold
	footerMerged = 1 << 2 // the segment stands for others, the last of which had the chain that is given

	footerKnown = footerPages | footerFolded | footerMerged
)

// footer is the content of a sealed segment's F block: what is found in it without reading blocks.
type footer struct {
	first     TXID // from the file's header
	before    state
	last      state // after the last record
	firstTime Time
	raw       int64 // bytes of the streams of all records
	units     []unit
	points    []Point
	bases     []TXID // records of Kind Base
	folded    uint64 // transactions more than records
	merged    bool
	chain     chainHash // of a merged segment: what the footer of the last one had that it stands for

	pages *pageIndex // nil when there is none
}

// unit is a T block with the P blocks before it.
type unit struct {
	off   int64
	first TXID
	last  TXID
	time  Time // of the last record

	folded uint64 // transactions more than records
}

// append encodes the footer. index is the encoded page index, empty for none.
func (f *footer) append(b, index []byte) []byte {
	flags := uint64(0)
	if len(index) > 0 {
		flags = footerPages
	}
	if f.folded > 0 {
		flags |= footerFolded
	}
	if f.merged {
		flags |= footerMerged
	}
	b = binary.AppendUvarint(b, flags)
	b = appendSum(b, f.last.sum)
	b = le.AppendUint64(b, uint64(f.last.time))
	b = le.AppendUint32(b, f.last.pageSize)
	b = le.AppendUint32(b, f.last.pageCount)
	if f.merged {
		b = append(b, f.chain[:]...)
	}
	b = binary.AppendUvarint(b, uint64(f.firstTime-f.before.time))
	b = binary.AppendUvarint(b, uint64(f.raw))
	b = binary.AppendUvarint(b, uint64(len(f.units)))
	off, at := int64(fileHeaderSize), f.before.time
	for _, u := range f.units {
		b = binary.AppendUvarint(b, uint64(u.off-off))
		b = binary.AppendUvarint(b, uint64(u.last-u.first)+1-u.folded)
		if f.folded > 0 {
			b = binary.AppendUvarint(b, u.folded)
		}
		b = binary.AppendUvarint(b, uint64(u.time-at))
		off, at = u.off, u.time
	}
	b = binary.AppendUvarint(b, uint64(len(f.points)))
	for _, p := range f.points {
		b = binary.AppendUvarint(b, uint64(p.TXID-f.before.txid))
		b = le.AppendUint64(b, uint64(p.Time))
		b = binary.AppendUvarint(b, uint64(len(p.Name)))
		b = append(b, p.Name...)
	}
	b = binary.AppendUvarint(b, uint64(len(f.bases)))
	prev := f.before.txid
	for _, id := range f.bases {
		b = binary.AppendUvarint(b, uint64(id-prev))
		prev = id
	}
	return append(b, index...)
}

// parseFooter reads a footer back; end is where the F block begins. The page index is kept as it is, and
// checked when it is asked for.
func parseFooter(b []byte, hdr *fileHeader, end int64) (*footer, error) {
	f := &footer{first: hdr.first, before: hdr.before}
	r := fields{b: b}
	flags := r.uvarint()
	if !r.bad && flags&^footerKnown != 0 {
		return nil, because(ErrFlag, "footer flags %#x", flags)
	}
	f.last = state{sum: r.sum(), time: Time(r.u64()), pageSize: r.u32(), pageCount: r.u32()}
	if f.merged = flags&footerMerged != 0; f.merged {
		copy(f.chain[:], r.bytes(len(f.chain)))
	}
	f.firstTime = f.before.time + Time(r.upTo(1<<63-1))
	f.raw = int64(r.upTo(1<<63 - 1))
	f.last.txid = f.parseUnits(&r, end, flags&footerFolded != 0)
	f.parsePoints(&r)
	f.parseBases(&r)
	if r.bad || len(f.units) == 0 || f.units[len(f.units)-1].time != f.last.time ||
		!validPageSize(f.last.pageSize) || f.last.pageCount > maxPageCount ||
		f.firstTime <= f.before.time || f.firstTime > f.units[0].time || (flags&footerPages != 0) != (len(r.b) > 0) ||
		(flags&footerFolded != 0) != (f.folded > 0) {
		return nil, because(ErrCorrupt, "index of the segment")
	}
	if flags&footerPages != 0 {
		f.pages = &pageIndex{b: r.b, units: uint64(len(f.units))}
	}
	return f, nil
}

func (f *footer) parseUnits(r *fields, end int64, folded bool) TXID {
	n := r.upTo(uint64(len(r.b)))
	off, at, id := int64(fileHeaderSize), f.before.time, f.before.txid
	f.units = make([]unit, 0, min(n, uint64(len(r.b)/3))) // each takes three bytes or more
	for i := range n {
		delta, records, more := r.upTo(1<<62), r.upTo(maxRecords), uint64(0)
		if folded {
			more = r.upTo(maxFolded)
		}
		later := r.upTo(1<<63 - 1)
		off += int64(delta)
		before := at
		at += Time(later)
		if r.bad || records == 0 || at <= before || off < fileHeaderSize || off >= end ||
			i > 0 && delta == 0 || id+TXID(records+more) > MaxTXID {
			r.fail()
			break
		}
		f.units = append(f.units, unit{off: off, first: id + 1, last: id + TXID(records+more), time: at, folded: more})
		f.folded += more
		id += TXID(records + more)
	}
	return id
}

func (f *footer) parsePoints(r *fields) {
	n := r.upTo(uint64(len(r.b)))
	for range n {
		id := f.before.txid + TXID(r.upTo(1<<40))
		at := Time(r.u64())
		name := string(r.bytes(int(r.upTo(maxName))))
		if r.bad || !validName(name) || len(f.units) == 0 || id > f.units[len(f.units)-1].last {
			r.fail()
			return
		}
		f.points = append(f.points, Point{Name: name, TXID: id, Time: at})
	}
}

func (f *footer) parseBases(r *fields) {
	n := r.upTo(uint64(len(r.b)))
	prev := f.before.txid
	for range n {
		gap := r.upTo(1 << 40)
		prev += TXID(gap)
		if r.bad || gap == 0 || len(f.units) == 0 || prev > f.units[len(f.units)-1].last {
			r.fail()
			return
		}
		f.bases = append(f.bases, prev)
	}
}

// unitOf is the unit that holds a transaction of the segment.
func (f *footer) unitOf(id TXID) int {
	return sort.Search(len(f.units), func(i int) bool { return f.units[i].last >= id })
}

// indexer collects what a footer says while its segment is walked: by the sealer, which writes it, and by
// Verify, which compares.
type indexer struct {
	f    footer
	runs []pageRun
	over bool // too many runs: no page index
	dec  diff.Decoder
}

// unit begins a unit at off.
func (x *indexer) unit(off int64) {
	x.f.units = append(x.f.units, unit{off: off, first: x.f.last.txid + 1})
}

// begin begins with a segment's header.
func (x *indexer) begin(h *fileHeader) {
	x.f = footer{first: h.first, before: h.before, last: h.before}
}

// record takes a record of the unit last begun, and its last group.
func (x *indexer) record(r *rawRecord, b diff.Body) error {
	pages, err := x.body(b, r.after.pageSize)
	if err != nil {
		return err
	}
	if pages != int(r.pages) {
		return because(ErrCorrupt, "%d pages patched, the record says %d", pages, r.pages)
	}
	if x.f.last.txid == x.f.before.txid {
		x.f.firstTime = r.after.time
	}
	if r.kind == Base {
		x.f.bases = append(x.f.bases, r.after.txid)
	}
	x.dropped(&r.after)
	u := &x.f.units[len(x.f.units)-1]
	u.last, u.time = r.after.txid, r.after.time
	u.folded += r.folded
	x.f.folded += r.folded
	x.f.last = r.after
	x.f.raw += r.parts.bytes + int64(b.Len())
	return nil
}

// body checks a body and takes its pages into the index of the unit last begun. It says how many they are.
func (x *indexer) body(b diff.Body, pageSize uint32) (pages int, err error) {
	if len(b.Pages) == 0 {
		return 0, nil
	}
	if err := x.dec.Load(b, int(pageSize)); err != nil {
		return 0, because(ErrCorrupt, "patches: %v", err)
	}
	refs := x.dec.Pages()
	for _, p := range refs {
		x.run(p.No, p.No+1)
	}
	return len(refs), nil
}

// run takes pages into the index of the unit last begun.
func (x *indexer) run(first, end uint32) {
	u := uint32(len(x.f.units) - 1)
	if n := len(x.runs); n > 0 && x.runs[n-1].unit == u && x.runs[n-1].end == first {
		x.runs[n-1].end = end
		return
	}
	if len(x.runs) >= maxRuns {
		x.over = true
		x.runs = x.runs[:0]
	}
	if !x.over {
		x.runs = append(x.runs, pageRun{first: first, end: end, unit: u})
	}
}

// dropped takes in the pages that end with a record, which must not be patched as if they were still there: those beyond
// the end of a shorter database, and all when the page size changes.
func (x *indexer) dropped(after *state) {
	before, first := &x.f.last, after.pageCount+1
	if before.pageSize != after.pageSize {
		first = 1
	}
	if first <= before.pageCount {
		x.run(first, before.pageCount+1)
	}
}

// encode is the footer's content.
func (x *indexer) encode() []byte {
	var index []byte
	if !x.over {
		index = appendPageIndex(nil, x.runs)
	}
	out := x.f.append(nil, index)
	if len(out) > maxFooter {
		out = x.f.append(out[:0], nil)
	}
	return out
}

// loadFooter reads the footer of a sealed segment, unless that was done; end is where its block begins.
func loadFooter(o *openedFile) (f *footer, end int64, err error) {
	if o.footer != nil {
		return o.footer, o.footerAt, nil
	}
	content, end, err := readFooter(o.f, o.size, uint64(o.hdr.first))
	if err == nil {
		f, err = parseFooter(content, &o.hdr, end)
	}
	return f, end, located(err, o.path, max(o.size-trailerSize, 0), 0)
}
