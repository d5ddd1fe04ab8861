package journal

import (
	"encoding/binary"
	"iter"

	"github.com/pagetrail/pagetrail/diff"
)

// Bits of the number that begins a record's header. The low three are the Kind.
const (
	recKind      = 7
	recPageCount = 1 << 3 // the database's size in pages changed
	recSum       = 1 << 4 // the sum stands in full, else 4 bytes of it
	recOrigin    = 1 << 5
	recPageSize  = 1 << 6 // the page size changed
	recNote      = 1 << 7
	recSuper     = 1 << 8
	recParts     = 1 << 9  // P blocks before this one hold all groups but the last
	recFolded    = 1 << 10 // it stands for several transactions; sealed segments only

	recKnown = 1<<11 - 1
)

// Bits of the byte that begins an origin.
const (
	originWAL     = 1 << 0
	originCounter = 1 << 1
)

// parts says what the P blocks of a transaction hold together.
type parts struct {
	count uint32
	pages uint32
	bytes int64
}

// rawRecord is a record's header as decoded. Strings alias the block.
type rawRecord struct {
	after   state
	kind    Kind
	fullSum bool
	cut     uint32
	origin  Origin
	note    []byte
	super   []byte
	pages   uint32 // patched, in the last group
	parts   parts
	folded  uint64 // transactions before it that it stands for too
	p, t, l uint32 // lengths in the streams
}

// tx is the record as callers see it.
func (r *rawRecord) tx() Tx {
	tx := Tx{
		TXID: r.after.txid, Time: r.after.time, Kind: r.kind, PageSize: int(r.after.pageSize), PageCount: r.after.pageCount,
		Sum: r.after.sum, SumKnown: r.fullSum, SumCut: r.cut, Origin: r.origin, Folded: r.folded,
		Pages: r.pages + r.parts.pages, Bytes: r.parts.bytes + int64(r.p) + int64(r.t) + int64(r.l),
	}
	if len(r.note) > 0 {
		tx.Note = string(r.note)
	}
	if len(r.super) > 0 {
		tx.Super = string(r.super)
	}
	return tx
}

// appendRecord writes the header of tx, which follows before, to the H stream. b is its last group,
// of the given number of pages.
func appendRecord(h []byte, before state, tx *Tx, ps parts, b diff.Body, pages uint32, fullSum bool) []byte {
	bits := uint64(tx.Kind)
	set := func(on bool, bit uint64) {
		if on {
			bits |= bit
		}
	}
	set(tx.PageCount != before.pageCount, recPageCount)
	set(fullSum, recSum)
	set(tx.Origin != Origin{}, recOrigin)
	set(uint32(tx.PageSize) != before.pageSize, recPageSize)
	set(tx.Note != "", recNote)
	set(tx.Super != "", recSuper)
	set(ps.count > 0, recParts)
	set(tx.Folded > 0, recFolded)
	h = binary.AppendUvarint(h, bits)
	h = binary.AppendUvarint(h, uint64(tx.Time-before.time))
	if bits&recPageCount != 0 {
		h = binary.AppendUvarint(h, zigzag(int64(tx.PageCount)-int64(before.pageCount)))
	}
	if bits&recPageSize != 0 {
		h = binary.AppendUvarint(h, uint64(tx.PageSize))
	}
	if bits&recOrigin != 0 {
		h = appendOrigin(h, tx.Origin)
	}
	if bits&recNote != 0 {
		h = binary.AppendUvarint(h, uint64(len(tx.Note)))
		h = append(h, tx.Note...)
	}
	if bits&recSuper != 0 {
		h = binary.AppendUvarint(h, uint64(len(tx.Super)))
		h = append(h, tx.Super...)
	}
	if bits&recParts != 0 {
		h = binary.AppendUvarint(h, uint64(ps.count))
		h = binary.AppendUvarint(h, uint64(ps.pages))
		h = binary.AppendUvarint(h, uint64(ps.bytes))
	}
	if bits&recFolded != 0 {
		h = binary.AppendUvarint(h, tx.Folded)
	}
	h = binary.AppendUvarint(h, uint64(pages))
	h = binary.AppendUvarint(h, uint64(len(b.Pages)))
	h = binary.AppendUvarint(h, uint64(len(b.Tokens)))
	h = binary.AppendUvarint(h, uint64(len(b.Literals)))
	if fullSum {
		return appendSum(h, tx.Sum)
	}
	return le.AppendUint32(h, tx.SumCut)
}

func appendOrigin(h []byte, o Origin) []byte {
	var bits byte
	if o.WAL {
		bits |= originWAL
	}
	if o.ChangeCounter != 0 {
		bits |= originCounter
	}
	h = append(h, bits)
	if o.WAL {
		h = le.AppendUint32(h, o.Salt[0])
		h = le.AppendUint32(h, o.Salt[1])
		h = binary.AppendUvarint(h, uint64(o.Frame))
		h = le.AppendUint32(h, o.Checksum[0])
		h = le.AppendUint32(h, o.Checksum[1])
	}
	if o.ChangeCounter != 0 {
		h = le.AppendUint32(h, o.ChangeCounter)
	}
	return h
}

// parse reads the next record header off f; before is the state it follows.
func (r *rawRecord) parse(f *fields, before *state) error {
	bits := f.uvarint()
	if f.bad {
		return because(ErrCorrupt, "record header cut short")
	}
	if bits&^recKnown != 0 || bits&recKind >= kinds {
		return because(ErrFlag, "record flags %#x", bits)
	}
	*r = rawRecord{kind: Kind(bits & recKind), fullSum: bits&recSum != 0, after: *before}
	r.after.txid++
	delta := f.upTo(1<<63 - 1)
	r.after.time += Time(delta)
	if delta == 0 || r.after.time <= before.time { // the second is overflow
		f.fail()
	}
	if bits&(recPageCount|recPageSize|recOrigin|recNote|recSuper|recParts|recFolded) != 0 {
		r.parseOptional(f, bits)
	}
	r.pages = uint32(f.upTo(maxPageCount))
	r.p = uint32(f.upTo(maxStreams))
	r.t = uint32(f.upTo(maxStreams))
	r.l = uint32(f.upTo(maxStreams))
	if r.fullSum {
		r.after.sum = f.sum()
		r.cut = r.after.sum.Cut()
	} else {
		r.after.sum = diff.Sum{}
		r.cut = f.u32()
	}
	all := uint64(r.pages) + uint64(r.parts.pages)
	switch {
	case f.bad, r.after.pageSize == 0, all > maxPageCount,
		r.pages == 0 && r.p+r.t+r.l != 0, r.pages != 0 && r.p == 0,
		r.kind == Base && all != 0, !r.fullSum && r.origin != Origin{}:
		return because(ErrCorrupt, "record header")
	}
	return nil
}

// parseOptional reads the fields that most records do without.
func (r *rawRecord) parseOptional(f *fields, bits uint64) {
	if bits&recPageCount != 0 {
		n := int64(r.after.pageCount) + unzigzag(f.upTo(2*maxPageCount+1))
		if n < 0 || n > maxPageCount || n == int64(r.after.pageCount) {
			f.fail()
		}
		r.after.pageCount = uint32(n)
	}
	if bits&recPageSize != 0 {
		n := uint32(f.upTo(maxPageSize))
		if !validPageSize(n) || n == r.after.pageSize {
			f.fail()
		}
		r.after.pageSize = n
	}
	if bits&recOrigin != 0 {
		r.origin = parseOrigin(f)
	}
	if bits&recNote != 0 {
		r.note = parseString(f, maxNote)
	}
	if bits&recSuper != 0 {
		r.super = parseString(f, maxSuper)
	}
	if bits&recParts != 0 {
		r.parts.count = uint32(f.upTo(maxParts))
		r.parts.pages = uint32(f.upTo(maxPageCount))
		r.parts.bytes = int64(f.upTo(maxParts * maxStreams))
		if r.parts.count == 0 {
			f.fail()
		}
	}
	if bits&recFolded != 0 {
		r.folded = f.upTo(maxFolded)
		r.after.txid += TXID(r.folded)
		if r.folded == 0 || r.kind == Base || r.after.txid > MaxTXID {
			f.fail()
		}
	}
}

// parseString reads a string that is there: the empty one has no flag.
func parseString(f *fields, most uint64) []byte {
	n := f.upTo(most)
	if n == 0 {
		f.fail()
	}
	return f.bytes(int(n))
}

func parseOrigin(f *fields) Origin {
	var o Origin
	bits := f.u8()
	if bits == 0 || bits&^(originWAL|originCounter) != 0 {
		f.fail()
		return o
	}
	if bits&originWAL != 0 {
		o.WAL = true
		o.Salt = [2]uint32{f.u32(), f.u32()}
		o.Frame = uint32(f.upTo(1<<32 - 1))
		o.Checksum = [2]uint32{f.u32(), f.u32()}
	}
	if bits&originCounter != 0 {
		if o.ChangeCounter = f.u32(); o.ChangeCounter == 0 {
			f.fail()
		}
	}
	return o
}

// Record is a transaction as read from a trail.
type Record struct {
	Tx
	body  diff.Body  // the last group
	parts partReader // the groups before it
}

// Groups yields the bodies of the transaction's groups in order; their slices are valid until the
// next step. A transaction that changed no page has none. All but the last group of a large
// transaction are read when asked for, so an error of the file may come up here.
func (r *Record) Groups() iter.Seq2[diff.Body, error] {
	return func(yield func(diff.Body, error) bool) {
		if r.parts.count > 0 {
			if err := r.parts.each(yield); err != nil {
				if err != errStopped {
					yield(diff.Body{}, err)
				}
				return
			}
		}
		if len(r.body.Pages) > 0 {
			yield(r.body, nil)
		}
	}
}
