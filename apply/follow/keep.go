package follow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/pagetrail/pagetrail/apply"
	"github.com/pagetrail/pagetrail/diff"
	"github.com/pagetrail/pagetrail/journal"
)

// keeper writes the replica's own trail: every transaction that was checked by
// applying it, before readers see it. So the trail is at the replica's position
// or beyond it by a commit that failed, or, after a power cut, behind it by what
// was not synced. [keeper.open] brings them together again:
//
//  1. No trail: one begins at the replica's position, with a base of it.
//  2. Ahead: the surplus is cut off, since it comes again from the source; where
//     the source does not have it, as after a rewind, step 5 keeps it.
//  3. Behind: what is missing is taken from the source, and checked by applying
//     it to the trail's own last state.
//  4. Of the timeline before the source's, as after a takeover: it joins that
//     one; what it has beyond the point where the two part, which a primary that
//     was taken over from had not shipped, becomes a branch. See join.go.
//  5. None of that leads to the replica's state, as after a jump over transactions
//     that the source no longer has: the trail is given another name, and a new
//     one begins.
type keeper struct {
	r     *Replica
	dir   string          // "" when no trail is kept
	w     *journal.Writer // locked; nil before open
	stale string          // why the trail does not lead to the replica's state; "" if it does

	dec     diff.Decoder
	body    diff.Body // of the group before, in buffers of our own
	sealing sync.WaitGroup
	sealed  chan struct{} // has room while nobody seals
}

// open makes the trail one that ends where the replica is.
func (k *keeper) open(ctx context.Context) error {
	if k.dir == "" || k.w != nil && k.stale == "" {
		return nil
	}
	err := k.align(ctx)
	if err != nil {
		err = fmt.Errorf("trail %s of the replica: %w", k.dir, err)
	}
	return err
}

func (k *keeper) align(ctx context.Context) error {
	if k.w == nil {
		w, err := journal.OpenWriter(k.dir, nil)
		if errors.Is(err, journal.ErrNotFound) {
			return k.begin(ctx)
		}
		if err == nil && w.Identity().Database != k.r.pos.Database {
			err = fmt.Errorf("it is of database %v, and the replica of %v: %w", w.Identity().Database, k.r.pos.Database, journal.ErrForeign)
		}
		if err == nil {
			_, err = w.Lock()
		}
		if err != nil {
			return err
		}
		k.w = w
	}
	var err error
	if k.w.Identity().Timeline != k.r.src.Identity().Timeline {
		k.stale, err = k.join(ctx)
	}
	if err == nil && k.stale == "" {
		k.stale, err = k.compare(ctx)
	}
	if err != nil {
		return errors.Join(err, k.close())
	}
	if k.stale != "" {
		return k.anew(ctx)
	}
	return nil
}

// verdict is why the trail does not lead to the replica's state, if that is what
// the error says; not when the source was just not reached, or nobody waits.
func (k *keeper) verdict(ctx context.Context, what string, err error) (string, error) {
	if err == nil || k.r.o.passes(err) || ctx.Err() != nil {
		return "", err
	}
	return fmt.Sprintf("%s: %v", what, err), nil
}

// compare carries out steps 2 and 3, and returns why that led nowhere.
func (k *keeper) compare(ctx context.Context) (string, error) {
	pos := &k.r.pos
	if last := k.w.Last(); last.TXID > pos.TXID {
		const ahead = "it is ahead of the replica"
		err := k.r.sameHistory(ctx, mark{Position: journal.Position{TXID: last.TXID, Sum: last.Sum}})
		if err == nil {
			err = k.cut()
		}
		if why, err := k.verdict(ctx, ahead, err); why != "" || err != nil {
			return why, err
		}
	}
	if k.w.Last().TXID < pos.TXID {
		if why, err := k.verdict(ctx, "it is behind the replica", k.fill(ctx)); why != "" || err != nil {
			return why, err
		}
	}
	if k.w.Last().Sum != pos.Sum {
		return "it is of another history than the replica", nil
	}
	t, err := journal.Open(k.dir, nil)
	if err != nil {
		return err.Error(), nil
	}
	defer t.Close()
	w, err := t.Window(ctx)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil || len(w.Spans) == 0 || w.Spans[len(w.Spans)-1].Last != pos.TXID {
		return "it cannot restore what the replica is", nil
	}
	return "", nil
}

// cut takes off what the replica does not have, and the source does.
func (k *keeper) cut() error {
	if k.w == nil || k.stale != "" {
		return nil
	}
	return k.w.Retract(k.r.pos.TXID)
}

// fill takes what is missing from the source.
func (k *keeper) fill(ctx context.Context) error {
	t, err := journal.Open(k.dir, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	last := k.w.Last().TXID
	state, _, err := apply.Restore(ctx, t, apply.AtTXID(last), &apply.Options{TempDir: filepath.Dir(k.r.path)})
	if err != nil {
		return err
	}
	for rec, e := range k.r.src.Records(ctx, last+1) {
		if err = e; err == nil && rec.TXID > k.r.pos.TXID {
			break
		}
		if err == nil {
			err = state.Apply(ctx, rec)
		}
		if err == nil {
			err = k.add(rec, state.Sum())
		}
		if err == nil && rec.TXID%1000 == 0 {
			err = k.w.Flush()
		}
		if err != nil || k.stale != "" {
			break
		}
	}
	err = errors.Join(err, state.Close())
	if err == nil {
		err = k.w.Flush()
	}
	return err
}

// anew gives the trail another name and begins one.
func (k *keeper) anew(ctx context.Context) error {
	last := k.w.Last().TXID
	if err := k.close(); err != nil {
		return err
	}
	aside := fmt.Sprintf("%s-until-%d", k.dir, last)
	for i := 2; ; i++ {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			break
		}
		aside = fmt.Sprintf("%s-until-%d.%d", k.dir, last, i)
	}
	if err := os.Rename(k.dir, aside); err != nil {
		return err
	}
	if f := k.r.o.Events.TrailBegun; f != nil {
		f(k.stale, aside)
	}
	return k.begin(ctx)
}

// begin makes a trail that begins with the replica's state.
func (k *keeper) begin(ctx context.Context) error {
	r := k.r
	id := r.src.Identity()
	id.Format = 1
	after := journal.Tx{TXID: r.pos.TXID, Time: r.pos.time, PageSize: r.hdr.PageSize, PageCount: r.hdr.PageCount, Sum: r.pos.Sum}
	w, err := journal.OpenWriter(k.dir, &journal.WriterOptions{
		Create: true, Mode: r.perm & 0o666, Begin: &journal.Beginning{Identity: id, After: after},
	})
	if err == nil {
		_, err = w.Lock()
	}
	if err != nil {
		return err
	}
	k.w, k.stale = w, ""
	b, err := w.CreateBase(after.PageSize, after.PageCount, 0, false)
	if err != nil {
		return err
	}
	return k.pages(ctx, b)
}

// pages writes the replica's pages to a base and makes it one.
func (k *keeper) pages(ctx context.Context, b *journal.BaseWriter) error {
	r := k.r
	page := make([]byte, r.hdr.PageSize)
	lock := diff.LockPage(len(page))
	for no := uint32(1); no <= r.hdr.PageCount; no++ {
		if no == lock {
			continue
		}
		err := r.readPage(no, page)
		if err == nil {
			err = b.WritePages(no, page)
		}
		if err == nil && no%1024 == 0 && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			b.Abort()
			return err
		}
	}
	_, err := b.Commit()
	return err
}

// add writes down a transaction that led to a state with that checksum. It is
// not there for others before flush.
func (k *keeper) add(rec *journal.Record, sum diff.Sum) error {
	if k.w == nil || k.stale != "" {
		return nil
	}
	if rec.Folded > 0 {
		k.stale = "the source has folded transactions into one"
		return k.w.Reset()
	}
	tx, groups := rec.Tx, 0
	for body, err := range rec.Groups() {
		if err == nil && groups > 0 {
			err = k.part(rec.PageSize)
		}
		if err != nil {
			return errors.Join(err, k.w.Reset())
		}
		k.body.Pages = append(k.body.Pages[:0], body.Pages...)
		k.body.Tokens = append(k.body.Tokens[:0], body.Tokens...)
		k.body.Literals = append(k.body.Literals[:0], body.Literals...)
		groups++
	}
	last, pages := k.body, int(tx.Pages)
	switch groups {
	case 0:
		last = diff.Body{}
	case 1:
	default:
		if err := k.dec.Load(last, rec.PageSize); err != nil {
			return errors.Join(err, k.w.Reset())
		}
		pages = len(k.dec.Pages())
	}
	tx.Sum, tx.Origin = sum, journal.Origin{}
	got, err := k.w.Add(tx, last, pages, false)
	if err == nil && (got.TXID != rec.TXID || got.Time != rec.Time) {
		err = fmt.Errorf("transaction %d would be %d: %w", rec.TXID, got.TXID, journal.ErrDiverged)
	}
	if err != nil {
		return errors.Join(err, k.w.Reset())
	}
	return nil
}

// part writes the group before down, as one that others follow.
func (k *keeper) part(pageSize int) error {
	if err := k.dec.Load(k.body, pageSize); err != nil {
		return err
	}
	return k.w.AddPart(k.body, len(k.dec.Pages()))
}

// flush makes what was added visible, and durable if every commit is to be.
func (k *keeper) flush() error {
	if k.w == nil || k.stale != "" {
		return nil
	}
	k.r.o.hook("write trail")
	err := k.w.Flush()
	if err == nil && k.r.o.SyncEachCommit {
		err = k.w.Sync()
	}
	return err
}

// sync makes the trail durable: before what it has to lead to is.
func (k *keeper) sync() error {
	if k.w == nil || k.stale != "" {
		return nil
	}
	k.r.o.hook("sync trail")
	return k.w.Sync()
}

// committed begins the next segment when the trail's is full, and has the one
// before compressed by a goroutine, unless one is at it.
func (k *keeper) committed() error {
	if k.w == nil || k.stale != "" || !k.w.Full() {
		return nil
	}
	if err := k.w.Rotate(); err != nil {
		return err
	}
	select {
	case k.sealed <- struct{}{}:
		k.sealing.Go(func() {
			_, _ = journal.Seal(context.Background(), k.dir, nil) // the next tries again
			<-k.sealed
		})
	default:
	}
	return nil
}

// jumped notes that the replica came to its state by other means than the
// transactions that lead there. tx is a record of kind Base, whose state that is.
func (k *keeper) jumped(ctx context.Context, tx *journal.Tx, why string) error {
	if k.w == nil || k.stale != "" {
		return nil
	}
	pos := &k.r.pos
	if last := k.w.Last(); last.TXID == pos.TXID && last.Sum == pos.Sum {
		return nil
	}
	if tx == nil || k.w.Last().TXID+1 != tx.TXID {
		k.stale = why
		return nil
	}
	b, err := k.w.CreateBase(tx.PageSize, tx.PageCount, tx.Time, true)
	if err == nil {
		err = k.pages(ctx, b)
	}
	if err == nil {
		base := *tx
		base.Sum, base.Origin = pos.Sum, journal.Origin{}
		_, err = k.w.Add(base, diff.Body{}, 0, false)
	}
	if err == nil {
		err = k.w.Flush()
	}
	return err
}

func (k *keeper) close() error {
	if k.w == nil {
		return nil
	}
	err := k.w.Sync()
	k.sealing.Wait()
	err = errors.Join(err, k.w.Close())
	k.w = nil
	return err
}
