package journal

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pagetrail/pagetrail/internal/durable"
)

// last is the state after the last transaction that is kept.
func (r *repair) last() (st state) {
	if n := len(r.whole); n > 0 {
		st = r.whole[n-1].after
	}
	return st
}

// checkBases reads every base, and compares it with the transaction whose state it is, where that can be read.
func (r *repair) checkBases(ctx context.Context) error {
	last := r.last().txid
	for _, id := range r.list.bases {
		info, err := r.base(ctx, id)
		if err == nil && id > last && !(len(r.whole) == 0 && id == r.list.bases[len(r.list.bases)-1]) {
			err = located(because(ErrDiverged, "a base that no transaction is there for"), filepath.Join(r.dir, baseName(id)), -1, id)
		}
		switch {
		case errors.Is(err, ErrVersion), errors.Is(err, ErrFlag), err != nil && !isContent(err):
			return err
		case err != nil:
			r.move(baseName(id), baseName(id), err)
		default:
			r.bases = append(r.bases, info)
		}
	}
	return nil
}

// base reads one.
func (r *repair) base(ctx context.Context, id TXID) (info BaseInfo, err error) {
	b, err := openBase(r.fs, r.dir, id, &r.id)
	if err != nil {
		return info, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	if err := b.Verify(ctx); err != nil {
		return info, err
	}
	return b.info, r.matchBase(ctx, &b.info)
}

// matchBase compares a base with the record of its transaction, and with what comes after it.
func (r *repair) matchBase(ctx context.Context, info *BaseInfo) error {
	stale := staleBase(filepath.Join(r.dir, info.Name), info.TXID)
	for _, s := range r.whole {
		if s.meta.info.First == info.TXID+1 && s.meta.before.sum != info.Sum {
			return stale
		}
		if s.file != segmentName(s.meta.info.First) || info.TXID < s.meta.info.First || info.TXID > s.meta.info.Last {
			continue
		}
		tx, err := r.record(ctx, s, info.TXID)
		if err != nil || tx == nil {
			return err
		}
		if tx.SumCut != info.Sum.Cut() || tx.SumKnown && tx.Sum != info.Sum || tx.PageCount != info.PageCount || tx.PageSize != info.PageSize {
			return stale
		}
	}
	return nil
}

// record reads one transaction; nil when its block is damaged.
func (r *repair) record(ctx context.Context, s *stretchOfSegment, id TXID) (tx *Tx, err error) {
	o, err := openHeader(r.fs, r.dir, s.file, readOnly, segmentMagic, &r.id, s.meta.info.First)
	if isContent(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, o.f.Close()) }()
	for rec, err := range recordsFrom(ctx, o, id) {
		if isContent(err) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if rec.TXID != id { // folded into a later one
			return nil, nil
		}
		found := rec.Tx
		return &found, nil
	}
	return nil, nil
}

// begin plans a segment to write to where none is left: after the last base, else an empty one.
func (r *repair) begin() {
	if len(r.whole) > 0 {
		return
	}
	var st state
	if n := len(r.bases); n > 0 {
		b := r.bases[n-1]
		st = state{txid: b.TXID, time: b.Time, sum: b.Sum, pageSize: uint32(b.PageSize), pageCount: b.PageCount}
	}
	r.p.Last = st.txid
	r.step(segmentName(st.txid+1), "begin it, to write to", because(ErrGap, "no segment is left"), func() error {
		return writeTail(&r.o, r.dir, &r.id, st)
	})
}

// errLeftover is why a file that a crash left half made is moved.
var errLeftover = errors.New("a crash left it half made")

// leftovers moves what means nothing after a crash. A segment that is being sealed is none: the next Seal goes on with it,
// or begins it anew.
func (r *repair) leftovers() {
	for _, name := range r.list.other {
		for _, suffix := range []string{durable.TempSuffix, basingSuffix} {
			if strings.HasSuffix(name, suffix) && !strings.HasSuffix(name, salvagedSuffix+durable.TempSuffix) {
				r.move(name, name, errLeftover)
				break
			}
		}
	}
}

// unneeded puts in place what an earlier repair made, and moves what is not used of it.
func (r *repair) unneeded() {
	for _, s := range r.whole {
		if strings.HasSuffix(s.file, salvagedSuffix) {
			r.install(s.hdr.first)
		}
	}
	for _, name := range r.list.other {
		if made := strings.TrimSuffix(name, durable.TempSuffix); strings.HasSuffix(made, salvagedSuffix) && !r.installed[name] {
			r.move(name, name, errLeftover)
		}
	}
}

// after says what can be restored when the steps are done.
func (r *repair) after() {
	b := windowBuilder{bases: r.bases}
	r.p.First = 1
	for i, s := range r.whole {
		if b.segment(&s.meta); i == 0 {
			r.p.First = s.meta.info.First
		}
	}
	r.p.After = b.done()
	if st := r.last(); st.txid > 0 {
		r.p.Last = st.txid
	}
	r.p.Bridge = r.p.Last > 0 && !r.p.After.covers(r.p.Last)
	r.p.After.Spans = slices.DeleteFunc(r.p.After.Spans, func(s Span) bool { return s.Last == 0 })
}
