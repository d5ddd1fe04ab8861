package compact

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
)

// State is a database that records are applied to; an *apply.State is one. It must check each against its state sum.
type State interface {
	Apply(ctx context.Context, r *journal.Record) error
	ReadPage(no uint32, b []byte) error
	Tx() journal.Tx // the last applied, its sum known
}

// Folding says how to fold.
type Folding struct {
	// State at the position where the first source begins. It ends where the last one does.
	State State
	// Images that the State tells of changes.
	Images *Images
	// Keep says that the state after tx is to be had, next being the transaction after it. Some are kept anyway, see
	// the package comment.
	Keep func(tx, next *journal.Tx) bool
}

func diverged(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, journal.ErrDiverged)...)
}

// Fold writes the sources, which follow each other, into one segment in f, which is empty, leaving out the states that
// are not to be kept. It is for a history that has reached that timeline. f is neither synced nor closed.
func Fold(ctx context.Context, f durable.File, sources []*journal.SegmentReader, timeline journal.Timeline, o *Folding) (journal.Batch, error) {
	if len(sources) == 0 {
		return journal.Batch{}, errors.New("compact: nothing to fold")
	}
	at, before := o.State.Tx(), sources[0].Before()
	if at.TXID != before.TXID || at.Sum != before.Sum {
		return journal.Batch{}, diverged("the pages are those of transaction %d (%v), the first source continues %d (%v)",
			at.TXID, at.Sum, before.TXID, before.Sum)
	}
	m := folder{merger: merger{w: journal.NewSegmentWriter(f, sources[0], timeline)}, Folding: o}
	err := m.each(ctx, sources, func(r *journal.Record) error { return m.record(ctx, r) })
	if err == nil {
		err = m.flush()
	}
	if err != nil {
		return journal.Batch{}, err
	}
	return m.close(sources)
}

// folder is the state of Fold.
type folder struct {
	merger
	*Folding
	group group
	enc   diff.Encoder
	dec   diff.Decoder
}

// keptBytes of patches are kept of a group, to see whether they are smaller than what folding makes of them. Of more,
// folding makes less.
const keptBytes = 8 << 20

// group is the records that are being folded into one.
type group struct {
	start journal.Tx // the state before it
	last  journal.Tx // its last record
	count int
	kept  []keptRecord // nil when they are too many
	bytes int64        // of their patches
}

// keptRecord is a record as it was.
type keptRecord struct {
	tx     journal.Tx
	bodies []diff.Body
}

// alone says that a record ends what can be folded, before it and after it.
func alone(tx *journal.Tx, before *journal.Tx) bool {
	return tx.Kind == journal.Base || tx.PageSize != before.PageSize
}

// record applies the next record, and ends the group before it where a state is to be kept.
func (m *folder) record(ctx context.Context, r *journal.Record) error {
	g := &m.group
	at := m.State.Tx()
	single := alone(&r.Tx, &at) || r.Bytes > keptBytes
	if g.count > 0 && (single || m.Keep(&g.last, &r.Tx)) {
		if err := m.flush(); err != nil {
			return err
		}
	}
	if single {
		return m.single(ctx, r)
	}
	if g.count == 0 {
		*g = group{start: at, kept: g.kept[:0]}
		m.Images.reset(r.PageSize)
	}
	if err := m.keep(r); err != nil {
		return err
	}
	if err := m.shorter(r); err != nil {
		return err
	}
	if err := m.State.Apply(ctx, r); err != nil {
		return err
	}
	g.last = m.State.Tx()
	if n := len(g.kept); n > 0 {
		g.kept[n-1].tx = g.last
	}
	g.count++
	return m.Images.err
}

// single copies a record that is not folded: a base, another page size, or one so large that folding it gains little.
func (m *folder) single(ctx context.Context, r *journal.Record) error {
	if err := m.w.Copy(r); err != nil {
		return err
	}
	m.Images.reset(r.PageSize)
	if err := m.State.Apply(ctx, r); err != nil {
		return err
	}
	if r.SumKnown {
		return m.named()
	}
	return nil
}

// keep remembers a record as it is, while they are few.
func (m *folder) keep(r *journal.Record) error {
	g := &m.group
	if g.bytes += r.Bytes; g.bytes > keptBytes {
		g.kept = nil
		return nil
	}
	var bodies []diff.Body
	for b, err := range r.Groups() {
		if err != nil {
			return err
		}
		bodies = append(bodies, diff.Body{Pages: slices.Clone(b.Pages), Tokens: slices.Clone(b.Tokens), Literals: slices.Clone(b.Literals)})
	}
	g.kept = append(g.kept, keptRecord{bodies: bodies})
	return nil
}

// shorter keeps the images of pages that the database loses, which a State does not tell.
func (m *folder) shorter(r *journal.Record) error {
	now, size := m.State.Tx().PageCount, r.PageSize
	lock := diff.LockPage(size)
	page := make([]byte, size)
	for no := now; no > r.PageCount; no-- {
		if no == lock || m.Images.has(no) {
			continue
		}
		if no > m.group.start.PageCount {
			m.Images.keep(no, nil)
			continue
		}
		if err := m.State.ReadPage(no, page); err != nil {
			return err
		}
		m.Images.keep(no, page)
	}
	return nil
}

// flush writes the group as one record, or as the records that it is made of.
func (m *folder) flush() error {
	g := &m.group
	if g.count == 0 {
		return nil
	}
	bodies, err := m.encode()
	if err != nil {
		return err
	}
	tx := g.last
	tx.Folded = uint64(g.last.TXID-g.start.TXID) - 1
	if len(g.kept) == g.count && (g.count == 1 || weigh(g.kept, 12*g.count) <= weigh([]keptRecord{{bodies: bodies}}, 30)) {
		for _, r := range g.kept {
			if err := m.write(r.tx, r.bodies); err != nil {
				return err
			}
		}
	} else if err := m.write(tx, bodies); err != nil {
		return err
	}
	g.count = 0
	return m.named()
}

// weigh is about how many bytes records will take, their headers being given.
func weigh(records []keptRecord, headers int) int {
	var all diff.Body
	for _, r := range records {
		for _, b := range r.bodies {
			all.Pages = append(all.Pages, b.Pages...)
			all.Tokens = append(all.Tokens, b.Tokens...)
			all.Literals = append(all.Literals, b.Literals...)
		}
	}
	return headers + journal.CompressedSize(all.Pages, all.Tokens, all.Literals)
}

func (m *folder) write(tx journal.Tx, bodies []diff.Body) error {
	for len(bodies) > 1 {
		if err := m.w.Part(bodies[0], tx.PageSize); err != nil {
			return err
		}
		bodies = bodies[1:]
	}
	if len(bodies) == 0 {
		return m.w.Add(tx, diff.Body{}, 0)
	}
	pages, _ := binary.Uvarint(bodies[0].Pages)
	return m.w.Add(tx, bodies[0], int(pages))
}
