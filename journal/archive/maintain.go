package archive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/compact"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Pages makes databases out of trails, for folding and for bases. Package apply/upkeep has one.
type Pages interface {
	// Open makes the state of a transaction. changed is told of every page that is changed afterwards.
	Open(ctx context.Context, t *journal.Trail, at journal.TXID, changed func(tx *journal.Tx, no uint32, old, now []byte)) (Database, error)
}

// Database is a state that moves forward.
type Database interface {
	compact.State
	Close() error
}

// MaintainOptions for Maintain. The zero value merges what is small, and deletes what is no part of the history.
type MaintainOptions struct {
	// Archive is its name in messages; default "archive".
	Archive string
	// By says who maintains, for people.
	By string
	// Retention: what is kept for how long.
	Retention Retention
	// Grace is how long what a plan made superfluous stays for those who are reading it; default 1 h, less than
	// nothing: not at all. Less than ten minutes is for archives that nobody ships to: a writer that was held up for so
	// long, and lost the archive meanwhile, could take a name that became free for its own.
	Grace time.Duration
	// DryRun makes the plan, and neither writes it down nor carries it out.
	DryRun bool
	// Pages is needed where something is to be folded, or a base to be made.
	Pages Pages
	// FS and TempDir are for one object at a time, and for what folding keeps aside; default durable.OS, os.TempDir().
	FS      durable.FS
	TempDir string
	// Now is the time; default the clock's.
	Now time.Time
	// Step, if set, is told of each step before it is done.
	Step func(s Step)
}

func (o *MaintainOptions) filled() MaintainOptions {
	f := *o
	if f.Archive == "" {
		f.Archive = "archive"
	}
	if f.Grace == 0 {
		f.Grace = time.Hour
	}
	if f.FS == nil {
		f.FS = durable.OS
	}
	if f.TempDir == "" {
		f.TempDir = os.TempDir()
	}
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	return f
}

// Maintained says what Maintain did.
type Maintained struct {
	// Resumed says that the first plan had been begun before.
	Resumed bool
	// Plans that were carried out or, with DryRun, would be: one, or two where nothing waits for its grace.
	Plans []Plan
	// Written objects and bytes, and those deleted.
	Written, Deleted           int
	WrittenBytes, DeletedBytes int64
}

// ErrMoved says that the archive changed under a plan: another process carried it out, or the history went on to
// another timeline. It can be planned anew.
var ErrMoved = errors.New("the archive changed meanwhile")

// Maintain keeps an archive small: it merges, folds and deletes what Retention says, beside the archive's writer and
// its readers. A plan is made and written into the head before its first step; when it is cut short, the next Maintain
// goes on with it, from whatever process. Everything that replaces something is read back before it does.
//
// Nothing is deleted that is needed to restore what is kept: settings under which that would be nothing are
// ErrRetention, and an archive with a gap is left alone.
func Maintain(ctx context.Context, s objstore.Store, o *MaintainOptions) (Maintained, error) {
	m := maintainer{store: s, opt: o.filled()}
	defer func() { m.closePages() }()
	if err := m.opt.Retention.Check(); err != nil {
		return m.done, err
	}
	for range 3 {
		more, err := m.round(ctx)
		if err != nil || !more {
			return m.done, err
		}
	}
	return m.done, nil
}

// maintainer is the state of Maintain.
type maintainer struct {
	store objstore.Store
	opt   MaintainOptions
	head  Head
	tag   objstore.Tag
	done  Maintained

	pages  Database // from the step before, when the next may go on from there
	from   *Reader  // that pages were made from, and may read bases of
	images compact.Images
}

// round makes one plan and carries it out, or goes on with the one that is there. more: another may be needed.
func (m *maintainer) round(ctx context.Context) (more bool, err error) {
	if err := m.look(ctx); err != nil {
		return false, err
	}
	if m.head.Plan == nil {
		plan, err := m.planned(ctx)
		if err != nil || len(plan.Steps) == 0 && len(plan.Strays) == 0 {
			return false, err
		}
		m.done.Plans = append(m.done.Plans, *plan)
		if m.opt.DryRun {
			return false, nil
		}
		h := m.head
		h.Plan = plan
		if err := m.swap(ctx, h); err != nil {
			return errors.Is(err, objstore.ErrConflict), ignore(err, objstore.ErrConflict)
		}
	} else {
		m.done.Resumed = len(m.done.Plans) == 0
		m.done.Plans = append(m.done.Plans, *m.head.Plan)
		if m.opt.DryRun {
			return false, nil
		}
	}
	id := m.head.Plan.ID
	replaced, err := m.carryOut(ctx, id)
	if err != nil {
		return false, err
	}
	return m.opt.Grace < 0 && replaced || m.done.Resumed && len(m.done.Plans) == 1, nil
}

func ignore(err, is error) error {
	if errors.Is(err, is) {
		return nil
	}
	return err
}

// look loads the head.
func (m *maintainer) look(ctx context.Context) (err error) {
	m.head, m.tag, err = load(ctx, m.store, m.opt.Archive)
	return err
}

// swap replaces the head by one with the next epoch.
func (m *maintainer) swap(ctx context.Context, h Head) error {
	h.Epoch++
	data, err := h.Encode()
	if err != nil {
		return err
	}
	tag, err := m.store.Head(headKey).Swap(ctx, m.tag, data)
	if err == nil {
		m.head, m.tag = h, tag
	}
	return err
}

// planned makes a plan.
func (m *maintainer) planned(ctx context.Context) (*Plan, error) {
	v, err := surveyed(ctx, m.store, m.head, m.opt.Archive)
	if err != nil {
		return nil, err
	}
	p := planner{survey: v, retention: m.opt.Retention, now: journal.TimeOf(m.opt.Now), grace: m.opt.Grace}
	var id [8]byte
	_, _ = rand.Read(id[:]) // documented never to fail
	p.plan = Plan{ID: hex.EncodeToString(id[:]), By: m.opt.By, Made: p.now}
	p.make()
	for _, s := range p.plan.Steps {
		if m.opt.Pages == nil && (s.Op == OpFold || s.Op == OpBase) {
			return nil, errNoPages
		}
	}
	if len(p.plan.Steps) == 0 && sameStrings(p.plan.Strays, m.head.Strays) {
		p.plan.Strays = nil // nothing to note
	}
	return &p.plan, nil
}

func sameStrings(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// carryOut does the steps that are left of the plan in the head, and ends it. replaced: something became superfluous.
func (m *maintainer) carryOut(ctx context.Context, id string) (replaced bool, err error) {
	for m.head.Plan.Done < len(m.head.Plan.Steps) {
		i := m.head.Plan.Done
		s := m.head.Plan.Steps[i]
		if m.opt.Step != nil {
			m.opt.Step(s)
		}
		effect, err := m.step(ctx, &s)
		if err != nil {
			if err = m.overtaken(ctx, id, i, err); err == nil {
				continue
			}
			return replaced, fmt.Errorf("%v: %w", s, err)
		}
		replaced = replaced || s.Op != OpDelete && s.Op != OpBase
		err = m.update(ctx, id, func(h *Head) bool {
			if h.Plan.Done > i { // another process was faster, or it was this one and was not told
				return false
			}
			if effect != nil {
				effect(h)
			}
			h.Plan = &Plan{ID: id, By: h.Plan.By, Made: h.Plan.Made, Steps: h.Plan.Steps, Strays: h.Plan.Strays, Done: i + 1}
			return true
		})
		if err != nil {
			return replaced, err
		}
	}
	return replaced, ignore(m.update(ctx, id, func(h *Head) bool {
		h.Strays, h.Plan, h.Tidied = h.Plan.Strays, nil, journal.TimeOf(m.opt.Now)
		return true
	}), ErrMoved)
}

// overtaken says why a step failed: nil when another process had done it meanwhile, and so taken away what it read.
func (m *maintainer) overtaken(ctx context.Context, id string, i int, failed error) error {
	if m.closePages(); m.look(ctx) != nil {
		return failed
	}
	switch {
	case m.head.Plan == nil || m.head.Plan.ID != id:
		return fmt.Errorf("%w: %w", ErrMoved, failed)
	case m.head.Plan.Done > i:
		return nil
	}
	return failed
}

// update changes the head while the plan is in it.
func (m *maintainer) update(ctx context.Context, id string, change func(h *Head) bool) error {
	for {
		if m.head.Plan == nil || m.head.Plan.ID != id {
			return ErrMoved
		}
		h := m.head
		if !change(&h) {
			return nil
		}
		err := m.swap(ctx, h)
		if !errors.Is(err, objstore.ErrConflict) {
			return err
		}
		if err := m.look(ctx); err != nil {
			return err
		}
	}
}

func (m *maintainer) closePages() {
	if m.pages != nil {
		_ = m.pages.Close() // a scratch file
		m.pages = nil
	}
	if m.from != nil {
		_ = m.from.Close() // read only
		m.from = nil
	}
}

// SetHold puts a hold on everything up to a transaction, or with nil lifts the one that there is. A plan under way ends
// after the step that is being done.
func SetHold(ctx context.Context, s objstore.Store, name string, hold *Hold) error {
	m := maintainer{store: s, opt: MaintainOptions{Archive: name}}
	for {
		if err := m.look(ctx); err != nil {
			return err
		}
		h := m.head
		h.Hold, h.Plan = hold, nil
		if err := m.swap(ctx, h); !errors.Is(err, objstore.ErrConflict) {
			return err
		}
	}
}
