package archive

import (
	"context"
	"errors"
	"fmt"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// Options for Open; nil means defaults.
type Options struct {
	// Name of the archive in messages; default "archive". That of a store in a directory should be the directory.
	Name string
	// CacheBytes is the memory for pieces of objects; default 32 MiB. Pieces are of 1 MiB, and one is always kept.
	CacheBytes int64
	// Scattered says that single pages of bases will be read, as package asof does: they are fetched in pieces of 128 KiB,
	// and ahead only after 1 MiB in turn.
	Scattered bool
	// Damaged opens an archive whose end is damaged as if it ended before the damage, which Reader.Lost then tells, and
	// Verify returns. Without it, damage of the last object is an error of Open.
	Damaged bool
}

func (o *Options) filled() Options {
	var f Options
	if o != nil {
		f = *o
	}
	if f.Name == "" {
		f.Name = "archive"
	}
	if f.CacheBytes <= 0 {
		f.CacheBytes = 32 << 20
	}
	return f
}

// ErrTimeline says that the timeline that a Reader reads has ended: somebody took over, or is about to. Open finds the
// next one once that was done.
var ErrTimeline = errors.New("the archive went on to timeline")

// Reader is a trail whose files are objects. Close does not close the store.
type Reader struct {
	*journal.Trail
	name   string
	head   Head
	files  *files
	cancel context.CancelFunc
}

// Open opens the archive in a store for reading. ctx is that of all requests until Close. It costs the head, a list
// and the last batch. ErrNotFound when there is no archive, or nothing was shipped to it yet; ErrGap when its head was
// deleted.
func Open(ctx context.Context, s objstore.Store, o *Options) (*Reader, error) {
	h, _, err := load(ctx, s, o.filled().Name)
	if err != nil {
		return nil, err
	}
	return openHead(ctx, s, h, o)
}

// openHead opens the archive as a head says it is.
func openHead(ctx context.Context, s objstore.Bucket, h Head, o *Options) (*Reader, error) {
	opt := o.filled()
	ctx, cancel := context.WithCancel(ctx)
	f := &files{head: h, cache: cache{store: s, ctx: ctx, limit: opt.CacheBytes, depth: min(aheadPieces, opt.CacheBytes/(2*blockBytes)), scattered: opt.Scattered}}
	r := &Reader{name: opt.Name, head: h, files: f, cancel: cancel}
	var err error
	if r.Trail, err = f.open(ctx, s, &opt); err != nil {
		cancel()
		return nil, err
	}
	return r, nil
}

func (f *files) open(ctx context.Context, s objstore.Bucket, o *Options) (*journal.Trail, error) {
	var err error
	f.name = o.Name
	if f.identity, err = f.head.identity().Encode(); err != nil {
		return nil, err
	}
	if err := f.list(ctx, s); err != nil {
		return nil, err
	}
	if len(f.names) == 0 && f.head.Next > 1 {
		return nil, gone(o.Name, 1, f.head.Next-1)
	}
	if len(f.names) == 0 {
		return nil, &journal.Error{
			Path: o.Name, Offset: -1, Err: fmt.Errorf("the archive holds no transaction yet: %w", journal.ErrNotFound),
			Hint: "held by " + f.head.Writer.String() + "; wait for its first batch",
		}
	}
	f.opening = true
	t, err := journal.Open(o.Name, &journal.ReadOptions{FS: f, Catalog: f.catalog, Reading: f.reading, Damaged: o.Damaged})
	f.opening, f.fence = false, "" // whoever looks for more is told
	return t, err
}

// Lost says what is wrong with the end of the archive: that it is damaged, if it was opened with Options.Damaged, or
// that the last batches, of which the head knows, are not there any more. Nil when nothing is.
func (r *Reader) Lost() error {
	if err := r.Damage(); err != nil {
		return err
	}
	last, err := r.Last()
	if err != nil || last.TXID+1 >= r.head.Next {
		return err
	}
	return gone(r.name, last.TXID+1, r.head.Next-1)
}

// LostBeginning says that what the history began with is not there any more, which its later files do not show: a trail
// may begin anywhere. Nil when nothing is lost, or when the head does not know.
func (r *Reader) LostBeginning() error {
	start := r.head.Start
	if start == 0 && len(r.head.Segments) > 0 {
		start = r.head.Segments[0].First
	}
	first := r.files.first()
	if start == 0 || first <= start {
		return nil
	}
	e := gone(r.name, start, first-1)
	e.Hint += "; no rule of the store may delete objects by age: pagetrail compact --keep-all does"
	return e
}

// gone is the error of batches that somebody has deleted.
func gone(name string, first, last journal.TXID) *journal.Error {
	return &journal.Error{
		Path: name, Offset: -1, TXID: first, Err: fmt.Errorf("the batches up to transaction %d were shipped and are not there any more: %w", last, journal.ErrGap),
		Hint: "bring the objects back from a copy, or from a version that the store kept; or ship again, if the trail still has them",
	}
}

// leftOver is the first object of an archive in a store; empty when there is none. It looks where the first 65,535
// timelines are, and so not at all that others may have under a prefix that was mistyped.
func leftOver(ctx context.Context, s objstore.Bucket) (string, error) {
	for o, err := range s.List(ctx, "0000", "") {
		if err != nil {
			return "", err
		}
		if _, ok := parseKey(o.Key); ok {
			return o.Key, nil
		}
	}
	return "", nil
}

// beheaded is the error of an archive whose head somebody has deleted, and so is no ErrNotFound: who finds no archive
// begins with nothing.
func beheaded(name, what string) error {
	return &journal.Error{
		Path: name, Offset: -1, Err: fmt.Errorf("%s: the head of the archive was deleted: %w", what, journal.ErrGap),
		Hint: "bring the object head back from a copy, or from a version that the store kept; what is in 0/ and base/ of a timeline, " +
			"in one directory NAME-pagetrail, is a trail once pagetrail repair was there",
	}
}

// load reads the head.
func load(ctx context.Context, s objstore.Store, name string) (Head, objstore.Tag, error) {
	data, tag, err := s.Head(headKey).Load(ctx)
	if errors.Is(err, objstore.ErrNotFound) {
		var left string
		if left, err = leftOver(ctx, s); err == nil && left == "" {
			return Head{}, "", &journal.Error{
				Path: name, Offset: -1, Err: fmt.Errorf("no archive: there is no head: %w", journal.ErrNotFound),
				Hint: "look at the prefix, or begin one with pagetrail ship",
			}
		}
		if err != nil {
			return Head{}, "", err
		}
		// The archive may have been begun in this moment: the head is its first object.
		if data, tag, err = s.Head(headKey).Load(ctx); errors.Is(err, objstore.ErrNotFound) {
			return Head{}, "", beheaded(name, "there is "+left+" and no head")
		}
	}
	if err != nil {
		return Head{}, "", err
	}
	h, err := ParseHead(data)
	if err != nil {
		e := &journal.Error{Path: name + "/" + headKey, Offset: -1, Err: err, Hint: "bring the head back from a copy; batches and bases are as they were"}
		if errors.Is(err, journal.ErrVersion) || errors.Is(err, journal.ErrFlag) {
			e.Hint = "use a newer pagetrail"
		}
		if errors.Is(err, objstore.ErrEncrypted) {
			e.Hint = "give the identity to read it with"
		}
		return Head{}, "", e
	}
	return h, tag, nil
}

// RequestsFor says about how many requests it takes to read so many bytes of an object, one after the other, and how
// many objects are read at once. The first piece and the last, which has the footer, are asked for alone; the rest comes
// in runs.
func RequestsFor(n int64) (requests, atOnce int64) {
	const alone = 2
	pieces := max((n+blockBytes-1)/blockBytes, 1)
	return min(pieces, alone) + (max(pieces-alone, 0)+aheadPieces-1)/aheadPieces, ahead
}

// Head is what the head said at Open.
func (r *Reader) Head() Head { return r.head }

// Close ends requests under way and forgets what was fetched.
func (r *Reader) Close() error {
	r.cancel()
	r.files.cache.fetching.Wait()
	return r.Trail.Close()
}
