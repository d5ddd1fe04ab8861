package journal

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
)

// DefaultSealBytes is WriterOptions.SealBytes where none is given.
const DefaultSealBytes = 8 << 20

// WriterOptions for OpenWriter; nil means defaults.
type WriterOptions struct {
	FS        durable.FS  // default durable.OS
	Mode      fs.FileMode // of files created, default 0644; directories get the x bits of its r bits
	SealBytes int64       // the tail is Full when it is larger; default DefaultSealBytes
	SealFast  bool        // Seal takes a third less time, and what it writes is 5 % longer
	Create    bool        // make the trail if there is none
	Database  DatabaseID  // of a trail that is made; default drawn at random
	Begin     *Beginning  // of a trail that is made; default a database and history of its own
}

// Beginning says where a trail begins that is made for a part of a history that others have from the start. It needs a
// base of After, which CreateBase makes, before anything can be restored from it.
type Beginning struct {
	Identity Identity
	After    Tx // TXID, Time, PageSize, PageCount and Sum count
}

func (o *WriterOptions) filled() WriterOptions {
	var f WriterOptions
	if o != nil {
		f = *o
	}
	if f.FS == nil {
		f.FS = durable.OS
	}
	if f.Mode == 0 {
		f.Mode = 0o644
	}
	if f.SealBytes == 0 {
		f.SealBytes = DefaultSealBytes
	}
	return f
}

// Writer appends to a trail. All methods but Lock want the lock held, except Close and Identity. Not safe
// for concurrent use.
//
// What Add and AddPart were given becomes visible by Flush, all at once, and durable by Sync. After a
// failed Sync, or a failed write that could not be undone, every method returns ErrFailed: what the file
// holds is unknown then, and only opening it anew finds out.
type Writer struct {
	o        WriterOptions
	dir      string
	identity Identity
	lock     durable.Lock
	held     bool
	failed   error // final
	tail     *tail // nil before the first Lock
	dirty    bool  // the tail's file was changed since its last Sync

	// What is added and not flushed.
	pend       state // after the last record added
	last       Tx    // the last record added, flushed or not
	prepared   bool  // last is prepared and not confirmed
	prior      Tx    // the record before last, while last is prepared and not flushed
	priorState state // likewise
	cur        encBlock
	out        []byte  // finished blocks
	chunks     []chunk // where they go
	next       int64   // where the block after chunks and P blocks goes
	added      totals
	parts      parts // P blocks written ahead, without their record
	partsOff   int64

	staleBase TXID // a base beyond the last record, left by a crash: removed before that TXID is used otherwise
	fresh     bool // the directory was not yet looked at under the lock
	scratch   []byte
}

// totals are of records that are neither flushed nor prepared.
type totals struct {
	count     int
	firstTime Time
	raw       int64
	bases     []TXID
}

func (s *totals) record(tx *Tx) {
	if s.count++; s.count == 1 {
		s.firstTime = tx.Time
	}
	s.raw += tx.Bytes
	if tx.Kind == Base {
		s.bases = append(s.bases, tx.TXID)
	}
}

// chunk is a piece of out and its place in the file.
type chunk struct {
	off      int64
	unit     int64 // of the first P block, when its first block is the T block of a large transaction, else off
	from, to int
}

// encBlock is the T block under construction.
type encBlock struct {
	h, p, t, l []byte
	before     state
	records    uint32
	prepared   bool
}

func (b *encBlock) reset() {
	b.h, b.p, b.t, b.l = b.h[:0], b.p[:0], b.t[:0], b.l[:0]
	b.records, b.prepared = 0, false
}

func (b *encBlock) size() int { return len(b.h) + len(b.p) + len(b.t) + len(b.l) }

// OpenWriter opens a trail for writing, and makes it first when o says so and there is none. It does not
// wait for the writer lock, unless it makes the trail. Everything else is read by the first Lock.
func OpenWriter(dir string, o *WriterOptions) (*Writer, error) {
	w := &Writer{o: o.filled(), dir: dir, fresh: true}
	id, err := readIdentity(w.o.FS, dir)
	if errors.Is(err, ErrNotFound) && w.o.Create {
		id, err = create(&w.o, dir)
	}
	if err != nil {
		return nil, err
	}
	if id.Common != nil {
		return nil, &Error{Path: dir, Offset: -1, Err: errors.New("a branch is not written to"), Hint: "hydrate it, and write to that"}
	}
	w.identity = id
	if w.o.SealFast {
		shipped.wanted.Store(true)
	}
	return w, nil
}

// Close closes the files, and with the lock held gives it up. What was not flushed is forgotten.
func (w *Writer) Close() error {
	var err error
	if w.held && w.failed == nil {
		err = w.Reset()
	}
	err = errors.Join(err, w.tail.close())
	w.tail = nil
	if w.lock != nil {
		err = errors.Join(err, w.lock.Close())
		w.lock, w.held = nil, false
	}
	w.failed = fs.ErrClosed
	return err
}

// Identity is what the identity file said when the writer was opened, or at the last Lock when another writer had
// begun a timeline, or after the last Fork.
func (w *Writer) Identity() Identity { return w.identity }

// Dir is the directory as given to OpenWriter.
func (w *Writer) Dir() string { return w.dir }

// ready says whether the writer can be used.
func (w *Writer) ready() error {
	if w.failed != nil {
		return &Error{Path: w.dir, Offset: -1, Err: because(ErrFailed, "%v", w.failed), Hint: hintReopen}
	}
	if !w.held {
		panic("journal: Writer used without its lock")
	}
	return nil
}

// fail makes an error final.
func (w *Writer) fail(err error) error {
	w.failed = err
	return err
}

// Last is the last record added, prepared or not (TXID 0, PageCount 0: none). When the tail has no record
// yet it is the last of the segment before; where that was pruned, only TXID, Time, PageSize, PageCount and Sum
// are set.
func (w *Writer) Last() Tx { return w.last }

// Prepared says that the last record is prepared and neither confirmed nor dropped.
func (w *Writer) Prepared() bool { return w.prepared }

// Size is the tail's, with all that was flushed.
func (w *Writer) Size() int64 { return w.tail.end }

// Full says that the tail is over SealBytes, so that Rotate is due.
func (w *Writer) Full() bool { return w.tail.end > w.o.SealBytes }

// Add buffers tx as the next record: TXID is assigned, Time raised to last+1 if needed, Pages and Bytes are
// computed from parts and b. It returns what was recorded. Nothing is visible before Flush. b is copied. A
// prepared record must be the last before its Confirm or Drop.
func (w *Writer) Add(tx Tx, b diff.Body, pages int, prepared bool) (Tx, error) {
	if err := w.ready(); err != nil {
		return Tx{}, err
	}
	if err := w.admit(&tx, b, pages); err != nil {
		return Tx{}, &Error{Path: w.tail.path, Offset: -1, TXID: w.pend.txid + 1, Err: err}
	}
	if err := w.clearStaleBase(&tx); err != nil {
		return Tx{}, err
	}
	tx.TXID = w.pend.txid + 1
	tx.Time = max(tx.Time, w.pend.time+1)
	tx.SumKnown, tx.SumCut = true, tx.Sum.Cut()
	tx.Pages, tx.Bytes = w.parts.pages+uint32(pages), w.parts.bytes+int64(b.Len())
	alone := prepared || w.parts.count > 0
	if c := &w.cur; c.records > 0 && (alone || c.records >= blockRecords || c.size()+b.Len() > blockStreams) {
		w.finishBlock()
	}
	c := &w.cur
	if c.records == 0 {
		c.before = w.pend
		pre := preamble{before: w.pend, synced: max(w.tail.synced, w.tail.onDisk)}
		c.h = pre.append(c.h[:0])
	}
	c.h = appendRecord(c.h, w.pend, &tx, w.parts, b, uint32(pages), true)
	c.p = append(c.p, b.Pages...)
	c.t = append(c.t, b.Tokens...)
	c.l = append(c.l, b.Literals...)
	c.records++
	c.prepared = prepared
	if prepared {
		w.prior, w.priorState = w.last, w.pend
	}
	w.last, w.pend, w.prepared = tx, stateAfter(&tx), prepared
	if !prepared { // else Confirm counts it
		w.added.record(&tx)
	}
	if alone {
		if w.parts.count == 0 {
			w.partsOff = w.next
		}
		w.finishBlock()
	}
	w.parts = parts{}
	return tx, nil
}

// stateAfter is what the record after tx continues.
func stateAfter(tx *Tx) state {
	return state{txid: tx.TXID, time: tx.Time, sum: tx.Sum, pageSize: uint32(tx.PageSize), pageCount: tx.PageCount}
}

// The tail's blocks end when they have so many records, or would have so many bytes. A block that is
// larger than that holds one record.
const (
	blockRecords = 4096
	blockStreams = 1 << 20
)

// admit refuses what the format cannot hold.
func (w *Writer) admit(tx *Tx, b diff.Body, pages int) error {
	switch {
	case w.prepared:
		return errors.New("the record before is prepared: confirm or drop it first")
	case w.pend.time == math.MaxInt64:
		return because(ErrRange, "no time after %v", w.pend.time)
	case w.pend.txid >= MaxTXID:
		return because(ErrRange, "no transaction after %d", uint64(MaxTXID))
	case tx.Kind >= kinds:
		return because(ErrRange, "%v", tx.Kind)
	case tx.Kind == Base && (pages != 0 || w.parts.count != 0):
		return because(ErrRange, "a base of patched pages")
	case tx.PageSize < 0 || tx.PageSize > maxPageSize || !validPageSize(uint32(tx.PageSize)):
		return because(ErrRange, "page size %d", tx.PageSize)
	case tx.PageCount > maxPageCount:
		return because(ErrRange, "%d pages", tx.PageCount)
	case tx.Folded > 0:
		return because(ErrRange, "a record that stands for %d more: only sealed segments have them", tx.Folded)
	case len(tx.Note) > maxNote || len(tx.Super) > maxSuper:
		return because(ErrRange, "note of %d bytes, super-journal name of %d, at most %d", len(tx.Note), len(tx.Super), maxNote)
	case !tx.Origin.WAL && (tx.Origin.Salt != [2]uint32{} || tx.Origin.Frame != 0 || tx.Origin.Checksum != [2]uint32{}):
		return because(ErrRange, "origin with WAL fields and not from a WAL")
	case pages < 0 || int64(pages)+int64(w.parts.pages) > maxPageCount:
		return because(ErrRange, "%d pages patched", pages)
	case (pages == 0) != (len(b.Pages) == 0) || pages == 0 && b.Len() != 0:
		return because(ErrRange, "%d pages in a body of %d bytes", pages, b.Len())
	case b.Len() > maxStreams-headerRoom:
		return because(ErrRange, "body of %d bytes: divide it by AddPart", b.Len())
	}
	return nil
}

// headerRoom is more than the H stream of one record can take.
const headerRoom = maxNote + maxSuper + 1024

// finishBlock moves the block under construction to out.
func (w *Writer) finishBlock() {
	c := &w.cur
	if c.records == 0 {
		return
	}
	from := len(w.out)
	hdr := blockHeader{kind: blockTx, first: uint64(c.before.txid) + 1, records: c.records, decoded: uint32(c.size())}
	if c.prepared {
		hdr.flags = flagPrepared
	}
	streams := [4][]byte{c.h, c.p, c.t, c.l}
	w.out = appendBlock(w.out, &hdr, streams[:], &w.scratch)
	w.place(from)
	c.reset()
}

// appendBlock appends a T or P block with raw streams.
func appendBlock(out []byte, hdr *blockHeader, streams [][]byte, scratch *[]byte) []byte {
	from := len(out)
	out = slices.Grow(out, blockHeaderSize+8*binary.MaxVarintLen32+int(hdr.decoded))
	out = append(out, make([]byte, blockHeaderSize)...)
	out, _ = appendStreams(out, streams, compressNot, scratch)
	payload := out[from+blockHeaderSize:]
	hdr.length, hdr.crc = uint32(len(payload)), crcOf(payload)
	hdr.put(out[from:])
	return out
}

// place gives out[from:] its place in the file.
func (w *Writer) place(from int) {
	n := len(w.out) - from
	if k := len(w.chunks); k > 0 && w.chunks[k-1].off+int64(w.chunks[k-1].to-w.chunks[k-1].from) == w.next {
		w.chunks[k-1].to = len(w.out)
	} else {
		unit := w.next
		if w.parts.count > 0 {
			unit = w.partsOff
		}
		w.chunks = append(w.chunks, chunk{off: w.next, unit: unit, from: from, to: len(w.out)})
	}
	w.next += int64(n)
}

// AddPart writes one group of a large transaction ahead of its record, which the next Add must be;
// invisible until that Add's Flush, cut by Reset. pages is the number of pages in b. Memory stays at one
// group, since it is written at once.
func (w *Writer) AddPart(b diff.Body, pages int) error {
	if err := w.ready(); err != nil {
		return err
	}
	tx := Tx{PageSize: maxPageSize}
	if err := w.admit(&tx, b, pages); err != nil {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.pend.txid + 1, Err: err}
	}
	if pages == 0 || w.parts.count == maxParts {
		return &Error{Path: w.tail.path, Offset: -1, TXID: w.pend.txid + 1, Err: because(ErrRange, "group %d of %d pages", w.parts.count+1, pages)}
	}
	w.finishBlock()
	if w.parts.count == 0 {
		w.partsOff = w.next
	}
	hdr := blockHeader{kind: blockPart, first: uint64(w.pend.txid) + 1, records: uint32(pages), decoded: uint32(b.Len())}
	streams := [3][]byte{b.Pages, b.Tokens, b.Literals}
	from := len(w.out)
	w.out = appendBlock(w.out, &hdr, streams[:], &w.scratch)
	w.dirty = true
	_, err := w.tail.f.WriteAt(w.out[from:], w.next)
	n := len(w.out) - from
	w.out = w.out[:from]
	if err != nil {
		return errors.Join(err, w.Reset())
	}
	w.next += int64(n)
	w.parts.count++
	w.parts.pages += uint32(pages)
	w.parts.bytes += int64(b.Len())
	return nil
}
