package apply

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/journal"
)

// Plan says what a target means, and what restoring it takes.
type Plan struct {
	Target Target
	// Tx is the transaction whose state is meant: the last one at or before
	// the target. TXID 0 is the empty database.
	Tx journal.Tx
	// Next is the transaction after it, nil when there is none yet.
	Next *journal.Tx
	// Base is where replaying starts, nil for the empty database.
	Base *journal.BaseInfo
	// Transactions to replay onto it.
	Transactions uint64
	// Bytes of the trail's files that will be read, about.
	Bytes int64
	// PatchBytes, uncompressed, that will be applied, about.
	PatchBytes int64
	// Reads are the files that will be read, the base first.
	Reads []Read
	// Window is what the trail can restore at all.
	Window journal.Window
}

// Read is a file of the trail that a plan reads.
type Read struct {
	Name string
	// Size of the file, and about how many Bytes of it are read.
	Size, Bytes int64
}

// Start is the TXID at which replaying starts: the base's, or 0.
func (p *Plan) Start() journal.TXID {
	if p.Base == nil {
		return 0
	}
	return p.Base.TXID
}

// Resolve says which transaction a target means, without restoring it. It
// reads the trail as it was when opened or last refreshed. The error is a
// *RangeError when the trail cannot restore the target, a
// journal.ErrNotFound when there is no such restore point.
func Resolve(ctx context.Context, trail *journal.Trail, target Target) (Plan, error) {
	p := Plan{Target: target}
	window, err := trail.Window(ctx)
	if err != nil {
		return p, err
	}
	p.Window = window
	if err := p.findTx(ctx, trail); err != nil {
		return p, err
	}
	if _, ok := spanOf(window.Spans, p.Tx.TXID); !ok {
		return p, outOfRange(ctx, trail, &p, p.Tx.TXID, nil)
	}
	if p.Next == nil {
		if p.Next, err = after(ctx, trail, p.Tx.TXID); err != nil {
			return p, err
		}
	}
	if err := p.chooseBase(ctx, trail); err != nil {
		return p, err
	}
	p.Transactions = uint64(p.Tx.TXID - p.Start())
	return p, p.estimate(trail)
}

// findTx sets Tx to what the target means, and Next where that comes with it.
func (p *Plan) findTx(ctx context.Context, trail *journal.Trail) error {
	id := p.Target.txid
	switch p.Target.kind {
	case targetLatest:
		tx, err := trail.Last()
		p.Tx = tx
		return err
	case targetTime:
		tx, next, err := trail.FindTime(ctx, p.Target.time)
		if err != nil && !errors.Is(err, journal.ErrRange) {
			return err
		}
		if base, ok := baseBetween(trail, tx.TXID, next, p.Target.time); ok {
			p.Tx, p.Next = base, next
			return nil
		}
		if err != nil || tx.TXID == 0 {
			// Before the first transaction there may have been a database that
			// the trail does not know: only what it recorded is restored.
			return outOfRange(ctx, trail, p, 0, err)
		}
		p.Tx, p.Next = tx, next
		return nil
	case targetPoint:
		point, err := trail.FindPoint(p.Target.name)
		if err != nil {
			return noPoint(trail, p.Target.name, err)
		}
		id = point.TXID
	}
	if id == 0 {
		return nil // the window says whether the empty database is in it
	}
	tx, err := trail.Find(ctx, id)
	switch {
	case errors.Is(err, journal.ErrRange), errors.Is(err, journal.ErrGap):
		// The transaction itself may be gone and its state still be there.
		if tx, ok := baseTx(trail, id); ok {
			p.Tx = tx
			return nil
		}
		return outOfRange(ctx, trail, p, id, err)
	case err != nil:
		return err
	}
	p.Tx = tx
	return nil
}

// baseTx describes the transaction whose state a base holds.
func baseTx(trail *journal.Trail, id journal.TXID) (journal.Tx, bool) {
	bases, err := trail.Bases()
	if err != nil {
		return journal.Tx{}, false // choosing a base will say why
	}
	for _, b := range bases {
		if b.TXID == id {
			return txOfBase(&b), true
		}
	}
	return journal.Tx{}, false
}

// baseBetween describes the last transaction at or before a time of which there is a base and nothing else, as where the
// history begins with it or goes on after a gap: the transactions beside it, before and next, are not the last.
func baseBetween(trail *journal.Trail, before journal.TXID, next *journal.Tx, at journal.Time) (found journal.Tx, ok bool) {
	bases, err := trail.Bases()
	last, lerr := trail.Last()
	if err != nil || lerr != nil {
		return found, false
	}
	for _, b := range bases {
		if b.Time <= at && b.TXID > before && b.TXID <= last.TXID && (next == nil || b.TXID < next.TXID) {
			found, ok = txOfBase(&b), true
		}
	}
	return found, ok
}

func txOfBase(b *journal.BaseInfo) journal.Tx {
	return journal.Tx{
		TXID: b.TXID, Time: b.Time, Kind: journal.Base, PageSize: b.PageSize, PageCount: b.PageCount,
		Sum: b.Sum, SumKnown: true, SumCut: b.Sum.Cut(),
	}
}

// find is trail.Find that returns nil for a transaction that is not there, or
// is lost in a damaged file: what it is asked for can be done without.
func find(ctx context.Context, trail *journal.Trail, id journal.TXID) (*journal.Tx, error) {
	tx, err := trail.Find(ctx, id)
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &tx, nil
}

// gone says that a transaction is not held, or lost in a damaged file.
func gone(err error) bool {
	for _, e := range []error{journal.ErrRange, journal.ErrGap, journal.ErrCorrupt, journal.ErrTorn, journal.ErrDiverged, journal.ErrForeign} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// after is the transaction after one, or the one that it was folded into.
func after(ctx context.Context, trail *journal.Trail, id journal.TXID) (*journal.Tx, error) {
	tx, err := trail.Find(ctx, id+1)
	if folded, ok := errors.AsType[*journal.FoldedError](err); ok {
		return find(ctx, trail, folded.After)
	}
	if gone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &tx, nil
}

// noPoint names the points that there are.
func noPoint(trail *journal.Trail, name string, err error) error {
	points, e := trail.Points()
	if e != nil || len(points) == 0 {
		return fmt.Errorf("restore point %q: %w", name, err)
	}
	var names []string
	for _, p := range points[max(0, len(points)-5):] {
		names = append(names, fmt.Sprintf("%q", p.Name))
	}
	return fmt.Errorf("restore point %q: %w; the latest are %s", name, err, strings.Join(names, ", "))
}

func spanOf(spans []journal.Span, id journal.TXID) (journal.Span, bool) {
	for _, s := range spans {
		if s.First <= id && id <= s.Last {
			return s, true
		}
	}
	return journal.Span{}, false
}

// outOfRange names the nearest that can be restored, before and after id (or
// before and after the target's time).
func outOfRange(ctx context.Context, trail *journal.Trail, p *Plan, id journal.TXID, cause error) error {
	e := &RangeError{Target: p.Target, Window: p.Window, Err: cause}
	if folded, ok := errors.AsType[*journal.FoldedError](cause); ok {
		e.Before, e.After = nearest(ctx, trail, folded.Before, 0), nearest(ctx, trail, folded.After, 0)
		return e
	}
	byTime := p.Target.kind == targetTime
	for _, s := range p.Window.Spans {
		if byTime && s.LastTime <= p.Target.time || !byTime && s.Last < id {
			e.Before = nearest(ctx, trail, s.Last, s.LastTime)
			continue
		}
		first, at := s.First, s.FirstTime
		if byTime && first == 0 && s.Last > 0 {
			first = 1 // the empty database has no time
		}
		e.After = nearest(ctx, trail, first, at)
		break
	}
	if !errors.Is(cause, journal.ErrRange) {
		e.Err = journal.ErrRange
		if n := len(p.Window.Spans); n > 0 {
			e.Err = &journal.RangeError{Want: id, First: p.Window.Spans[0].First, Last: p.Window.Spans[n-1].Last}
		}
	}
	return e
}

// nearest describes a transaction as well as the trail can.
func nearest(ctx context.Context, trail *journal.Trail, id journal.TXID, at journal.Time) *journal.Tx {
	if tx, err := trail.Find(ctx, id); err == nil {
		return &tx
	}
	return &journal.Tx{TXID: id, Time: at}
}

// replayCost is how many bytes of a base cost as much as one byte of patches:
// those are unpacked and applied one after the other, and bases by all cores.
const replayCost = 3

// worthwhile is by how much an older base must be cheaper: it also takes more
// transactions, each of which has a price of its own.
const worthwhile = 4 << 20

// chooseBase takes the base from which the target is reached most cheaply, by
// the bytes that are read: as a rule the nearest at or before it, but an older
// and smaller one if little happened since. A base that a crash left behind,
// for a transaction that came out differently, is passed over, and so is one
// whose transaction was folded into a later one.
func (p *Plan) chooseBase(ctx context.Context, trail *journal.Trail) error {
	bases, err := trail.Bases()
	if err != nil {
		return err
	}
	span, _ := spanOf(p.Window.Spans, p.Tx.TXID)
	segments, err := trail.Segments()
	if err != nil {
		return err
	}
	least := int64(math.MaxInt64)
	for _, b := range slices.Backward(bases) {
		if b.TXID > p.Tx.TXID || b.TXID == 0 || b.TXID < span.First {
			continue
		}
		cost := b.Size + p.replayed(segments, b.TXID)*replayCost
		if cost >= least-worthwhile {
			continue
		}
		usable, err := p.usable(ctx, trail, &b)
		if err != nil {
			return err
		}
		if usable {
			p.Base, least = &b, cost
		}
	}
	if span.First == 0 && p.replayed(segments, 0)*replayCost < least-worthwhile {
		p.Base = nil
	}
	if b := p.Base; b != nil && b.TXID == p.Tx.TXID && !p.Tx.SumKnown {
		p.Tx.Sum, p.Tx.SumKnown = b.Sum, true
	}
	return nil
}

// usable says that patches go on from a base.
func (p *Plan) usable(ctx context.Context, trail *journal.Trail, b *journal.BaseInfo) (bool, error) {
	tx, err := trail.Find(ctx, b.TXID)
	_, folded := errors.AsType[*journal.FoldedError](err)
	switch {
	case folded:
		return b.TXID == p.Tx.TXID, nil
	case gone(err):
		return true, nil
	case err != nil:
		return false, err
	}
	return CompareSum(&tx, b.Sum) == nil, nil
}

// replayed is how many bytes of segments lead from a transaction to the target.
func (p *Plan) replayed(segments []journal.SegmentInfo, from journal.TXID) (n int64) {
	for _, s := range segments {
		if first, last := max(s.First, from+1), min(s.Last, p.Tx.TXID); first <= last {
			n += int64(float64(last-first+1) / float64(s.Last-s.First+1) * float64(s.Size))
		}
	}
	return n
}

// estimate adds up what will be read. Of a segment that is read in part, its
// share by number of transactions.
func (p *Plan) estimate(trail *journal.Trail) error {
	if p.Base != nil {
		p.Bytes = p.Base.Size
		p.Reads = append(p.Reads, Read{p.Base.Name, p.Base.Size, p.Base.Size})
	}
	if p.Transactions == 0 {
		return nil
	}
	segments, err := trail.Segments()
	if err != nil {
		return err
	}
	for _, s := range segments {
		first, last := max(s.First, p.Start()+1), min(s.Last, p.Tx.TXID)
		if first > last {
			continue
		}
		share := float64(last-first+1) / float64(s.Last-s.First+1)
		p.Bytes += int64(share * float64(s.Size))
		p.Reads = append(p.Reads, Read{s.Name, s.Size, int64(share * float64(s.Size))})
		p.PatchBytes += int64(share * float64(s.RawBytes))
	}
	return nil
}
