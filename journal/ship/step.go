package ship

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/pagetrail/pagetrail/internal/durable"
	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/archive"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// final says that trying again is of no use.
func final(err error) bool {
	for _, is := range []error{
		journal.ErrDiverged, journal.ErrGap, journal.ErrForeign, journal.ErrCorrupt, journal.ErrVersion, journal.ErrFlag,
		journal.ErrLocked, journal.ErrRange, objstore.ErrDenied, objstore.ErrNoBucket, objstore.ErrKey, objstore.ErrReadOnly,
		objstore.ErrLies, objstore.ErrEncrypted, objstore.ErrNotEncrypted, objstore.ErrDamaged, fs.ErrPermission,
	} {
		if errors.Is(err, is) {
			return true
		}
	}
	return false
}

// next is the transaction that the next batch begins with.
func (s *Shipper) next() journal.TXID {
	if s.prev == nil {
		return s.from
	}
	return s.prev.Last + 1
}

// step does what is to be done next; more says that there may be more at once.
func (s *Shipper) step(ctx context.Context) (more bool, err error) {
	if err := s.trail.Refresh(); err != nil {
		return false, err
	}
	if id := s.trail.Identity(); id.Timeline != s.identity.Timeline {
		s.identity, s.w, s.prev = id, nil, nil // the database lost what was shipped, and the trail goes on without it
	}
	if s.w == nil {
		return true, s.connect(ctx)
	}
	last, err := s.trail.Last()
	if err != nil {
		return false, err
	}
	s.last = last.TXID
	if err := s.prune(ctx); err != nil {
		return false, err
	}
	switch {
	case last.TXID+1 < s.next():
		return false, s.behind(s.w, last.TXID)
	case last.TXID < s.next():
		s.waiting, s.idle = time.Time{}, true
		if s.opt.Once || s.hurry { // there is no later
			s.pruneAt = time.Time{}
			return false, s.prune(ctx)
		}
		return false, nil
	case !s.due():
		return false, nil
	}
	if err := s.ship(ctx, last.TXID); err != nil {
		return false, err
	}
	s.seen = s.trail.Tail().Size
	if s.prev != nil && s.prev.Last >= last.TXID {
		s.waiting = time.Time{}
	}
	return true, nil
}

// due says that what waits has waited long enough, or is enough.
func (s *Shipper) due() bool {
	if s.waiting.IsZero() {
		s.waiting = s.opt.Clock.Now()
	}
	if s.opt.Once || s.hurry || s.opt.Acks != nil && s.opt.Acks.wants(s.next()-1) {
		return true
	}
	tail := s.trail.Tail()
	return s.opt.Clock.Now().Sub(s.waiting) >= s.opt.Interval || tail.First > s.next() || s.stored(tail.Size-s.seen) >= s.opt.BatchBytes
}

// stored is about what so many bytes of the trail's tail, which is not compressed, take in a batch.
func (s *Shipper) stored(n int64) int64 {
	if s.prev == nil || s.prev.RawBytes <= 0 {
		return n
	}
	return int64(float64(n) * min(float64(s.prev.Size)/float64(s.prev.RawBytes), 1))
}

// apart is the hint for a trail that is not the one that the archive was shipped from. The holder's name tells which is.
func apart(w *archive.Writer, why string) string {
	return fmt.Sprintf("%s; the archive is held by %s; give this trail a prefix of its own", why, w.Holder())
}

func (s *Shipper) behind(w *archive.Writer, last journal.TXID) error {
	return &journal.Error{
		Path: s.dir, Offset: -1, TXID: s.next() - 1, Hint: apart(w, "this trail was cut or copied back, or another copy of the database went on"),
		Err: fmt.Errorf("the archive %s ends with transaction %d, the trail with %d: %w", s.opt.Archive, s.next()-1, last, journal.ErrDiverged),
	}
}

// connect finds out where the archive ends, and claims it: steps 1 and 2 of the package comment.
func (s *Shipper) connect(ctx context.Context) error {
	if !s.probed {
		if err := objstore.Probe(ctx, s.opt.Store); err != nil {
			return err
		}
		s.probed = true
	}
	w, err := archive.OpenWriter(ctx, s.opt.Store, archive.WriterOptions{
		Archive: s.opt.Archive, Identity: s.trail.Identity(), Name: s.opt.Name, Replica: s.opt.Replica != nil && s.opt.Replica(),
	})
	if err != nil {
		return err
	}
	prev, err := w.Last(ctx)
	if err != nil {
		return err
	}
	var from journal.TXID
	if prev != nil {
		err = s.continues(ctx, w, prev)
	} else {
		from, err = s.begin(ctx)
	}
	if err != nil {
		return err
	}
	if prev != nil {
		if err := s.leaves(ctx, prev); err != nil {
			return err
		}
	}
	bases, err := w.Bases(ctx)
	if err != nil {
		return err
	}
	if prev == nil {
		w.Begin(from)
	}
	before := w.Holder()
	if err := w.Claim(ctx); err != nil {
		return err
	}
	s.w, s.prev, s.from, s.bases = w, prev, from, bases
	if s.result.Last = 0; prev != nil { // without a batch the archive holds nothing, whatever base the trail begins with
		s.result.Last = prev.Last
	}
	if s.opt.Events.Claimed != nil {
		s.opt.Events.Claimed(before, s.next()-1)
	}
	if prev != nil { // what was lost there is missed whether or not there is more to ship
		err := s.sendBases(ctx, prev.Last)
		if err == nil {
			err = s.mend(ctx)
		}
		if err != nil {
			s.w = nil
			return err
		}
	}
	return nil
}

// continues checks that the trail goes on from what the archive ends with.
func (s *Shipper) continues(ctx context.Context, w *archive.Writer, b *journal.Batch) error {
	err := s.trail.Continues(ctx, b)
	if errors.Is(err, journal.ErrDiverged) {
		return &journal.Error{
			Path: s.dir, Offset: -1, TXID: b.Last, Hint: apart(w, "another copy of the database went on from there"),
			Err: fmt.Errorf("transaction %d is another than that of the archive %s: %w", b.Last, s.opt.Archive, journal.ErrDiverged),
		}
	}
	var out *journal.RangeError
	if !errors.As(err, &out) {
		return err
	}
	if out.Want > out.Last {
		s.prev = b
		return s.behind(w, out.Last)
	}
	return &journal.Error{
		Path: s.dir, Offset: -1, TXID: b.Last + 1, Hint: "give it another prefix; what is in this one can be restored up to there",
		Err: fmt.Errorf("the archive %s ends with transaction %d, the trail begins with %d: %w", s.opt.Archive, b.Last, out.First, journal.ErrGap),
	}
}

// begin is where an archive begins that has no batch: with the oldest state from which the trail leads to its end.
func (s *Shipper) begin(ctx context.Context) (journal.TXID, error) {
	window, err := s.trail.Window(ctx)
	if err != nil {
		return 0, err
	}
	last, err := s.trail.Last()
	if err != nil {
		return 0, err
	}
	n := len(window.Spans)
	if n == 0 && last.TXID == 0 {
		return 1, nil
	}
	if n == 0 || window.Spans[n-1].Last < last.TXID {
		return 0, &journal.Error{
			Path: s.dir, Offset: -1, TXID: last.TXID, Err: fmt.Errorf("the trail has no base for its last transactions: %w", journal.ErrGap),
			Hint: "pagetrail window shows what is missing",
		}
	}
	start := window.Spans[n-1].First
	from, err := s.trail.Start(max(start, 1))
	if errors.Is(err, journal.ErrRange) { // the base's own record is gone
		from, err = s.trail.Start(start + 1)
	}
	return from, err
}

// spoolBytes is what a batch may take in memory; a larger one goes to a temporary file.
const spoolBytes = 4 << 20

// ship sends the next batch, of transactions up to to: steps 3 to 6.
func (s *Shipper) ship(ctx context.Context, to journal.TXID) (err error) {
	if s.opt.Sync != nil {
		if err := s.opt.Sync(ctx); err != nil {
			return fmt.Errorf("sync of the primary before a batch: %w", err)
		}
	}
	spool := durable.NewBriefSpool(s.opt.FS, s.opt.TempDir, spoolBytes)
	defer func() { err = errors.Join(err, spool.Close()) }()
	b, err := s.trail.WriteBatch(ctx, spool, s.prev, s.from, &journal.BatchOptions{Size: s.opt.BatchBytes, To: to})
	if err != nil {
		return err
	}
	if err := s.leaves(ctx, &b); err != nil {
		return err
	}
	if err := s.sendBases(ctx, b.Last); err != nil {
		return err
	}
	err = s.w.PutBatch(ctx, &b, spool)
	if errors.Is(err, objstore.ErrExists) {
		return s.adopt(ctx, b.First)
	}
	if err != nil {
		return err
	}
	s.result.Batches++
	s.result.Transactions += uint64(b.Last - b.First + 1)
	s.result.Bytes += b.Size
	s.went(&b)
	if s.opt.Events.Batch != nil {
		s.opt.Events.Batch(b)
	}
	return s.hint(ctx, false)
}

// hint tells the head how far the archive is. One that could not be written is written with another batch, unless that
// is of no use: the archive has another writer, or has no head any more, and without one nothing can be restored.
func (s *Shipper) hint(ctx context.Context, now bool) error {
	err := s.w.Hint(ctx, s.next(), now)
	if final(err) {
		return err
	}
	return nil
}

func (s *Shipper) went(b *journal.Batch) {
	s.prev, s.result.Last = b, b.Last
}

// adopt takes a batch that is there already for the one that was to be written, if it is of this history.
func (s *Shipper) adopt(ctx context.Context, first journal.TXID) error {
	there, err := s.w.Batch(ctx, first)
	if err != nil {
		return err
	}
	if err := s.continues(ctx, s.w, there); err != nil {
		return fmt.Errorf("the archive has another batch from transaction %d on: %w", first, err)
	}
	s.went(there)
	return nil
}

// sendBases sends the bases up to a transaction that the archive lacks.
func (s *Shipper) sendBases(ctx context.Context, to journal.TXID) error {
	first := s.from
	if s.prev != nil && first == 0 {
		first = 1 // older ones than the archive's first batch do no harm
	}
	lacks := func(id journal.TXID) bool {
		_, there := s.bases[id]
		return !there && id+1 >= first && id <= to && id > s.w.Settled()
	}
	ids, err := s.trail.BaseIDs()
	if err != nil || !slices.ContainsFunc(ids, lacks) {
		return err
	}
	bases, err := s.trail.Bases()
	if err != nil {
		return err
	}
	for _, info := range bases {
		if !lacks(info.TXID) {
			continue
		}
		if err := s.sendBase(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

func (s *Shipper) sendBase(ctx context.Context, info journal.BaseInfo) (err error) {
	// A base that is not the state of its transaction is what a crash left: OpenBase compares.
	b, err := s.trail.OpenBase(info.TXID)
	if errors.Is(err, journal.ErrDiverged) || errors.Is(err, journal.ErrNotFound) {
		s.bases[info.TXID] = 0
		return nil
	}
	if err != nil {
		return err
	}
	if err := b.Close(); err != nil {
		return err
	}
	f, err := s.opt.FS.OpenFile(filepath.Join(s.dir, info.Name), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := s.w.PutBase(ctx, info.TXID, f, info.Size); err != nil {
		return err
	}
	s.bases[info.TXID] = info.Size
	s.result.Bases++
	s.result.Bytes += info.Size
	if s.opt.Events.Base != nil {
		s.opt.Events.Base(info.TXID, info.Size)
	}
	return nil
}
