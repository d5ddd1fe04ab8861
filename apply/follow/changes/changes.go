// Package changes tells which tables each transaction of a source changed.
//
//	for c, err := range changes.Feed(ctx, follow.TrailSource(trail, ""), nil) {
//		…
//		fmt.Println(c.Position.TXID, c.Tables)
//	}
//
// It is a feed for caches to be thrown away and queries to be run again, and not one of rows: a trail has pages, and
// to know whose they are takes the database. So the feed begins with the state before its first transaction in a
// scratch file, walks all of it once, and then keeps the map of pages to tables up to date with each transaction; a
// change of the schema walks it again.
//
// [Served] hands a feed to a server, which tells it as server-sent events.
//
// # What is promised
//
// A table whose rows or indexes a transaction changed is named. One that it did not may be named as well, rarely: when
// SQLite rewrote a page of it without need. Pages of the free list and of pointer maps are nobody's; a change of the
// schema names sqlite_schema. Where a transaction is not made of patches (see [journal.Base]), and after transactions
// that could not be had, [Change.All] is set instead.
package changes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/apply/follow"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/internal/pause"
	"github.com/pagetrail/pagetrail/internal/sqlitefile"
	"github.com/pagetrail/pagetrail/journal"
)

// Change is what one transaction changed. As JSON it is what pagetrail watch --json prints, and a server sends.
type Change struct {
	Position journal.Position `json:"position"`
	Time     time.Time        `json:"time"`
	Tables   []string         `json:"tables"`        // sorted
	All      bool             `json:"any,omitempty"` // any table may have changed
	Note     string           `json:"note,omitempty"`
	// Folded is how many transactions before this one are told with it, since the source has them as one.
	Folded uint64 `json:"folded,omitempty"`
}

// Options for Feed; nil and the zero value mean the defaults.
type Options struct {
	// After is the transaction after which the feed begins. Default: the last there is. Where the state after it cannot
	// be had any more, the feed begins with the transaction that it was folded into, or else with a Change that has All
	// set, for all up to the last there is.
	After journal.TXID
	// FromStart begins with the first transaction that the source has the state before of, whatever After says.
	FromStart bool
	// Once ends the feed with what there is. Default: it goes on until the context ends.
	Once bool
	// PollMin and PollMax are how often a source is asked that does not tell by itself; default 1 ms and 50 ms.
	PollMin, PollMax time.Duration
	// TempDir is where the state is that a feed begins with the empty database; default os.TempDir(). Others are where
	// the source makes them.
	TempDir string
	// Retry says of an error whether the source may have got over it in a while; default follow.ErrUnreachable. A
	// follow.ErrNotReady always is.
	Retry func(error) bool
}

// retryPause is how long an unreachable source is left alone.
const retryPause = time.Second

// Feed yields the transactions of a source, in order and each once. After an error nothing more comes; the end of the
// context is none.
func Feed(ctx context.Context, src follow.Source, o *Options) iter.Seq2[Change, error] {
	f := &feed{src: src}
	if o != nil {
		f.o = *o
	}
	if f.o.PollMin <= 0 {
		f.o.PollMin = time.Millisecond
	}
	if f.o.PollMax <= 0 {
		f.o.PollMax = 50 * time.Millisecond
	}
	if f.o.Retry == nil {
		f.o.Retry = func(err error) bool { return errors.Is(err, follow.ErrUnreachable) }
	}
	return func(yield func(Change, error) bool) {
		defer f.close()
		err := f.run(ctx, func(c Change) bool { return yield(c, nil) })
		if err != nil && err != errStop && ctx.Err() == nil {
			yield(Change{}, err)
		}
	}
}

var errStop = errors.New("stop")

type feed struct {
	src   follow.Source
	o     Options
	state *apply.State
	m     owners
	dec   diff.Decoder
	begun bool
	lost  bool // transactions that are to be told are not there any more
}

func (f *feed) close() {
	if f.state != nil {
		_ = f.state.Close() // a scratch file
	}
}

func (f *feed) run(ctx context.Context, yield func(Change) bool) error {
	rest := f.o.PollMin
	for {
		n, err := f.look(ctx, yield)
		switch {
		case err != nil && !f.o.Once && (f.o.Retry(err) || errors.Is(err, follow.ErrNotReady)):
			rest = retryPause
		case err != nil, f.o.Once:
			return err
		case n > 0:
			rest = f.o.PollMin
		default:
			rest = min(rest*2, f.o.PollMax)
		}
		if w, ok := f.src.(follow.Waiter); ok && err == nil {
			err = w.Await(ctx, f.o.PollMax)
			if err == io.EOF {
				return nil
			}
		} else {
			err = pause.For(ctx, rest)
		}
		if err != nil {
			return err
		}
	}
}

// look tells what is new.
func (f *feed) look(ctx context.Context, yield func(Change) bool) (n int, err error) {
	last, err := f.src.Refresh(ctx)
	if err != nil {
		return 0, err
	}
	if !f.begun {
		if err := f.begin(ctx, last.TXID); err != nil {
			return 0, err
		}
		f.begun = true
	}
	if f.lost {
		f.lost = false
		tx := f.state.Tx()
		if !yield(f.change(&tx, nil, true)) {
			return n, errStop
		}
	}
	for f.state.TXID() < last.TXID {
		before := f.state.TXID()
		if err := f.follow(ctx, last.TXID, yield); err != nil {
			return n, err
		}
		n += int(f.state.TXID() - before)
		if f.state.TXID() == before {
			break
		}
	}
	return n, nil
}

func (f *feed) begin(ctx context.Context, last journal.TXID) error {
	after := f.o.After
	if after == 0 && !f.o.FromStart {
		after = last
	}
	var err error
	if after == 0 {
		f.state, err = apply.OpenState(&apply.StateOptions{Dir: f.o.TempDir})
		var r *journal.RangeError
		for _, e := range f.src.Records(ctx, 1) {
			if errors.As(e, &r) && r.First > 1 {
				err = errors.Join(err, f.replace(ctx, r.First))
			}
			break
		}
	} else {
		err = f.beginAfter(ctx, after, last)
	}
	if err != nil {
		return err
	}
	return f.m.walk(ctx, f.state)
}

// beginAfter takes the state after a transaction, or the one before it that is nearest to it.
func (f *feed) beginAfter(ctx context.Context, after, last journal.TXID) (err error) {
	f.state, err = f.src.State(ctx, after)
	if behind, ok := errors.AsType[*follow.BehindError](err); ok && after > last { // it was asked for, and not had before
		return &journal.RangeError{Want: after, First: 1, Last: behind.Source}
	}
	folded, ok := errors.AsType[*journal.FoldedError](err)
	switch {
	case ok && folded.Before == 0:
		f.state, err = apply.OpenState(&apply.StateOptions{Dir: f.o.TempDir})
	case ok:
		f.state, err = f.src.State(ctx, folded.Before)
	case errors.Is(err, journal.ErrRange) && after < last:
		f.state, err = f.src.State(ctx, last)
		f.lost = true
	}
	return err
}

// replace takes the state of a transaction for what went before.
func (f *feed) replace(ctx context.Context, id journal.TXID) error {
	state, err := f.src.State(ctx, id)
	if err != nil {
		return err
	}
	f.close()
	f.state = state
	return f.m.walk(ctx, state)
}

// follow tells records until one needs something else, which it does.
func (f *feed) follow(ctx context.Context, to journal.TXID, yield func(Change) bool) error {
	for rec, err := range f.src.Records(ctx, f.state.TXID()+1) {
		var r *journal.RangeError
		if errors.As(err, &r) && r.First > f.state.TXID()+1 { // no longer there
			return f.jump(ctx, to, journal.Tx{}, yield)
		}
		if err != nil {
			return err
		}
		if rec.Kind == journal.Base || rec.First() <= f.state.TXID() { // that, or folded across where the feed is
			return f.jump(ctx, rec.TXID, rec.Tx, yield)
		}
		tables, err := f.apply(ctx, rec)
		if err != nil {
			return err
		}
		if !yield(f.change(&rec.Tx, tables, false)) {
			return errStop
		}
	}
	return nil
}

func (f *feed) jump(ctx context.Context, id journal.TXID, tx journal.Tx, yield func(Change) bool) error {
	if err := f.replace(ctx, id); err != nil {
		return err
	}
	if tx.TXID == 0 {
		tx = f.state.Tx()
	}
	if !yield(f.change(&tx, nil, true)) {
		return errStop
	}
	return nil
}

func (f *feed) change(tx *journal.Tx, tables []string, all bool) Change {
	id := f.src.Identity()
	return Change{
		Position: journal.Position{Database: id.Database, Timeline: id.Timeline, TXID: tx.TXID, Sum: f.state.Sum()},
		Time:     tx.Time.Time(), Note: tx.Note, Tables: tables, All: all, Folded: tx.Folded,
	}
}

// apply applies a record, and says which tables it changed.
func (f *feed) apply(ctx context.Context, rec *journal.Record) ([]string, error) {
	var pages []uint32
	for body, err := range rec.Groups() {
		if err == nil {
			err = f.dec.Load(body, rec.PageSize)
		}
		if err != nil {
			return nil, err
		}
		for _, ref := range f.dec.Pages() {
			pages = append(pages, ref.No)
		}
	}
	before := f.m.first(f.state)
	if err := f.state.Apply(ctx, rec); err != nil {
		return nil, err
	}
	return f.m.changed(ctx, f.state, before, pages)
}

// schemaTable is what the table on page 1 is called.
const schemaTable = "sqlite_schema"

// schemaChanged says whether the two first pages differ in what says that the schema is another: its cookie, or
// rows of it that are on the page.
func schemaChanged(old, now []byte) bool {
	return len(old) != len(now) || !bytes.Equal(old[40:44], now[40:44]) || !bytes.Equal(old[sqlitefile.HeaderSize:], now[sqlitefile.HeaderSize:])
}

func sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
