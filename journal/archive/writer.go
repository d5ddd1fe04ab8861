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

// HintEvery is how many batches are shipped between two swaps of the head. They keep the search for the last batch
// short, spare readers the batches that they do not need, and tell a writer that lost the archive without noticing.
const HintEvery = 32

// HeldError says that the archive has another writer now. It is a journal.ErrLocked.
type HeldError struct {
	Archive string
	Holder  Holder // without an ID: it has ended the timeline and is about to take over
	// Timeline that the archive went on to, after transaction After; 0 when the writer's own is still the archive's.
	Timeline journal.Timeline
	After    journal.TXID
}

func (e *HeldError) Error() string {
	if e.Timeline != 0 && e.Holder.ID == "" {
		return fmt.Sprintf("%s: %s is taking over with timeline %d after transaction %d; what was not shipped stays in the trail",
			e.Archive, e.Holder.Name, e.Timeline, e.After)
	}
	if e.Timeline != 0 {
		return fmt.Sprintf("%s: the archive is held by %s, and went on to timeline %d after transaction %d; what was not shipped stays in the trail",
			e.Archive, e.Holder, e.Timeline, e.After)
	}
	return fmt.Sprintf("%s: the archive is held by %s; what was not shipped stays in the trail", e.Archive, e.Holder)
}

// Is makes a HeldError a journal.ErrLocked.
func (e *HeldError) Is(target error) bool {
	return target == journal.ErrLocked || target == errFenced && e.Holder.ID == ""
}

// WriterOptions for OpenWriter.
type WriterOptions struct {
	// Archive is its name in messages; default "archive".
	Archive string
	// Identity of the trail that is shipped.
	Identity journal.Identity
	// Name of the writer, for whoever loses or finds the archive held.
	Name string
	// Replica says that the trail is that of a replica: it may begin an archive and go on with one that a replica began,
	// and claims none that a primary writes. See ErrReplica.
	Replica bool
	// ID of the writer; default drawn at random. One that a takeover wrote down tells it later whether it won.
	ID string
}

// Writer adds batches and bases to an archive. Not safe for concurrent use.
//
// After OpenWriter it only looks; Claim makes it the holder. After a HeldError, or an ErrDiverged, it is of no more
// use; after other errors the same call may be made again.
type Writer struct {
	store  objstore.Store
	opt    WriterOptions
	head   Head
	tag    objstore.Tag // empty: there was no head
	next   *Head        // what the head becomes with Claim, when the trail begins a new timeline
	begin  journal.TXID // what the first batch will begin with, of an archive that has none; else 0
	id     string
	fresh  []*journal.Batch // put since the head was told
	listed *files           // what Last saw
	sure   time.Time        // when the head was last known to be ours
}

// sureFor is how long a writer trusts that it holds the archive without looking at the head. Names of batches that
// were merged into others become free again when those are deleted, which is later than that: see Maintain.
const sureFor = 10 * time.Minute

// OpenWriter looks at the archive in a store, which may be empty. journal.ErrForeign when it is another database's, or
// when there is something at that prefix that is no archive. ErrGap when the archive's head was deleted. A HeldError when
// the archive went on to a later timeline than the trail's.
func OpenWriter(ctx context.Context, s objstore.Store, o WriterOptions) (*Writer, error) {
	if o.Archive == "" {
		o.Archive = "archive"
	}
	if o.ID == "" {
		o.ID = NewWriterID()
	}
	w := &Writer{store: s, opt: o, id: o.ID}
	return w, w.look(ctx)
}

// NewWriterID draws a WriterOptions.ID at random.
func NewWriterID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // documented never to fail
	return hex.EncodeToString(id[:])
}

// look loads the head and checks that it is of our database.
func (w *Writer) look(ctx context.Context) error {
	h, tag, err := load(ctx, w.store, w.opt.Archive)
	id := w.opt.Identity
	if errors.Is(err, journal.ErrNotFound) {
		w.head, w.tag = Head{Format: headFormat, Database: id.Database, Timeline: id.Timeline}, ""
		w.head.Lines = []Line{{Timeline: id.Timeline, Parent: id.Parent, Writer: w.opt.Name, Since: journal.TimeOf(time.Now())}}
		return w.empty(ctx)
	}
	if err != nil {
		return err
	}
	if h.Database != id.Database {
		return w.foreign("it is the archive of database %v, the trail is of %v", h.Database, id.Database)
	}
	line := h.current()
	switch {
	case id.Timeline < h.Timeline:
		return &HeldError{w.opt.Archive, h.Writer, h.Timeline, max(line.First, 1) - 1}
	case id.Timeline > h.Timeline && (id.Parent == nil || id.Parent.Database != h.Database):
		return w.foreign("the archive is at timeline %d, the trail at %d, and does not say where it began", h.Timeline, id.Timeline)
	case id.Timeline == h.Timeline && !samePosition(id.Parent, line.Parent):
		return &journal.Error{
			Path: w.opt.Archive, Offset: -1, Hint: "give it a prefix of its own, or the next timeline",
			Err: fmt.Errorf("the archive's timeline %d, of %s, is another than the trail's: %w", h.Timeline, line.Writer, journal.ErrDiverged),
		}
	}
	w.head, w.tag, w.next = h, tag, nil
	return nil
}

func samePosition(a, b *journal.Position) bool {
	return (a == nil) == (b == nil) && (a == nil || *a == *b)
}

// forks says that the trail's timeline is not in the archive yet.
func (w *Writer) forks() bool { return w.opt.Identity.Timeline > w.head.Timeline }

func (w *Writer) foreign(format string, args ...any) error {
	return &journal.Error{
		Path: w.opt.Archive, Offset: -1, Err: fmt.Errorf(format+": %w", append(args, journal.ErrForeign)...),
		Hint: "give each database a prefix of its own; a trail that was deleted begins again as that of another database",
	}
}

// empty looks for objects where there is no head, and that are no archive's (see load): they are somebody else's.
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

// Last describes the last batch, nil when there is none. For a trail whose timeline is not in the archive yet it is
// what that timeline continues; where it leaves the one before in the middle of a batch, that one's beginning is
// written anew, and nothing else.
func (w *Writer) Last(ctx context.Context) (*journal.Batch, error) {
	if w.forks() {
		return w.fork(ctx)
	}
	f, err := w.list(ctx, w.head)
	if err != nil {
		return nil, err
	}
	if id, ok := parse(f.fence, segmentSuffix); ok {
		return w.Batch(ctx, id) // says who is taking over
	}
	w.listed = f
	if key := f.lastKey(); key != "" {
		return w.batch(ctx, key)
	}
	return nil, nil
}

// list lists what is in the store of the history that a head says.
func (w *Writer) list(ctx context.Context, h Head) (*files, error) {
	f := &files{head: h, cache: cache{store: w.store, ctx: ctx, limit: blockBytes}}
	return f, f.list(ctx, w.store)
}

// Batch describes the batch of the current timeline that begins with a transaction. objstore.ErrNotFound when there
// is none.
func (w *Writer) Batch(ctx context.Context, first journal.TXID) (*journal.Batch, error) {
	return w.batch(ctx, batchKey(w.head.Timeline, first))
}

func (w *Writer) batch(ctx context.Context, key string) (*journal.Batch, error) {
	s, err := w.open(ctx, key)
	if err != nil {
		return nil, err
	}
	b, err := s.Batch()
	return &b, err
}

// open opens a segment, of whatever level.
func (w *Writer) open(ctx context.Context, key string) (*journal.SegmentReader, error) {
	c := &cache{store: w.store, ctx: ctx, limit: 4 * blockBytes}
	data, size, err := c.get(key, 0)
	if err != nil {
		return nil, err
	}
	if f, ok := parseFence(data); ok {
		return nil, w.fenced(f, key)
	}
	s, err := journal.NewSegmentReader(&object{c, key, size}, size, w.opt.Archive+"/"+key)
	if err != nil {
		return nil, err
	}
	name, _ := parseKey(key)
	if id, timeline := s.Database(); id != w.head.Database || timeline > name.timeline {
		return nil, w.foreign("%s is transaction %d of database %v timeline %d", key, s.Info().First, id, timeline)
	}
	if first := s.Info().First; first != name.first {
		return nil, &journal.Error{
			Path: w.opt.Archive + "/" + key, Offset: 0, TXID: name.first,
			Hint: "bring the object back from a copy, or from a version that the store kept",
			Err:  fmt.Errorf("the header says %d, the name %d: %w", first, name.first, journal.ErrCorrupt),
		}
	}
	return s, nil
}

// Begin says what the first batch will begin with, where Last found none: Claim writes it into the head, so that
// readers know what is missing when that batch is.
func (w *Writer) Begin(first journal.TXID) { w.begin = first }

// errMoved says that the head changed while a new timeline was being prepared from it.
var errMoved = errors.New("the archive changed while a new timeline was being begun; look again")

// ErrReplica says that a replica would have claimed the archive of a primary, whose transactions are all that it has, and
// would have stopped it. It is a journal.ErrLocked.
var ErrReplica = fmt.Errorf("a replica claims no primary's archive (%w)", journal.ErrLocked)

// Claim makes this writer the holder, whoever was before; a replica gets ErrReplica where that was a primary. For a trail whose timeline is not in the archive yet, Last
// must have been called.
func (w *Writer) Claim(ctx context.Context) error {
	for {
		h := w.head
		if w.forks() {
			if w.next == nil {
				return errMoved
			}
			h = *w.next
		}
		if was := h.Writer; w.opt.Replica && was.ID != "" && !was.Replica {
			return &journal.Error{
				Path: w.opt.Archive, Offset: -1, Err: fmt.Errorf("the archive is held by %s: %w", was, ErrReplica),
				Hint: "make it the primary with pagetrail promote, or ship it to a prefix of its own",
			}
		}
		h.Writer = Holder{ID: w.id, Name: w.opt.Name, Since: journal.TimeOf(time.Now()), Replica: w.opt.Replica}
		if w.begin > 0 {
			h.Start = w.begin
		}
		err := w.swap(ctx, h)
		if err == nil {
			return w.fence(ctx)
		}
		if !errors.Is(err, objstore.ErrConflict) {
			return err
		}
		if err := w.look(ctx); err != nil {
			return err
		}
		if w.begin > 0 { // who came first may have shipped something, which begins where it begins
			if last, err := w.Last(ctx); err != nil {
				return err
			} else if last != nil {
				w.begin = 0
			}
		}
	}
}

func (w *Writer) swap(ctx context.Context, h Head) error {
	h.Epoch++
	data, err := h.Encode()
	if err != nil {
		return err
	}
	tag, err := w.store.Head(headKey).Swap(ctx, w.tag, data)
	if err != nil {
		return err
	}
	w.head, w.tag, w.next, w.sure = h, tag, nil, time.Now()
	return nil
}

// held asks the head who holds the archive: nil when it is this writer.
func (w *Writer) held(ctx context.Context) error {
	fenced := w.head.current().Fenced
	if err := w.look(ctx); err != nil {
		return err
	}
	if w.tag == "" {
		return beheaded(w.opt.Archive, "nothing is there any more of what was shipped")
	}
	if w.head.Writer.ID != w.id {
		return &HeldError{Archive: w.opt.Archive, Holder: w.head.Writer}
	}
	w.head.current().Fenced, w.sure = fenced, time.Now()
	return nil
}

// PutBatch creates a batch. objstore.ErrExists when there is one that begins with the same transaction, and this
// writer still holds the archive: then it is to be looked at, see Batch. A HeldError when another holds it.
func (w *Writer) PutBatch(ctx context.Context, b *journal.Batch, body io.ReaderAt) error {
	err := w.store.Create(ctx, batchKey(w.head.Timeline, b.First), body, b.Size)
	if errors.Is(err, objstore.ErrExists) || err == nil && time.Since(w.sure) > sureFor {
		if err := w.held(ctx); err != nil {
			return err
		}
	}
	if err == nil {
		if w.fresh = append(w.fresh, b); len(w.fresh) > recentMost { // the head could not be told for long
			w.fresh = w.fresh[1:]
		}
	}
	return err
}

// Hint tells the head how far the archive is, and what its last batches hold, once in so many batches, or now. It is not
// needed for anything to be right: an error that comes and goes may be passed over. A HeldError may not, nor what says
// that the head is gone or damaged.
func (w *Writer) Hint(ctx context.Context, next journal.TXID, now bool) error {
	if len(w.fresh) == 0 || len(w.fresh) < HintEvery && !now {
		return nil
	}
	h := w.head
	h.Next, h.Recent = next, h.Recent.with(h.Timeline, w.fresh)
	err := w.swap(ctx, h)
	if errors.Is(err, objstore.ErrConflict) {
		return w.held(ctx)
	}
	if err == nil {
		w.fresh = nil
	}
	return err
}

// Bases lists the bases of the history, as they were when Last was called: TXIDs and sizes.
func (w *Writer) Bases(ctx context.Context) (found map[journal.TXID]int64, err error) {
	f := w.listed
	if w.next != nil { // it leaves others out
		f, err = w.list(ctx, *w.next)
	}
	if err != nil || f == nil {
		return nil, err
	}
	found = make(map[journal.TXID]int64)
	for name, k := range f.known {
		if id, ok := parse(name, baseSuffix); ok {
			found[id] = k.size
		}
	}
	return found, nil
}

// Settled is the transaction up to which the archive looks after itself: it makes the bases that it needs, and others
// are not missed.
func (w *Writer) Settled() journal.TXID {
	return max(w.head.end(), w.head.Floor, max(w.head.current().First, 1)-1)
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
