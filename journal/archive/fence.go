package archive

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/pagetrail/pagetrail/journal"
	"github.com/pagetrail/pagetrail/journal/objstore"
)

// fence is what stands where the next batch of a timeline would be, once another timeline has taken over: whoever
// still writes that one finds the name taken, looks at the head, and learns who did.
type fence struct {
	Timeline journal.Timeline `json:"timeline"` // that goes on
	Writer   string           `json:"writer"`
}

// fenceStart is how a fence begins, and no segment does.
const fenceStart = `{"fence":`

// encode is shorter than any batch, so that a list tells the two apart: of a long name it has the beginning.
func (f fence) encode() ([]byte, error) {
	for {
		data, err := json.Marshal(map[string]fence{"fence": f})
		if err != nil || len(data)+1 < minSegment {
			return append(data, '\n'), err
		}
		_, size := utf8.DecodeLastRuneInString(f.Writer)
		f.Writer = f.Writer[:len(f.Writer)-size]
	}
}

func parseFence(data []byte) (fence, bool) {
	if !bytes.HasPrefix(data, []byte(fenceStart)) {
		return fence{}, false
	}
	var f map[string]fence
	if json.Unmarshal(data, &f) != nil {
		return fence{}, false
	}
	return f["fence"], true
}

// errFenced says that there is a fence where a batch would be.
var errFenced = errors.New("the timeline has ended")

// fenced is what a writer of the timeline is told that meets the fence.
func (w *Writer) fenced(f fence, key string) error {
	name, _ := parseKey(key)
	return &HeldError{Archive: w.opt.Archive, Holder: Holder{Name: f.Writer}, Timeline: f.Timeline, After: name.first - 1}
}

// End ends the timeline that the archive is at, for whoever is about to take over: from then on nothing can be added
// to it, so what the archive has is all that its writer can have been told is safe. It returns the last batch. The
// writer's Identity is that of the timeline to be ended. It may be done again; who takes over is decided by Take, and
// until then the archive can be read and not be added to.
func (w *Writer) End(ctx context.Context) (*journal.Batch, error) {
	data, err := fence{w.head.Timeline + 1, w.opt.Name}.encode()
	if err != nil {
		return nil, err
	}
	f, err := w.list(ctx, w.head)
	if err != nil {
		return nil, err
	}
	key := f.lastKey()
	if key == "" {
		return nil, &journal.Error{Path: w.opt.Archive, Offset: -1, Err: fmt.Errorf("the archive holds no transaction yet: %w", journal.ErrNotFound)}
	}
	for {
		last, err := w.batch(ctx, key)
		if err != nil {
			return nil, err
		}
		key = batchKey(w.head.Timeline, last.Last+1)
		err = w.store.Create(ctx, key, bytes.NewReader(data), int64(len(data)))
		if err == nil {
			return last, nil
		}
		if !errors.Is(err, objstore.ErrExists) {
			return nil, err
		}
		if _, err := w.batch(ctx, key); errors.Is(err, errFenced) {
			return last, nil
		} else if err != nil {
			return nil, err
		}
	}
}

// Take claims the archive for the timeline of the writer's Identity, which begins where the one before was ended (see
// End): unlike Claim it is for one writer only, and a HeldError for every other that began the same timeline. It may be
// done again by a writer of the same WriterOptions.ID.
func (w *Writer) Take(ctx context.Context) error {
	for w.forks() {
		if _, err := w.Last(ctx); err != nil {
			return err
		}
		h := *w.next
		h.Writer = Holder{ID: w.id, Name: w.opt.Name, Since: journal.TimeOf(time.Now())}
		err := w.swap(ctx, h)
		if errors.Is(err, objstore.ErrConflict) { // a plan, or a hint of the writer before; or somebody was faster
			err = w.look(ctx)
		}
		if err != nil {
			return err
		}
	}
	if w.head.Writer.ID != w.id {
		line := w.head.current()
		return &HeldError{w.opt.Archive, w.head.Writer, w.head.Timeline, max(line.First, 1) - 1}
	}
	return w.fence(ctx)
}

// fence ends the timeline that was written before the current one, if that was not done yet: from then on nothing can be added to
// it, whatever its writer believes.
func (w *Writer) fence(ctx context.Context) error {
	line, n := w.head.current(), len(w.head.Lines)
	if n < 2 || line.Fenced {
		return nil
	}
	before := w.head.Lines[n-2].Timeline
	data, err := fence{line.Timeline, line.Writer}.encode()
	if err != nil {
		return err
	}
	for next := line.Ended + 1; ; {
		err := w.store.Create(ctx, batchKey(before, next), bytes.NewReader(data), int64(len(data)))
		if err == nil {
			break
		}
		if !errors.Is(err, objstore.ErrExists) {
			return err
		}
		b, err := w.batch(ctx, batchKey(before, next))
		if errors.Is(err, errFenced) {
			break
		}
		if err != nil {
			return err
		}
		next = b.Last + 1 // it was added while the head was being swapped
	}
	line.Fenced = true // in the store with the next swap; without it, it is done again, which does no harm
	return nil
}
