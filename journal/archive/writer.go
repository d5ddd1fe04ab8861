package archive

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// hintEvery is how many batches are shipped between two swaps of the head. They keep the search for the last batch
// short, and tell a writer that lost the archive without noticing.
const hintEvery = 32

// HeldError says that the archive has another writer now. It is a journal.ErrLocked.
type HeldError struct {
	Archive string
	Holder  Holder
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s: the archive is held by %s; what was not shipped stays in the trail", e.Archive, e.Holder)
}

// Is makes a HeldError a journal.ErrLocked.
func (e *HeldError) Is(target error) bool { return target == journal.ErrLocked }

// WriterOptions for OpenWriter.
type WriterOptions struct {
	// Archive is its name in messages; default "archive".
	Archive string
	// Identity of the trail that is shipped.
	Identity journal.Identity
	// Name of the writer, for whoever loses or finds the archive held.
	Name string
}

// Writer adds batches and bases to an archive. Not safe for concurrent use.
//
// After OpenWriter it only looks; Claim makes it the holder. After a HeldError, or an ErrDiverged, it is of no more
// use; after other errors the same call may be made again.
type Writer struct {
	store objstore.Store
	opt   WriterOptions
	head  Head
	tag   objstore.Tag // empty: there was no head
	id    string
	since int // batches since the head was swapped
}

// OpenWriter looks at the archive in a store, which may be empty. journal.ErrForeign when it is another database's, or
// when there is something at that prefix that is no archive.
func OpenWriter(ctx context.Context, s objstore.Store, o WriterOptions) (*Writer, error) {
	if o.Archive == "" {
		o.Archive = "archive"
	}
	var id [8]byte
	_, _ = rand.Read(id[:]) // documented never to fail
	w := &Writer{store: s, opt: o, id: hex.EncodeToString(id[:])}
	return w, w.look(ctx)
}

// look loads the head and checks that it is of our database.
func (w *Writer) look(ctx context.Context) error {
	h, tag, err := load(ctx, w.store, w.opt.Archive)
	if errors.Is(err, journal.ErrNotFound) {
		w.head, w.tag = Head{Format: headFormat, Database: w.opt.Identity.Database, Timeline: w.opt.Identity.Timeline}, ""
		return w.empty(ctx)
	}
	if err != nil {
		return err
	}
	if h.Database != w.opt.Identity.Database {
		return w.foreign("it is the archive of database %v, the trail is of %v", h.Database, w.opt.Identity.Database)
	}
	if h.Timeline != w.opt.Identity.Timeline {
		return w.foreign("the archive is at timeline %d, the trail at %d", h.Timeline, w.opt.Identity.Timeline)
	}
	w.head, w.tag = h, tag
	return nil
}

func (w *Writer) foreign(format string, args ...any) error {
	return &journal.Error{
		Path: w.opt.Archive, Offset: -1, Err: fmt.Errorf(format+": %w", append(args, journal.ErrForeign)...),
		Hint: "give each database a prefix of its own",
	}
}

// empty looks for objects where there is no head: the head is the first object of an archive, so they are somebody
// else's.
func (w *Writer) empty(ctx context.Context) error {
	for o, err := range w.store.List(ctx, "", "") {
		if err != nil {
			return err
		}
		if strings.HasPrefix(o.Key, "probe-") { // what an interrupted objstore.Probe left
			continue
		}
		if o.Key == headKey { // made in this moment
			return w.look(ctx)
		}
		return w.foreign("there is %s and no head, so this prefix is in use for something else", o.Key)
	}
	return nil
}

// Holder is who held the archive when it was last looked at; the zero Holder when nobody ever did.
func (w *Writer) Holder() Holder { return w.head.Writer }

// Last describes the last batch, nil when there is none.
func (w *Writer) Last(ctx context.Context) (*journal.Batch, error) {
	prefix, after := timelineKey(w.head.Timeline)+level0, ""
	if w.head.Next > 0 {
		after = batchKey(w.head.Timeline, w.head.Next-1)
	}
	last, err := w.lastAfter(ctx, prefix, after)
	if err == nil && last == 0 && after != "" { // the hint was not for a batch that was shipped
		last, err = w.lastAfter(ctx, prefix, "")
	}
	if err != nil || last == 0 {
		return nil, err
	}
	return w.Batch(ctx, last)
}

func (w *Writer) lastAfter(ctx context.Context, prefix, after string) (last journal.TXID, err error) {
	for o, err := range w.store.List(ctx, prefix, after) {
		if err != nil {
			return 0, err
		}
		if id, ok := parse(strings.TrimPrefix(o.Key, prefix), segmentSuffix); ok {
			last = id
		}
	}
	return last, nil
}

// Batch describes the batch that begins with a transaction. objstore.ErrNotFound when there is none.
func (w *Writer) Batch(ctx context.Context, first journal.TXID) (*journal.Batch, error) {
	key := batchKey(w.head.Timeline, first)
	c := cache{store: w.store, ctx: ctx, limit: 4 * blockBytes}
	_, size, err := c.get(key, 0)
	if err != nil {
		return nil, err
	}
	s, err := journal.NewSegmentReader(&object{&c, key, size}, size, w.opt.Archive+"/"+key)
	if err != nil {
		return nil, err
	}
	if id, timeline := s.Database(); id != w.head.Database || timeline > w.head.Timeline || s.Info().First != first {
		return nil, w.foreign("%s is transaction %d of database %v timeline %d", key, s.Info().First, id, timeline)
	}
	b, err := s.Batch()
	return &b, err
}

// Claim makes this writer the holder, whoever was before.
func (w *Writer) Claim(ctx context.Context) error {
	for {
		h := w.head
		h.Epoch++
		h.Writer = Holder{ID: w.id, Name: w.opt.Name, Since: journal.TimeOf(time.Now())}
		err := w.swap(ctx, h)
		if !errors.Is(err, objstore.ErrConflict) {
			return err
		}
		if err := w.look(ctx); err != nil {
			return err
		}
	}
}

func (w *Writer) swap(ctx context.Context, h Head) error {
	data, err := h.Encode()
	if err != nil {
		return err
	}
	tag, err := w.store.Head(headKey).Swap(ctx, w.tag, data)
	if err != nil {
		return err
	}
	w.head, w.tag, w.since = h, tag, 0
	return nil
}

// held asks the head who holds the archive: nil when it is this writer.
func (w *Writer) held(ctx context.Context) error {
	if err := w.look(ctx); err != nil {
		return err
	}
	if w.head.Writer.ID != w.id {
		return &HeldError{w.opt.Archive, w.head.Writer}
	}
	return nil
}

// PutBatch creates a batch. objstore.ErrExists when there is one that begins with the same transaction, and this
// writer still holds the archive: then it is to be looked at, see Batch. A HeldError when another holds it.
func (w *Writer) PutBatch(ctx context.Context, b *journal.Batch, body io.ReaderAt) error {
	err := w.store.Create(ctx, batchKey(w.head.Timeline, b.First), body, b.Size)
	if errors.Is(err, objstore.ErrExists) {
		if err := w.held(ctx); err != nil {
			return err
		}
	}
	if err == nil {
		w.since++
	}
	return err
}

// Hint tells the head how far the archive is, once in so many batches, or now. It is not needed for anything to be
// right: an error that is no HeldError may be passed over.
func (w *Writer) Hint(ctx context.Context, next journal.TXID, now bool) error {
	if w.since == 0 || w.since < hintEvery && !now {
		return nil
	}
	h := w.head
	h.Next = next
	err := w.swap(ctx, h)
	if errors.Is(err, objstore.ErrConflict) {
		return w.held(ctx)
	}
	return err
}

// Bases lists the bases that are there: TXIDs and sizes.
func (w *Writer) Bases(ctx context.Context) (map[journal.TXID]int64, error) {
	prefix := timelineKey(w.head.Timeline) + baseLevel
	found := make(map[journal.TXID]int64)
	for o, err := range w.store.List(ctx, prefix, "") {
		if err != nil {
			return nil, err
		}
		if id, ok := parse(strings.TrimPrefix(o.Key, prefix), baseSuffix); ok {
			found[id] = o.Size
		}
	}
	return found, nil
}

// PutBase creates a base; one of that TXID that is there must be the same, else ErrDiverged.
func (w *Writer) PutBase(ctx context.Context, id journal.TXID, body io.ReaderAt, size int64) error {
	key := baseKey(w.head.Timeline, id)
	err := w.store.Create(ctx, key, body, size)
	if !errors.Is(err, objstore.ErrExists) {
		return err
	}
	same, err := objstore.Same(ctx, w.store, key, body, size)
	if err == nil && !same {
		err = &journal.Error{
			Path: w.opt.Archive + "/" + key, Offset: -1, TXID: id, Err: fmt.Errorf("the archive has another base: %w", journal.ErrDiverged),
			Hint: "give this history a prefix of its own",
		}
	}
	return err
}
